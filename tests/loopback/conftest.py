"""Fixtures of the loopback tests.

Starting ``vmoc run`` takes a second, so tests that leave it and its
configuration alone share one: each brings a switch with a datapath id of its
own and fresh controllers on the same two ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.process import QUICK_TIMERS
from tests.loopback.scene import Scene
from tests.loopback.shared import Shared

IMPATIENT = QUICK_TIMERS | {"handshake": 0.5, "request": 0.5, "duplicate_probe": 0.4}


def _shared(tmp_path_factory: pytest.TempPathFactory, timers: dict[str, float]) -> Iterator[Shared]:
    shared = Shared(tmp_path_factory.mktemp("vmoc"), timers)
    yield shared
    if shared.vmoc is not None and shared.vmoc.running:
        shared.vmoc.stop()


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The shared VMOC with the usual timers."""
    yield from _shared(tmp_path_factory, QUICK_TIMERS)


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The shared VMOC that waits for handshakes and answers half a second at most."""
    yield from _shared(tmp_path_factory, IMPATIENT)


@pytest.fixture(params=[of.V10, of.V13], ids=["1.0", "1.3"])
def version(request: pytest.FixtureRequest) -> int:
    """Both OpenFlow versions."""
    return int(request.param)


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """A scene with a VMOC of its own, to be set up by the test; cleared away afterwards whatever happened."""
    made: list[Scene] = []

    def make(version: int = of.V10, **config: Any) -> Scene:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Scene(directory, version, **config))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


@pytest.fixture
def own_scene(make_scene: Callable[..., Scene], version: int) -> Scene:
    """A running scene in both versions, with a VMOC the test may do anything to."""
    return make_scene(version).up()


def _running(scene: Scene) -> Iterator[Scene]:
    try:
        yield scene.up()
    finally:
        scene.close()


@pytest.fixture
def scene(patient: Shared, version: int) -> Iterator[Scene]:
    """A running scene in both versions."""
    yield from _running(patient.scene(version))


@pytest.fixture
def scene10(patient: Shared) -> Iterator[Scene]:
    """A running scene in OpenFlow 1.0."""
    yield from _running(patient.scene(of.V10))


@pytest.fixture
def scene13(patient: Shared) -> Iterator[Scene]:
    """A running scene in OpenFlow 1.3."""
    yield from _running(patient.scene(of.V13))


@pytest.fixture
def hasty_scene(impatient: Shared, version: int) -> Iterator[Scene]:
    """A running scene in both versions; VMOC waits for answers half a second at most."""
    yield from _running(impatient.scene(version))
