"""Fixtures of the loopback tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.loopback.scene import Scene


@pytest.fixture(params=[of.V10, of.V13], ids=["1.0", "1.3"])
def version(request: pytest.FixtureRequest) -> int:
    """Both OpenFlow versions."""
    return int(request.param)


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """A scene to be set up by the test; cleared away afterwards whatever happened."""
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
def scene(make_scene: Callable[..., Scene], version: int) -> Scene:
    """A running scene in both versions."""
    return make_scene(version).up()


@pytest.fixture
def scene10(make_scene: Callable[..., Scene]) -> Scene:
    """A running scene in OpenFlow 1.0."""
    return make_scene(of.V10).up()


@pytest.fixture
def scene13(make_scene: Callable[..., Scene]) -> Scene:
    """A running scene in OpenFlow 1.3."""
    return make_scene(of.V13).up()
