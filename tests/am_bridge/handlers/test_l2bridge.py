"""Networks: segments of a real book, and what cards on them get, through the processor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from am_bridge.handlers.catalogue import Catalogue, HandlerConfig
from am_bridge.handlers.handler import FailureKind, HandlerResult, NicStatus, SliverState
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.l2bridge import LABEL, SCHEMA, L2Bridge, follow_cards
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.processor import Processor, StateError
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.spec import SliverKey, SpecError
from tests.am_bridge.handlers.scripted import WAIT, ScriptedHandler, catalogue, document
from vmoc.config import Vlans
from vmoc.ledger import Rules, SliceBook
from vmoc.model import Attachment, Endpoint, Origin, Segment, Slice
from vmoc.registry import Registry
from vmoc.store import SqliteStore

ALICE = Slice("alice", (Segment(50),), labels={"a": "b"}, origin=Origin.API)


class World:
    def __init__(self) -> None:
        rules = Rules(vlans=Vlans(pool=frozenset({100, 101}), reserved=frozenset({99})))
        self.book = SliceBook(Registry(), SqliteStore(":memory:"), rules)
        self.book.open([Slice("file", (Segment(60),), origin=Origin.FILE)])
        self.book.register([ALICE])
        self.handler = ScriptedHandler()
        made = catalogue()
        network = HandlerConfig("L2Bridge", "l2bridge", Limits({"default": 30.0}, {}), schema=SCHEMA)
        self.processor = Processor(
            Catalogue({**made.handlers, "L2Bridge": network}, made.hosts, 4),
            SqliteJournal(":memory:"),
            {"scripted": lambda config: self.handler, "l2bridge": lambda config: L2Bridge(config, self.book)},
            jitter=lambda: -0.999,
        )
        self.processor.start()

    def close(self) -> None:
        self.processor.close()
        self.book.close()

    def network(self, name: str = "lan", slice_id: str = "alice", **properties: Any) -> Operation:
        asked = {"slice_id": slice_id, "sliver_id": name, "resource_type": "L2Bridge", "properties": properties}
        return self.done(self.processor.create(asked))

    def done(self, operation: Operation) -> Operation:
        ended = self.processor.wait(operation.id, WAIT)
        assert ended.over
        return ended

    def delete(self, name: str) -> Operation:
        return self.done(self.processor.delete(SliverKey("alice", name)))

    def alice(self) -> Slice:
        return self.book.get("alice").slice


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    yield one
    one.close()


def card(name: str = "eth1", **more: Any) -> dict[str, Any]:
    return {"name": name, "network": "lan", **more}


def test_a_network_is_a_segment_and_its_end_gives_the_vlan_back(world: World) -> None:
    made = world.network(controllers=["tcp:192.0.2.1:6653"], subnet="10.0.1.0/24")
    assert made.state is OperationState.SUCCEEDED and made.result is not None
    assert made.result.facts == {"vlan": 100, "subnet": "10.0.1.0/24"}
    segment = next(one for one in world.alice().segments if one.vlan == 100)
    assert segment.controllers == (Endpoint.parse("tcp:192.0.2.1:6653"),) and segment.attachments is None
    assert world.network("lan2").result.facts["vlan"] == 101  # type: ignore[union-attr]
    empty = world.network("lan3")
    assert empty.failure is not None and empty.failure.kind is FailureKind.EXHAUSTED
    assert world.delete("lan").state is OperationState.SUCCEEDED
    world.delete("lan2")
    assert world.alice() == ALICE, "segments and labels are as they were"


def test_a_vlan_that_is_given(world: World) -> None:
    assert world.network(vlan=70).result.facts["vlan"] == 70  # type: ignore[union-attr]
    for vlan, why in ((60, "VLAN"), (99, "reserved"), (70, "")):
        other = world.network(f"n{vlan}", vlan=vlan)
        assert (other.failure is None) == (not why), other
        if other.failure is not None:
            assert why in other.failure.message and other.failure.kind is FailureKind.INVALID
    assert [one.sliver_id for one in (sliver.key for sliver in world.processor.slivers())] == ["lan", "n70"]


def test_a_vlan_the_slice_has_anyway_stays_its_own(world: World) -> None:
    assert world.network(vlan=50).result.facts["vlan"] == 50  # type: ignore[union-attr]
    assert world.alice() == ALICE
    world.delete("lan")
    assert world.alice() == ALICE


def test_creating_twice_changes_nothing_and_deleting_twice_is_fine(world: World) -> None:
    """As after a crash between the book and the journal."""
    world.network()
    before = world.book.get("alice")
    world.processor._records._drop(SliverKey("alice", "lan"))  # the journal has forgotten
    assert world.network().result.facts["vlan"] == 100  # type: ignore[union-attr]
    assert world.book.get("alice") == before
    world.delete("lan")
    assert LABEL + "lan" not in world.alice().labels


def test_cards_get_vlan_mtu_and_addresses_from_their_network(world: World) -> None:
    world.network(subnet="10.0.1.0/29", gateway="10.0.1.1", mtu=1400)
    for name in ("vm1", "vm2"):
        world.done(world.processor.create(document(name, interfaces=[card()])))
    world.done(world.processor.create(document("vm3", interfaces=[card(addresses=["10.0.1.6/29"])])))
    cards = [spec.interfaces[0] for spec in world.handler.specs]
    assert [one.vlan for one in cards] == [100] * 3 and {one.mtu for one in cards} == {1400}
    assert [one.addresses for one in cards] == [("10.0.1.2/29",), ("10.0.1.3/29",), ("10.0.1.6/29",)]
    world.done(world.processor.modify(document("vm1", interfaces=[card(), card("eth2")])))
    changed = world.handler.specs[-1].interfaces
    assert [one.addresses for one in changed] == [("10.0.1.2/29",), ("10.0.1.4/29",)], "what it has it keeps"
    world.done(world.processor.create(document("vm4", interfaces=[card()])))
    with pytest.raises(SpecError, match="no address left"):
        world.processor.create(document("vm5", interfaces=[card()]))
    with pytest.raises(SpecError, match="network lan has VLAN 100"):
        world.processor.create(document("vm6", interfaces=[card(vlan=7)]))
    with pytest.raises(SpecError, match="no network lan"):
        world.processor.create(document("vm7", "bob", interfaces=[card()]))
    with pytest.raises(StateError, match="4 slivers are on network alice/lan"):
        world.processor.delete(SliverKey("alice", "lan"))
    for name in ("vm1", "vm2", "vm3", "vm4"):
        world.delete(name)
    assert world.delete("lan").state is OperationState.SUCCEEDED


def test_a_network_that_follows_is_where_its_cards_are(world: World) -> None:
    world.network(follow=True, attachments=[{"dpid": "0xf", "ports": [1]}])
    base = (Attachment(0xF, frozenset({1})),)
    assert world.alice().segments[1].attachments == base
    for name, dpid, port in (("vm1", "0x000000000000000a", 3), ("vm2", "0x000000000000000f", 2)):
        cards = (NicStatus("eth1", "", 100, dpid, port),)
        world.handler.steps = {"create": [lambda run, cards=cards: HandlerResult(SliverState.READY, "i", cards)]}  # type: ignore[misc]
        world.done(world.processor.create(document(name, interfaces=[card()])))
        follow_cards(world.book, world.processor.slivers())
    there = (Attachment(0xA, frozenset({3})), Attachment(0xF, frozenset({1, 2})))
    assert world.alice().segments[1].attachments == there
    etag = world.book.get("alice").etag
    follow_cards(world.book, world.processor.slivers())
    asked = {"slice_id": "alice", "sliver_id": "lan", "resource_type": "L2Bridge"}
    world.done(world.processor.modify(asked | {"properties": {"follow": True, "mtu": 1400}}))
    assert world.book.get("alice").etag == etag, "and stays there while nothing changes"
    world.delete("vm1")
    follow_cards(world.book, world.processor.slivers())
    assert world.alice().segments[1].attachments == (Attachment(0xF, frozenset({2})),)


def test_what_becomes_of_its_slice_is_seen(world: World) -> None:
    world.network()
    key = SliverKey("alice", "lan")
    world.book.register([ALICE])
    assert world.done(world.processor.probe(key)).result.state is SliverState.ABSENT  # type: ignore[union-attr]
    world.book.unregister(["alice"])
    assert world.done(world.processor.probe(key)).result.state is SliverState.ABSENT  # type: ignore[union-attr]
    assert world.delete("lan").state is OperationState.SUCCEEDED
    lost = world.network("new")
    assert lost.failure is not None and "not known" in lost.failure.message


@pytest.mark.parametrize(
    "properties",
    [
        {"controllers": ["nonsense"]},
        {"attachments": [{"dpid": "x"}]},
        {"subnet": "10.0.1.5/24"},
        {"gateway": "10.0.1.1"},
        {"subnet": "10.0.1.0/24", "gateway": "10.0.2.1"},
    ],
)
def test_what_a_network_cannot_be(world: World, properties: dict[str, Any]) -> None:
    failed = world.network(**properties)
    assert failed.failure is not None and failed.failure.kind is FailureKind.INVALID
    assert world.alice() == ALICE and world.processor.slivers() == []


def test_networks_take_no_room_on_hosts(world: World) -> None:
    world.network()
    world.done(world.processor.create(document("vm1")))
    assert world.processor.find("vm1").spec.host == "h1" and world.processor.find("lan").spec.host == ""
