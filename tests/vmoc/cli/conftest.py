"""A server that answers what the test says, found by the commands through $VMOC_SERVER."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vmoc.cli.fakeserver import FakeServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    monkeypatch.setenv("VMOC_SERVER", fake.address)
    yield fake
    fake.stop()
