"""What is swept and when, and how often what fails is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from am_bridge.handlers.handler import SliverState
from am_bridge.handlers.operations import Sliver
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.spec import SliverKey
from am_bridge.handlers.sweeper import PAUSE, Fate, Sweeper
from tests.am_bridge.handlers.scripted import WAIT, Gate, ScriptedHandler, document, fail, processor

KEY = SliverKey("alice", "vm1")
CARDS = [{"name": "eth1", "vlan": 1}, {"name": "eth2", "vlan": 2}]


class Scene:
    def __init__(self) -> None:
        self.handler = ScriptedHandler()
        self.processor: Processor = processor(self.handler, attempts={"delete": 1})
        self.fate = Fate()
        self.now = 100.0
        self.seen: list[int] = []
        self.sweeper = Sweeper(
            self.processor,
            lambda sliver: self.fate,
            [lambda slivers: self.seen.append(len(slivers))],
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    def create(self, **more: object) -> Sliver:
        self.processor.wait(self.processor.create(document(interfaces=CARDS), **more).id, WAIT)  # type: ignore[arg-type]
        return self.processor.sliver(KEY)

    def sweep(self) -> list[str]:
        before = len(self.handler.calls)
        self.sweeper.sweep()
        for one in self.processor.running():
            self.processor.wait(one.id, WAIT)
        return self.handler.verbs()[before:]


@pytest.fixture
def scene() -> Iterator[Scene]:
    one = Scene()
    yield one
    one.sweeper.close()
    one.processor.close()


def test_what_is_as_it_should_be_is_left_alone(scene: Scene) -> None:
    scene.create()
    assert scene.sweep() == [] and scene.seen == [1]


def test_a_deletion_that_fails_is_tried_again_later_and_later(scene: Scene) -> None:
    scene.create()
    scene.fate = Fate("its slice is gone")
    scene.handler.steps = {"delete": [fail("stuck")] * 3}
    assert scene.sweep() == ["delete"] and scene.sweep() == []
    scene.now += PAUSE + 1
    assert scene.sweep() == ["delete"]
    scene.now += PAUSE + 1
    assert scene.sweep() == [], "the second pause is longer"
    scene.now += PAUSE
    assert scene.sweep() == ["delete"]
    assert scene.processor.sliver(KEY).state is SliverState.FAILED
    scene.now += 4 * PAUSE + 1
    assert scene.sweep() == ["delete"] and scene.processor.slivers() == []


def test_its_time_comes(scene: Scene) -> None:
    scene.create(expire_time=200.0)
    scene.now = 199.9
    assert scene.sweep() == []
    scene.now = 200.0
    assert scene.sweep() == ["delete"]


def test_a_create_under_way_is_ended(scene: Scene) -> None:
    gate = Gate(None)  # type: ignore[arg-type]
    scene.handler.steps = {"create": [gate]}
    scene.processor.create(document())
    assert gate.began.wait(WAIT)
    scene.fate = Fate("its slice is gone")
    assert scene.sweep() == ["delete"] and scene.processor.slivers() == []


def test_cards_are_taken_away_and_where_that_fails_it_is_tried_again(scene: Scene) -> None:
    scene.create()
    scene.fate = Fate(cards=frozenset({"eth1"}))
    scene.handler.steps = {"modify": [fail("stuck")]}
    assert scene.sweep() == ["modify", "probe"]
    assert len(scene.processor.sliver(KEY).spec.interfaces) == 2
    scene.now += PAUSE + 1
    assert scene.sweep() == ["modify"]
    assert [nic.name for nic in scene.processor.sliver(KEY).spec.interfaces] == ["eth2"]


def test_a_sliver_that_cannot_be_modified_is_removed(scene: Scene) -> None:
    scene.handler.steps = {"create": [fail("no", leftovers=("port:v1",))], "delete": [fail("no")]}
    assert scene.create().state is SliverState.FAILED
    scene.fate = Fate(cards=frozenset({"eth1"}))
    assert scene.sweep() == ["delete"] and scene.processor.slivers() == []


def test_it_looks_by_itself_and_when_woken(scene: Scene) -> None:
    scene.create()
    scene.fate = Fate("its slice is gone")
    scene.sweeper.start()
    scene.sweeper.wake()
    while scene.processor.slivers():
        for one in scene.processor.running():
            scene.processor.wait(one.id, WAIT)
    scene.sweeper.close()
    assert scene.handler.verbs() == ["create", "delete"]


def test_one_whose_type_is_no_longer_there_does_not_keep_others_from_being_swept(scene: Scene) -> None:
    scene.create()
    scene.processor.wait(scene.processor.create(document("vm2")).id, WAIT)
    full = scene.processor.catalogue
    config = full.handlers["Scripted"]
    scene.processor.use(replace(full, handlers={"Scripted-other": config}))
    scene.fate = Fate("its slice is gone")
    assert scene.sweep() == [] and scene.seen == [2], "it came to the end"
    scene.processor.use(full)
    assert scene.sweep() == [], "a failure, which is tried again later"
    scene.now += PAUSE + 1
    assert scene.sweep() == ["delete", "delete"]
