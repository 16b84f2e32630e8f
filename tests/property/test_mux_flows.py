"""Two slices' flow-mods against one switch, and against a private switch each: nobody can tell the difference.

The physical and the private tables are the emulated switch's. Whatever the
controllers do, whatever expires, comes and goes: an entry is only ever in its
owner's VLAN, leads to its owner's ports, and each controller's statistics are
those of its private switch.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.match import Match
from tests.emulation.table import SEND_FLOW_REM, Entry, FlowError, FlowTable
from tests.vmoc.mux.ends import V10, V13
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, with_limits
from vmoc.model import Policy

QUOTA = 6
PORTS = {"alice": (1, 2, 3), "tina": (1, 2, 5)}
VLAN = {"alice": 100, "tina": 300}
ALL_ONES = 0xFFFFFFFFFFFFFFFF
OVERLAP = ((3, 1), (5, 3))
FULL = {V10: (3, 0), V13: (5, 1)}


def virtual(match: Match) -> tuple[tuple[str, tuple[int, int]], ...]:
    return tuple(sorted((name, value) for name, value in match.items() if name != "vlan_vid"))


def facts(flow: Any) -> tuple[object, ...]:
    return flow.table, flow.priority, virtual(flow.match), flow.cookie, flow.idle, flow.hard, flow.actions


@st.composite
def matches(draw: st.DrawFn, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["in_port"] = draw(st.sampled_from(PORTS[name]))
    if draw(st.booleans()):
        fields["eth_dst"] = draw(st.integers(1, 2))
    if draw(st.booleans()):
        fields["eth_type"] = 0x800
        fields["ipv4_dst"] = draw(st.sampled_from([(0x0A010000, 0xFFFF0000), (0x0A010200, 0xFFFFFF00), 0x0A010203]))
    return fields


@st.composite
def requests(draw: st.DrawFn, version: int, name: str) -> bytes:
    """A FLOW_MOD; now and then with a port that is not the slice's."""
    command = draw(st.sampled_from(["add", "add", "add", "modify", "modify_strict", "delete", "delete_strict"]))
    ports: list[int | str] = draw(st.lists(st.sampled_from([*PORTS[name], "flood", "all", "controller"]), max_size=2))
    if draw(st.integers(0, 9)) == 0:
        ports.append(4)
    actions = b"".join(of.output(version, port) for port in ports)
    if version == V10 and name == "tina" and draw(st.booleans()):
        actions = of.strip_vlan(V10) + actions
    priority = draw(st.sampled_from([1, 2, 65535]))
    more: dict[str, Any] = {"cookie": draw(st.integers(0, 3)), "priority": priority}
    if command == "add":
        overlap = 2 if priority < 65535 else 0
        more["flags"] = draw(st.sampled_from([0, 1])) | draw(st.sampled_from([0, 0, overlap]))
        more["idle"] = draw(st.sampled_from([0, 30]))
    if command.startswith("delete"):
        more["out_port"] = draw(st.sampled_from(["none", "none", "flood", 1, 2, 4]))
    if version == V13:
        tables = [0, 0, 1, 3, 255] if command.startswith("delete") else [0, 0, 1, 3]
        more["table"] = draw(st.sampled_from(tables))
        more["cookie_mask"] = draw(st.sampled_from([0, 0, 1, 3, ALL_ONES]))
    fields = draw(matches(name))
    if draw(st.integers(0, 9)) == 0:
        fields["in_port"] = 4
    return of.flow_mod(version, command, of.match(version, **fields), actions, xid=draw(st.integers(0, 9)), **more)


