"""Test vectors: which of them wait for a feature, the labs they run in, and what every vector implies."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.vectors.lab import LATER_DPIDS, Lab

NOT_BUILT: dict[int, str] = {}
"""Vectors that fail because the feature they are about is missing. Strict: they must be taken out once it is there."""


LABS = pytest.StashKey[list[Lab]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        number = re.match(r"test_v(\d+)", item.name)
        if number and item.path.parent == Path(__file__).parent and int(number[1]) in NOT_BUILT:
            item.add_marker(pytest.mark.xfail(strict=True, reason=NOT_BUILT[int(number[1])]))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """After the vector's own steps, what F.0 says that every vector implies."""
    result = yield
    for lab in pyfuncitem.stash.get(LABS, []):
        lab.check()
    return result


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("vectors"), dpids=LATER_DPIDS)
    yield lab
    lab.close()


@pytest.fixture
def cold(_shared: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[..., Lab]]:
    """The lab in a version, its switch not connected yet."""

    def begin(version: int, dpid: int | None = None) -> Lab:
        request.node.stash[LABS] = [_shared]
        return _shared.begin(version, dpid)

    yield begin
    _shared.end()


@pytest.fixture
def cold10(cold: Callable[..., Lab]) -> Lab:
    """OpenFlow 1.0, nothing connected yet."""
    return cold(of.V10)


@pytest.fixture
def cold13(cold: Callable[..., Lab]) -> Lab:
    """OpenFlow 1.3, nothing connected yet."""
    return cold(of.V13)


@pytest.fixture
def v10(cold10: Lab) -> Lab:
    """OpenFlow 1.0, everybody connected."""
    return cold10.connect()


@pytest.fixture
def v13(cold13: Lab) -> Lab:
    """OpenFlow 1.3, everybody connected."""
    return cold13.connect()


@pytest.fixture(params=[of.V10, of.V13], ids=["1.0", "1.3"])
def v(request: pytest.FixtureRequest, cold: Callable[..., Lab]) -> Lab:
    """Both versions, everybody connected."""
    return cold(request.param).connect()


@pytest.fixture
def aa10(cold: Callable[..., Lab]) -> Lab:
    """OpenFlow 1.0 on the very datapath id the vectors name."""
    return cold(of.V10, 0xAA).connect()


@pytest.fixture
def aa13(cold: Callable[..., Lab]) -> Lab:
    """OpenFlow 1.3 on the very datapath id the vectors name."""
    return cold(of.V13, 0xAA).connect()


@pytest.fixture
def private(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Lab]]:
    """A lab with a VMOC process of its own: ``private(version, connect=True, **configuration)``."""
    made = request.node.stash[LABS] = []

    def make(version: int, *, connect: bool = True, **config: Any) -> Lab:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Lab(directory, **config))
        made[-1].begin(version)
        return made[-1].connect() if connect else made[-1]

    yield make
    for lab in made:
        lab.close()
