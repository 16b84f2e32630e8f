"""A back-end per test, and proof that nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.processor import Processor
from mininet_scenarios.openvswitch import PrivateOvs
from tests.ovs.handlers.backend import BACKENDS, BackEnd


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, namespace: None, tmp_path: Path) -> Iterator[BackEnd]:
    with PrivateOvs() as ovs:
        one = BACKENDS[request.param](ovs, tmp_path)
        yield one
        left = one.traces()
        if left:
            one.sweep()
    assert left == [], "something of a sliver was left"


@pytest.fixture
def processor(backend: BackEnd) -> Iterator[Processor]:
    one = Processor(backend.catalogue, SqliteJournal(":memory:"))
    one.start()
    yield one
    one.close()


@pytest.fixture
def quick(backend: BackEnd) -> Iterator[Processor]:
    """A processor whose runs need not go through Ansible."""
    one = Processor(backend.catalogue, SqliteJournal(":memory:"), {"ansible": backend.handler})
    one.start()
    yield one
    one.close()