class SharedSwitch(RuleBasedStateMachine):
    version = V10
    journal = False
    policy = Policy()
    first_table = 0

    def __init__(self) -> None:
        super().__init__()
        slices = (with_limits(ALICE, max_flows=QUOTA), with_limits(TINA, max_flows=QUOTA), BOB)
        self.book = Playbook(slices, policy=self.policy, journal=self.journal)
        knobs = {"n_tables": 4 + self.first_table} if self.first_table else {}
        self.switch = self.book.switch(self.version, **knobs)
        self.private = {name: FlowTable(self.version, QUOTA) for name in VLAN}
        self.local = of.port_number(self.version, "local")

    def _may(self, name: str, mod: of.FlowMod) -> bool:
        """Whether the slice has every port that matters: inputs may be ports that are away, outputs may not."""
        present = {port for port in PORTS[name] if port in self.switch.model.ports}
        if "in_port" in mod.match and mod.match["in_port"][0] not in PORTS[name]:
            return False
        if mod.command.startswith("delete"):
            return True
        lists = of.action_lists(self.version, mod.actions)
        named = {port for actions in lists for port in of.output_ports(self.version, actions) if port < 0xFF00}
        return named <= present

    def _send(self, name: str, message: bytes) -> None:
        self.book.clear()
        mod = of.parse_flow_mod(Message(message))
        fine = self._may(name, mod)
        mine = self.book.at(name)
        mine.send(message)
        expected: list[tuple[int, int]] = []
        gone: list[Entry] = []
        if fine:
            try:
                gone = self.private[name].apply(mod)
            except FlowError as refused:
                expected = [refused.args]
                if refused.args in OVERLAP and len(self.private[name].entries) >= QUOTA:
                    expected = [FULL[self.version]]  # the quota is looked at before the switch is asked
        told = sorted(map(facts_removed, mine.take("flow_removed")))
        assert told == sorted(facts_gone(e) for e in gone if e.flags & SEND_FLOW_REM)
        errors = mine.errors()
        assert len(errors) == 1 if not fine else errors == expected
        assert self.book.heard() == {}, "nobody else hears of it"

    @rule(data=st.data(), name=st.sampled_from(sorted(VLAN)))
    def flow_mod(self, data: st.DataObject, name: str) -> None:
        self._send(name, data.draw(requests(self.version, name)))

    @precondition(lambda self: any(table.entries for table in self.private.values()))
    @rule(data=st.data())
    def expires(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, table in sorted(self.private.items()) if table.entries]))
        entry = data.draw(st.sampled_from(self.switch.flows(VLAN[name])))
        place = entry.table - self.first_table, virtual(entry.match)
        same = [e for e in self.private[name].entries if (e.table, virtual(e.match)) == place]
        (twin,) = [e for e in same if e.priority == entry.priority or (e.priority, entry.priority) == (65535, 65534)]
        self.book.clear()
        self.switch.does(lambda model: model.expire(entry))
        self.private[name].entries.remove(twin)
        mine = self.book.at(name)
        told = [facts_removed(message) for message in mine.take("flow_removed")]
        assert told == ([facts_gone(twin)] if twin.flags & SEND_FLOW_REM else [])
        assert self.book.heard() == {}

    @rule()
    def time_passes(self) -> None:
        self.book.advance(1.1)

    @rule()
    def the_switch_reconnects(self) -> None:
        self.switch.close()
        self.book.advance(3)
        self.switch = self.book.switch(model=self.switch.model)

    @rule(port=st.sampled_from([2, 3, 5]))
    def a_port_goes_and_comes(self, port: int) -> None:
        self.switch.port_status("delete" if port in self.switch.model.ports else "add", port)

    @rule(name=st.sampled_from(sorted(VLAN)))
    def a_controller_reconnects(self, name: str) -> None:
        self.book.at(name).close()
        self.book.advance(2)

    @rule()
    def the_slices_are_adopted_again(self) -> None:
        self.book.adopt(*self.book.slices)

    # -- what always holds -------------------------------------------------------------------------------

    @invariant()
    def entries_are_in_their_owners_vlan_and_lead_to_its_ports(self) -> None:
        tags: dict[int, set[int]] = {}
        allowed = {100: {1, 2, 3}, 200: {2, 3, 4}, 300: {1, 2, 5}}
        special = {of.port_number(self.version, port) for port in ("controller", "in_port")}
        for flow in self.switch.model.table.entries:
            assert flow.vlan in allowed
            for port in flow.outputs(self.version):
                assert port in allowed[flow.vlan] | special
            if flow.cookie >> 48 != 0xFFFE:
                tags.setdefault(flow.vlan, set()).add(flow.cookie >> 48)
                assert flow.flags & SEND_FLOW_REM or self.version == V13
        assert all(len(found) == 1 for found in tags.values())
        assert len({tag for found in tags.values() for tag in found}) == len(tags)

    @invariant()
    def guards_are_in_place(self) -> None:
        ports = set(self.switch.model.ports)
        for vlan, own in ((100, {1, 2, 3}), (200, {2, 3, 4}), (300, {1, 2, 5})):
            assert set(self.switch.guards(vlan)) >= ports - own
            assert not set(self.switch.guards(vlan)) & own

    @invariant()
    def the_statistics_are_a_private_switchs(self) -> None:
        for name, table in self.private.items():
            end = self.book.at(name)
            shown = end.flow_stats()
            assert sorted(map(facts, shown)) == sorted(map(facts, table.entries))
            assert end.aggregate()[2] == len(table.entries)
            assert len(self.switch.flows(VLAN[name])) == len(table.entries)


def facts_removed(message: Message) -> tuple[object, ...]:
    removed = of.parse_flow_removed(message)
    return removed.table, removed.priority, virtual(removed.match), removed.cookie


def facts_gone(entry: Entry) -> tuple[object, ...]:
    return entry.table, entry.priority, virtual(entry.match), entry.cookie


class SharedSwitch13(SharedSwitch):
    version = V13


class AdmittingSwitch(SharedSwitch13):
    """``pipeline: admission``: instead of guards there is table 0."""

    policy = Policy(pipeline="admission")
    first_table = 1

    @invariant()
    def guards_are_in_place(self) -> None:
        ports = {port for port in self.switch.model.ports if port != self.local}
        found: dict[int, set[int]] = {}
        for flow in self.switch.model.table.entries:
            assert (flow.table == 0) is (flow.cookie >> 48 == 0xFFFE)
            if not flow.table:
                assert (flow.priority, flow.actions) == (100, of.goto_table(1))
                found.setdefault(flow.vlan, set()).add(flow.match["in_port"][0])
        controller = of.port_number(V13, "controller")
        for vlan, own in ((100, {1, 2, 3}), (200, {2, 3, 4}), (300, {1, 2, 5})):
            assert found[vlan] == own & ports | {controller}


SOME = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestOpenFlow10 = SharedSwitch.TestCase
TestOpenFlow10.settings = SOME
TestOpenFlow13 = SharedSwitch13.TestCase
TestOpenFlow13.settings = SOME
TestAdmission = AdmittingSwitch.TestCase
TestAdmission.settings = SOME
