from __future__ import annotations

from pathlib import Path

import pytest

from tests.vmoc.net.stage import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("tls")), "ours")
