"""Vectors of our own: ``pipeline: admission`` (A) and ``vlan_port_sharing`` (S), against the process over sockets."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import Connection, EmulatedController, VmocProcess, free_port
from tests.emulation import wire as of
from tests.emulation.actions import goto_table, instruction
from tests.emulation.frames import E
from tests.emulation.table import Entry
from tests.emulation.waiting import wait_until
from tests.vectors.mock import MockSwitch

VLAN, DPID = 100, 0xAA
FULL = (1 << 64) - 1
CONTROLLER = of.PORTS[of.V13]["controller"]
NAMES = {"anna": (1, 2), "bert": (3, 4)}
NO_LIMITS = dict.fromkeys(("flow_mod_rate", "packet_out_rate", "packet_in_rate", "stats_rate", "barrier_rate"), 0)


class Stage:
    """One process, one switch, a controller per slice."""

    def __init__(self, directory: Path, *, sharing: bool) -> None:
        names = NAMES if sharing else {"anna": NAMES["anna"]}
        self.controllers = {name: EmulatedController(of.V13, free_port(), name=name).listen() for name in names}
        self.slices = [
            {
                "id": name,
                "segments": [
                    {
                        "vlan": VLAN,
                        "controllers": [self.controllers[name].address],
                        "attachments": [{"dpid": f"0x{DPID:016x}", "ports": list(ports)}],
                    }
                ],
            }
            for name, ports in names.items()
        ]
        policy = {"pipeline": "admission", "vlan_port_sharing": sharing}
        self.config: dict[str, Any] = {"limits": NO_LIMITS, "timers": {"audit": 0}, "policy": policy}
        self.vmoc = VmocProcess(directory, self.config | {"slices": self.slices})
        self.vmoc.start()
        self.switch = MockSwitch(self.vmoc.address, DPID, of.V13)
        self.switch.start()
        self.switch.wait_connected()
        for name in names:
            self.at(name)

    def at(self, name: str) -> Connection:
        return self.controllers[name].wait_up(VLAN << 48 | DPID)

    def close(self) -> None:
        self.switch.stop()
        for controller in self.controllers.values():
            controller.stop()
        self.vmoc.stop()

    def gates(self) -> dict[int, Entry]:
        found = {e.match["in_port"][0]: e for e in self.switch.flows() if e.table == 0}
        assert len(found) == len([e for e in self.switch.flows() if e.table == 0])
        return found

    def own(self) -> list[Entry]:
        return [entry for entry in self.switch.flows() if entry.table]

    def refused(self, name: str, raw: bytes, kind: int, code: int) -> None:
        connection, before = self.at(name), len(self.own())
        connection.send(raw)
        error = of.parse_error(connection.expect("error"))
        assert (error.type, error.code, error.data) == (kind, code, raw[:64])
        connection.barrier()
        assert len(self.own()) == before

    def allowed(self, name: str, raw: bytes) -> None:
        connection = self.at(name)
        connection.send(raw)
        connection.barrier()
        assert not [message for message in connection.unseen() if message.name == "error"]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path, sharing=False)
    yield one
    one.close()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path, sharing=True)
    yield one
    one.close()


def mod(command: str = "add", match: dict[str, Any] | None = None, actions: bytes = b"", **more: Any) -> bytes:
    return of.flow_mod(of.V13, command, of.match(of.V13, **(match or {})), actions, xid=Connection.next_xid(), **more)


def metadata(value: int, mask: int) -> bytes:
    return instruction(2, bytes(4) + struct.pack("!QQ", value, mask))


def test_a01_table_0_holds_the_admission_and_nothing_else(alone: Stage) -> None:
    gates = alone.gates()
    assert set(gates) == {1, 2, CONTROLLER}
    for entry in gates.values():
        assert (entry.priority, entry.cookie >> 48, entry.vlan) == (100, 0xFFFE, VLAN)
        assert entry.match.keys() == {"in_port", "vlan_vid"} and entry.actions == goto_table(1)
    assert not alone.own(), "no guard, no miss entry"


def test_a02_tables_are_one_further_on(alone: Stage) -> None:
    features = alone.at("anna").features
    assert features is not None and features.n_tables == 3
    alone.allowed("anna", mod(instructions=goto_table(2), priority=65535))
    (entry,) = alone.own()
    assert (entry.table, entry.priority, entry.actions) == (1, 65535, goto_table(3))


def test_a03_what_is_beyond_does_not_exist(alone: Stage) -> None:
    alone.refused("anna", mod(table=3), 5, 2)
    alone.refused("anna", mod(table=2, instructions=goto_table(3)), 3, 2)


def test_a04_errors_flows_and_packets_come_back_with_the_slices_tables(alone: Stage) -> None:
    anna = alone.at("anna")
    alone.allowed("anna", mod(actions=of.output(of.V13, "controller"), table=0, flags=1))
    alone.switch.inject(1, E(VLAN))
    assert of.parse_packet_in(anna.expect("packet_in")).table == 0
    alone.switch.expire(alone.own()[0])
    assert of.parse_flow_removed(anna.expect("flow_removed")).table == 0


def test_a05_a_delete_of_everything_leaves_the_admission(alone: Stage) -> None:
    alone.allowed("anna", mod(table=1))
    alone.allowed("anna", mod("delete", table=255))
    assert not alone.own() and set(alone.gates()) == {1, 2, CONTROLLER}


def test_a06_removal_switches_off_first(alone: Stage) -> None:
    alone.allowed("anna", mod(table=1))
    alone.switch.mark()
    alone.vmoc.reload(slices=[])
    alone.switch.wait_for(lambda: not alone.switch.flows(), "an empty switch")
    first, second = [m for m in alone.switch.flow_mods() if m.command == "delete"][-2:]
    assert (first.table, first.cookie >> 48, first.cookie_mask) == (0, 0xFFFE, FULL)
    assert (second.table, second.vlan, second.cookie_mask) == (255, VLAN, 0)


def test_s01_each_has_a_slot_and_no_packet_without_a_port_is_admitted(shared: Stage) -> None:
    slots = {}
    for port, entry in shared.gates().items():
        ((value, mask),) = entry.metadata_writes()
        assert mask == 0xFFF << 52 and not value & ~mask and value
        slots[port] = value
    assert slots.keys() == {1, 2, 3, 4}
    assert slots[1] == slots[2] != slots[3] == slots[4]


def test_s02_the_slots_bits_are_not_the_slices(shared: Stage) -> None:
    shared.refused("anna", mod(instructions=metadata(0, FULL)), 3, 4)
    shared.refused("anna", mod(instructions=metadata(1 << 52, 1 << 52)), 3, 4)
    shared.refused("anna", mod(match={"metadata": (1 << 63, 1 << 63)}), 4, 8)
    shared.refused("anna", mod("delete", match={"metadata": (0, 0xFFF << 52)}), 4, 8)
    shared.allowed("anna", mod(match={"metadata": 7}, instructions=metadata(7, FULL >> 12)))


def test_s03_nobody_meets_the_neighbours_packets(shared: Stage) -> None:
    for name in NAMES:
        shared.allowed(name, mod(actions=of.output(of.V13, "flood")))
    for port, other in ((1, 2), (2, 1), (3, 4), (4, 3)):
        assert [out for out, _ in shared.switch.inject(port, E(VLAN)).sent] == [other]
    assert shared.switch.inject(5, E(VLAN)).sent == []


def test_s04_packets_go_to_the_controller_of_their_port(shared: Stage) -> None:
    for name in NAMES:
        shared.allowed(name, mod(actions=of.output(of.V13, "controller")))
    shared.switch.inject(3, E(VLAN))
    told = of.parse_packet_in(shared.at("bert").expect("packet_in"))
    assert told.match["in_port"][0] == 3 and "metadata" not in told.match
    shared.at("anna").expect_nothing("packet_in")


@pytest.mark.parametrize(
    ("port", "in_port", "error"),
    [("controller", 1, (2, 4)), ("table", "controller", (2, 4)), (3, 1, (2, 4)), (2, 3, (1, 11))],
)
def test_s05_packet_outs_stay_at_home(
    shared: Stage, port: int | str, in_port: int | str, error: tuple[int, int]
) -> None:
    raw = of.packet_out(of.V13, E(VLAN), of.output(of.V13, port), in_port=in_port, xid=Connection.next_xid())
    shared.refused("anna", raw, *error)


def test_s06_the_neighbours_entries_survive_a_removal(shared: Stage) -> None:
    for name in NAMES:
        shared.allowed(name, mod(actions=of.output(of.V13, "flood")))
    kept = [entry for entry in shared.switch.flows() if entry.match.get("in_port", (3, 0))[0] in (3, 4)]
    kept = [entry for entry in kept if entry.table == 0 or entry.cookie >> 48 == kept_tag(shared)]
    shared.vmoc.reload(slices=shared.slices[1:])
    wait_until(lambda: len(shared.switch.flows()) == 3, "the other's entries to be gone")
    assert {id(entry) for entry in shared.switch.flows()} == {id(entry) for entry in kept}


def kept_tag(shared: Stage) -> int:
    return shared.gates()[3].cookie >> 16 & 0xFFFF


def test_s07_deletes_and_statistics_of_everything_are_of_ones_own(shared: Stage) -> None:
    for name in NAMES:
        shared.allowed(name, mod(actions=of.output(of.V13, "flood"), table=1))
    shared.allowed("anna", mod("delete", table=255))
    (left,) = shared.own()
    assert left.cookie >> 48 == kept_tag(shared) and set(shared.gates()) == {1, 2, 3, 4}
