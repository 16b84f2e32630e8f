"""Two slices' groups, meters and flows on one switch, and on a private switch each: nobody can tell the difference.

The private switches are emulated ones that see the very messages the
controllers send. What the specification adds (loops, depth, chained deletes,
quotas) is judged with networkx. Physical ids are watched all the while.
"""

from __future__ import annotations

import struct
from typing import Any

import networkx as nx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.switch import EmulatedSwitch
from tests.vmoc.mux.ends import V13
from tests.vmoc.mux.groupwire import (
    ADD,
    ALL,
    DELETE,
    DROP,
    EVERY_GROUP,
    EVERY_METER,
    FAST_FAILOVER,
    MODIFY,
    bucket,
    group_desc,
    group_references,
    meter,
    meters,
)
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import ALICE, BOB, with_limits
from vmoc.model import Policy

PORTS = {"alice": (1, 2, 3), "bob": (2, 3, 4)}
VLAN = {"alice": 100, "bob": 200}
GROUPS, METERS, DEPTH = 4, 2, 2
NUMBERS = st.sampled_from([1, 2, 3, 0x70000001, 0xFFFFFF00])
METER_NUMBERS = st.sampled_from([1, 2, 0xFFFF0000])
COMMANDS = st.sampled_from([ADD, ADD, MODIFY, DELETE])
SEND_FLOW_REM = 1
LOOP, DEEP, CHAINED, FULL, NO_METERS = (6, 7), (6, 5), (6, 9), (6, 3), (12, 10)
UNKNOWN, WATCH = (2, 9), (6, 13)


@st.composite
def group_mods(draw: st.DrawFn, name: str) -> tuple[int, int, bytes, list[int]]:
    """(command, id, buckets, groups they lead to)."""
    command, number = draw(COMMANDS), draw(NUMBERS)
    if command == DELETE:
        return command, draw(st.sampled_from([number, number, EVERY_GROUP])), b"", []
    buckets, leads = b"", []
    for _ in range(draw(st.integers(0, 2))):
        actions, watched = of.output(V13, draw(st.sampled_from(PORTS[name]))), 0xFFFFFFFF
        if draw(st.booleans()):
            leads.append(draw(NUMBERS))
            actions = of.group(leads[-1])
        elif draw(st.integers(0, 3)) == 0:
            leads.append(draw(NUMBERS))
            watched = leads[-1]
        buckets += bucket(actions, watch_group=watched)
    return command, number, buckets, leads


