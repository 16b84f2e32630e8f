"""Discovery against two switches and a cable made in the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from os_ken.base.app_manager import lookup_service_brick

from tests.emulation.waiting import wait_until
from tests.vmoc.apps.core import Core, running
from tests.vmoc.apps.raw_switch import (
    CONTROLLER,
    NO_BUFFER,
    NONE,
    frame,
    mac,
    packet_in,
    port_status,
    read_flow,
    read_packet_out,
)
from vmoc.apps import discovery, lldp
from vmoc.topology import Link, PortRef

Key = tuple[int, int]
ONE, TWO = (1, 0), (2, 0)
AB = Link(PortRef(1, 2), PortRef(2, 3))


class Cable:
    """Joins (switch, port) pairs: what is sent out of one arrives at the other."""

    def __init__(self, core: Core, versions: dict[Key, int]) -> None:
        self.core = core
        self.versions = versions
        self.ends: dict[tuple[Key, int], tuple[Key, int]] = {}
        self.frames: list[tuple[Key, int, bytes]] = []
        core.answer = self.carry

    def join(self, one: tuple[Key, int], other: tuple[Key, int]) -> None:
        self.ends |= {one: other, other: one}

    def carry(self, key: Key, message: bytes) -> None:
        if message[1] != 13:
            return
        out = read_packet_out(message)
        for port, _ in out.outputs:
            self.frames.append((key, port, out.data))
            if (key, port) in self.ends:
                there, in_port = self.ends[key, port]
                self.core.input(there, packet_in(self.versions[there], in_port, out.data))


@pytest.fixture(params=[(1, 4), (4, 4)], ids=["1.0 and 1.3", "1.3"])
def cable(request: pytest.FixtureRequest) -> Iterator[Cable]:
    with running("vmoc.apps.discovery") as core:
        yield Cable(core, dict(zip((ONE, TWO), request.param, strict=True)))


@pytest.fixture
def app(cable: Cable) -> Any:
    return lookup_service_brick(discovery.NAME)


def appear(cable: Cable) -> None:
    cable.join((ONE, 2), (TWO, 3))
    cable.core.appear(1, cable.versions[ONE], (1, 2))
    cable.core.appear(2, cable.versions[TWO], (1, 3))


def links() -> set[tuple[int, int, int, int]]:
    graph = discovery.graph()
    assert graph is not None
    return {(one, data["source_port"], two, data["target_port"]) for one, two, data in graph.edges(data=True)}


BOTH = {(1, 2, 2, 3), (2, 3, 1, 2)}


def test_links_are_found_in_both_directions(cable: Cable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vmoc.apps.discovery")
    appear(cable)
    wait_until(lambda: links() == BOTH, "the link")
    graph = discovery.graph()
    assert graph is not None and graph.nodes[1]["ports"] == {1: "p1", 2: "p2"}
    assert f"link up: {AB}" in caplog.messages


def test_what_it_sends_is_untagged_lldp_and_asks_for_it_only(cable: Cable) -> None:
    appear(cable)
    wait_until(lambda: links() == BOTH, "the link")
    for key, version in cable.versions.items():
        flow = read_flow(cable.core.of_kind(key, 14)[0])
        untagged = 0xFFFF if version == 1 else 0
        assert (flow.command, flow.match) == (0, {"vlan": untagged, "type": 0x88CC})
        assert flow.outputs == [(CONTROLLER[version], 0xFFFF)]
        outs = [read_packet_out(data) for data in cable.core.of_kind(key, 13)]
        assert {out.in_port for out in outs} == {NONE[1] if version == 1 else CONTROLLER[4]}
        assert all(out.buffer_id == NO_BUFFER and lldp.is_lldp(out.data) for out in outs)
    assert {(key, port) for key, port, _ in cable.frames} == {(ONE, 1), (ONE, 2), (TWO, 1), (TWO, 3)}


def test_a_port_down_and_a_switch_gone_end_their_links(cable: Cable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vmoc.apps.discovery")
    appear(cable)
    wait_until(lambda: links() == BOTH, "the link")
    del cable.ends[ONE, 2], cable.ends[TWO, 3]
    cable.core.input(ONE, port_status(cable.versions[ONE], 2, 2, link_down=True))
    wait_until(lambda: links() == set(), "the link to end")
    assert f"link down: {AB} (port down)" in caplog.messages
    cable.join((ONE, 2), (TWO, 3))
    cable.core.input(ONE, port_status(cable.versions[ONE], 2, 2))
    wait_until(lambda: links() == BOTH, "the link to come back")
    cable.core.vanish(TWO)
    wait_until(lambda: links() == set(), "the link to end")
    graph = discovery.graph()
    assert graph is not None and set(graph) == {1}


def test_forged_and_replayed_frames_make_no_link(cable: Cable, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cable.core.appear(1, cable.versions[ONE], (1, 2))
    cable.core.appear(2, cable.versions[TWO], (1, 3))
    captured = wait_until(lambda: next((d for k, p, d in cable.frames if (k, p) == (ONE, 2)), None), "a frame")
    forged = lldp.build(PortRef(1, 2), mac(1), discovery._stamp(), 15, b"x" * 32)
    changed = captured[:40] + bytes([captured[40] ^ 1]) + captured[41:]
    for data in (forged, changed, captured[:60]):
        cable.core.input(TWO, packet_in(cable.versions[TWO], 3, data))
    wait_until(lambda: app.rejected == 3, "three rejections")
    late = discovery._stamp() + int(discovery.FRESH * 1000) + 1000
    with monkeypatch.context() as patch:
        patch.setattr(discovery, "_stamp", lambda: late)
        cable.core.input(TWO, packet_in(cable.versions[TWO], 3, captured))
        wait_until(lambda: app.rejected == 4, "the replay to be rejected")
    cable.core.input(TWO, packet_in(cable.versions[TWO], 3, frame(mac(1), mac(2), None)))
    assert links() == set()


def test_a_link_not_seen_any_more_is_dropped(cable: Cable, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    appear(cable)
    wait_until(lambda: links() == BOTH, "the link")
    cable.ends.clear()
    monkeypatch.setattr(app._topology, "lifetime", -1.0)
    app.send_round()
    assert links() == set()


def test_nothing_is_sent_into_a_slice_whose_frames_are_untagged(cable: Cable) -> None:
    native = cable.core.appear(9, 4, (1, 2), native=101)
    appear(cable)
    wait_until(lambda: links() == BOTH, "the link")
    assert [key for key, _ in cable.core.sent if key == native] == []


def test_no_graph_without_the_application() -> None:
    assert discovery.graph() is None
