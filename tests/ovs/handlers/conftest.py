"""A back-end per test, and proof that nothing of it is left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.processor import Processor
from mininet_scenarios.openvswitch import PrivateOvs
from tests.ovs.handlers.backend import BackEnd, Container, Netns
from tests.ovs.handlers.machines import Machines

BACKENDS = {"netns": Netns, "container": Container, "vm": Machines}
MARKS = {"vm": [pytest.mark.slow, pytest.mark.timeout(300)]}  # a boot in software takes as many seconds as it gets CPU

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ansible is a second of CPU per run, and handlers are niced: on a busy machine all of this takes its time.

    Slivers are the whole machine's. A back-end's tests have slices of their own; others share a few names, so those of
    a file run one after the other. So do all that boot machines in software: two at once would only slow each other.
    """
    for item in items:
        if item.path.is_relative_to(HERE):
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(240))
            if "backend" not in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(item.path.stem))
            elif getattr(item, "callspec").params["backend"] == "vm":  # noqa: B009  # only parametrized items have it
                item.add_marker(pytest.mark.xdist_group("machines"))


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in sorted(BACKENDS)])
def backend(request: pytest.FixtureRequest, namespace: None, tmp_path: Path) -> Iterator[BackEnd]:
    with PrivateOvs() as ovs, contextlib.ExitStack() as stack:
        one = BACKENDS[request.param](ovs, tmp_path, stack)
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