class SharedObjects(RuleBasedStateMachine):
    journal = False

    def __init__(self) -> None:
        super().__init__()
        limits = {"max_flows": 0, "max_groups": GROUPS, "max_meters": METERS}
        slices = tuple(with_limits(one, **limits) for one in (ALICE, BOB))
        self.book = Playbook(slices, policy=Policy(chain_depth=DEPTH), journal=self.journal)
        self.switch = self.book.switch(V13)
        self.private = {name: EmulatedSwitch(("", 0), version=V13) for name in VLAN}
        self.graphs = {name: nx.DiGraph() for name in VLAN}
        self.owners: dict[int, str] = {}
        self.gone: set[int] = set()

    def _exchange(self, name: str, kind: str, body: bytes, error: tuple[int, int] | None) -> None:
        """One message to both; ``error`` is what a switch that keeps to the specification says."""
        self.book.clear()
        end = self.book.at(name)
        message = of.message(V13, kind, body, end.next_xid())
        answers = [] if error else [Message(raw) for raw in self.private[name].answer(message)]
        end.send(message)
        refused = [of.parse_error(answer) for answer in answers if answer.name == "error"]
        expected = [error] if error else [(one.type, one.code) for one in refused]
        assert end.errors() == expected
        removed = [of.parse_flow_removed(answer) for answer in answers if answer.name == "flow_removed"]
        told = [of.parse_flow_removed(answer) for answer in end.take("flow_removed")]
        assert sorted((r.cookie, r.reason) for r in told) == sorted((r.cookie, r.reason) for r in removed)
        assert self.book.heard() == {}, "nobody else hears of it"

    @rule(data=st.data(), name=st.sampled_from(sorted(VLAN)))
    def group_mod(self, data: st.DataObject, name: str) -> None:
        command, number, buckets, leads = data.draw(group_mods(name))
        body = struct.pack("!HBxI", command, FAST_FAILOVER if leads else ALL, number) + buckets
        before = self.graphs[name]
        after, error = self._judge(before, command, number, buckets, leads)
        if error is None and command == DELETE and number == EVERY_GROUP:
            after = nx.DiGraph()
        self._exchange(name, "group_mod", body, error)
        if error is None:
            self.graphs[name] = after

    def _judge(
        self, before: nx.DiGraph, command: int, number: int, buckets: bytes, leads: list[int]
    ) -> tuple[nx.DiGraph, tuple[int, int] | None]:
        after = before.copy()
        if command == DELETE:
            if number in before and set(before.predecessors(number)) - {number}:
                return before, CHAINED
            after.remove_nodes_from([number])
            return after, None
        if (command == ADD) == (number in before):
            return before, (6, 0) if command == ADD else (6, 8)
        for each in _buckets(buckets):
            if each[0] not in before and each[0] is not None:
                return before, WATCH
            if each[1] not in before and each[1] is not None:
                return before, UNKNOWN
        if command == ADD and len(before) >= GROUPS:
            return before, FULL
        after.add_node(number)
        after.remove_edges_from(list(after.out_edges(number)))
        after.add_edges_from((number, other) for other in leads)
        if not nx.is_directed_acyclic_graph(after):
            return before, LOOP
        if nx.dag_longest_path_length(after) + 1 > DEPTH:
            return before, DEEP
        return after, None

    @rule(name=st.sampled_from(sorted(VLAN)), command=COMMANDS, number=METER_NUMBERS, every=st.booleans())
    def meter_mod(self, name: str, command: int, number: int, every: bool) -> None:
        private = self.private[name].meters
        error = None
        if command == ADD and number not in private and len(private) >= METERS:
            error = NO_METERS
        if command == DELETE and every:
            number = EVERY_METER
        bands = b"" if command == DELETE else DROP
        if command != DELETE and number > 100 and error is None:
            # The emulated switch has ids 1..100; through VMOC a slice has them all.
            known = number in private
            error = ((12, 1) if known else None) if command == ADD else (None if known else (12, 3))
            self.book.clear()
            self.book.at(name).request("meter_mod", struct.pack("!HHI", command, 1, number) + bands)
            assert self.book.at(name).errors() == ([error] if error else [])
            if error is None:
                private[number] = (1, bands)
            return
        self._exchange(name, "meter_mod", struct.pack("!HHI", command, 1, number) + bands, error)
        if command == DELETE:
            self.book.advance(1.5)  # the flows are forgotten when a barrier has confirmed it

    @rule(
        name=st.sampled_from(sorted(VLAN)),
        command=st.sampled_from(["add", "add", "add", "modify", "delete"]),
        group=st.one_of(st.none(), NUMBERS),
        metered=st.one_of(st.none(), METER_NUMBERS),
        written=st.booleans(),
        where=st.integers(1, 3),
        flags=st.sampled_from([0, SEND_FLOW_REM]),
        filtered=st.booleans(),
    )
    def flow_mod(
        self, name: str, command: str, group: int | None, metered: int | None, written: bool, where: int, flags: int,
        filtered: bool,
    ) -> None:  # fmt: skip
        actions = of.output(V13, PORTS[name][0]) if group is None else of.group(group)
        instructions = (of.write_actions if written else of.apply_actions)(actions)
        more: dict[str, Any] = {"cookie": where, "flags": flags if command == "add" else 0}
        if command == "delete":
            instructions = b""
            more["out_group"] = group if filtered and group is not None else 0xFFFFFFFF
        elif metered is not None:
            instructions += meter(metered)
        match = of.match(V13, eth_dst=where)
        body = of.flow_mod(V13, command, match, instructions=instructions, **more)[8:]
        error = None
        if command != "delete":
            # In the order of the instructions.
            if group is not None and group not in self.private[name].groups:
                error = UNKNOWN
            elif metered is not None and metered not in self.private[name].meters:
                error = (12, 2)
        self._exchange(name, "flow_mod", body, error)

    @rule()
    def time_passes(self) -> None:
        self.book.advance(1.1)

    @rule()
    def the_switch_reconnects(self) -> None:
        self.switch.close()
        self.book.advance(3)
        self.switch = self.book.switch(model=self.switch.model)
        self.book.advance(3)

    @rule(name=st.sampled_from(sorted(VLAN)))
    def a_slice_goes_and_comes(self, name: str) -> None:
        slices = self.book.slices
        mine = {n for n, owner in self.owners.items() if owner == name}
        self.book.adopt(*[one for one in slices if one.id != name])
        self.book.advance(2)
        assert not mine & self.switch.model.groups.keys()
        self.book.adopt(*slices)
        self.book.advance(3)
        self.private[name] = EmulatedSwitch(("", 0), version=V13)
        self.graphs[name] = nx.DiGraph()

    # -- what always holds -------------------------------------------------------------------------------

    @invariant()
    def physical_ids_have_one_owner_for_ever(self) -> None:
        inside = self.book.mux._switches[0xAA, 0]
        held = {}
        for name, vlan in VLAN.items():
            held |= dict.fromkeys(inside.datapaths[vlan].groups.ids.values(), name)
        assert held.keys() == self.switch.model.groups.keys()
        assert not held.keys() & self.gone, "an id came again"
        self.gone |= self.owners.keys() - held.keys()
        self.owners = held
        taken = [physical for vlan in VLAN.values() for physical in inside.datapaths[vlan].meters.ids.values()]
        assert sorted(taken) == sorted(self.switch.model.meters)
        assert set(taken) <= inside.meter_pool.taken

        self._lead_to_their_owners_only()

    def _lead_to_their_owners_only(self) -> None:
        for number, (_, buckets) in self.switch.model.groups.items():
            for watched, led in _buckets(buckets):
                for other in (watched, led):
                    assert other is None or other in self.gone or self.owners[other] == self.owners[number]
        for flow in self.switch.model.table.entries:
            for number, owner in self.owners.items():
                assert not flow.uses_group(number) or flow.vlan == VLAN[owner]

    @invariant()
    def the_statistics_are_a_private_switchs(self) -> None:
        for name, private in self.private.items():
            end = self.book.at(name)
            uses = {n: sum(e.uses_group(n) for e in private.table.entries) for n in private.groups}
            described = {n: (kind, b"".join(raw)) for n, (kind, raw) in group_desc(end).items()}
            assert described == private.groups
            assert group_references(end) == uses
            shown = meters(end)
            assert {n: (each.flags, each.bands) for n, each in shown.items()} == private.meters
            assert {n: each.flows for n, each in shown.items()} == {
                n: sum(e.uses_meter(n) for e in private.table.entries) for n in private.meters
            }
            flows = [(s.cookie, s.actions, s.flags & SEND_FLOW_REM) for s in end.flow_stats()]
            own = [(e.cookie, e.actions, e.flags & SEND_FLOW_REM) for e in private.table.entries]
            assert sorted(flows) == sorted(own)


def _buckets(data: bytes) -> list[tuple[int | None, int | None]]:
    """(watched group, group led to) of each bucket."""
    found = []
    while data:
        length, watched = struct.unpack_from("!H6xI", data)
        led = [int.from_bytes(body[4:8], "big") for kind, body in of.split_actions(data[16:length]) if kind == 22]
        found.append((watched if watched != 0xFFFFFFFF else None, led[0] if led else None))
        data = data[length:]
    return found


TestSharedObjects = SharedObjects.TestCase
TestSharedObjects.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
