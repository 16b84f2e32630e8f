from __future__ import annotations

import pytest

from tests.vmoc.net.stage import LOOPS


@pytest.fixture(params=sorted(LOOPS))
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
