"""``vlan_port_sharing``: frames of slices that share a VLAN on one switch, against a private switch each.

Whatever the controllers install, whatever ports change hands: a frame meets
the entries of the slice whose port it came from, leaves through that slice's
ports and is shown to that slice's controller only; and it goes where the
slice's private switch, which has its ports and no neighbours, sends it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.emulation import wire as of
from tests.emulation.frames import E, vlan_of
from tests.emulation.layout import Message
from tests.emulation.pipeline import Outcome
from tests.emulation.switch import EmulatedSwitch
from tests.emulation.table import Entry
from tests.vmoc.mux.ends import V13
from tests.vmoc.mux.groupwire import ADD, ALL, DELETE, MODIFY, bucket
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import piece
from vmoc.model import Limits, Policy

TABLES = 4
"""Of the switch; the slices have one less."""
LAYOUTS = (
    {"anna": (1, 2, 5), "bert": (3, 4), "carl": (1, 2, 3, 4, 5, 6)},
    {"anna": (1, 3), "bert": (2, 4, 5), "carl": (1, 2, 3, 4, 5, 6)},
)
VLAN = {"anna": 100, "bert": 100, "carl": 200}
PORTS = (1, 2, 3, 4, 5, 6)
CONTROLLER = of.PORTS[V13]["controller"]
PROXY = 0xFFFE
VMOC = "VMOC itself"
SLOT = 0xFFF << 52
Metadata = tuple[int, int]


def metadata() -> st.SearchStrategy[Metadata]:
    """Value and mask: as a rule in the slice's bits, now and then with a slot, one's own or a neighbour's."""
    low = st.tuples(st.integers(0, 1), st.just(3))
    return st.one_of(low, low, low, st.tuples(st.integers(1, 3).map(lambda slot: slot << 52), st.just(SLOT)))


def taken(mod: of.FlowMod) -> list[Metadata]:
    """The metadata it matches or writes."""
    matched = [mod.match["metadata"]] if "metadata" in mod.match else []
    return matched + [struct.unpack("!QQ", body[8:24]) for kind, body in of.split_actions(mod.actions) if kind == 2]


class SharedVlan(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.layout = LAYOUTS[0]
        policy = Policy(pipeline="admission", vlan_port_sharing=True)
        self.book = Playbook(self._slices(), policy=policy, sharing=True)
        self.switch = self.book.switch(V13, n_tables=TABLES)
        self.private = {name: self._private(name) for name in VLAN}
        self.owners: dict[int, str] = {}
        """By cookie tag."""

    def _slices(self) -> tuple[Any, ...]:
        limits = Limits(0, 0, 0, 0, 0, 0, 0, 0)
        return tuple(piece(name, VLAN[name], ports, limits=limits) for name, ports in self.layout.items())

    def _private(self, name: str) -> EmulatedSwitch:
        return EmulatedSwitch(("", 0), version=V13, ports=self.layout[name], n_tables=TABLES - 1)

    # -- what the controllers do -------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(sorted(VLAN)),
        command=st.sampled_from(["add", "add", "add", "add", "modify", "modify_strict", "delete", "delete_strict"]),
        table=st.sampled_from([0, 0, 0, 1, 1, 2]),
        priority=st.sampled_from([0, 1, 2, 0xFFFF]),
        in_port=st.one_of(st.none(), st.none(), st.sampled_from(PORTS)),
        eth_dst=st.one_of(st.none(), st.integers(1, 2)),
        seen=st.one_of(st.none(), st.none(), metadata()),
        ports=st.lists(st.sampled_from([*PORTS, "flood", "all", "in_port", "controller"]), max_size=2),
        vlan=st.sampled_from([None, None, None, 100, 200]),
        group=st.one_of(st.none(), st.none(), st.integers(1, 2)),
        written=st.booleans(),
        onward=st.one_of(st.none(), metadata()),
        cookie=st.integers(1, 3),
    )
    def flow_mod(
        self, name: str, command: str, table: int, priority: int, in_port: int | None, eth_dst: int | None,
        seen: Metadata | None, ports: list[Any], vlan: int | None, group: int | None, written: bool,
        onward: Metadata | None, cookie: int,
    ) -> None:  # fmt: skip
        fields: dict[str, Any] = {"in_port": in_port, "eth_dst": eth_dst, "metadata": seen}
        match = of.match(V13, **{field: value for field, value in fields.items() if value is not None})
        actions = b"" if vlan is None else of.set_field("vlan_vid", 0x1000 | vlan)
        actions += b"".join(of.output(V13, port) for port in ports)
        actions += b"" if group is None else of.group(group)
        if written:
            ports[1:] = []
            actions = of.output(V13, ports[0]) if ports else b""
        instructions = of.write_actions(actions) if written else of.apply_actions(actions)
        if onward is not None and table < TABLES - 2:
            instructions += of.instruction(2, bytes(4) + struct.pack("!QQ", *onward)) + of.goto_table(table + 1)
        message = of.flow_mod(
            V13, command, match, instructions=b"" if command.startswith("delete") else instructions, table=table,
            priority=priority, cookie=cookie,
        )  # fmt: skip
        self._say(name, message, self._may(name, of.parse_flow_mod(Message(message)), written))

    def _may(self, name: str, mod: of.FlowMod, written: bool) -> bool:
        own = self.layout[name]
        if "in_port" in mod.match and mod.match["in_port"][0] not in own:
            return False
        if any((value | mask) & SLOT for value, mask in taken(mod)):
            return False
        named, vids = self._named(mod.actions)
        if named - {*own, *(of.port_number(V13, port) for port in self._reserved(written))}:
            return False
        groups = [body[4:8] for actions in of.action_lists(V13, mod.actions) for kind, body in of.split_actions(actions)
                  if kind == 22]  # fmt: skip
        known = self.private[name].groups
        return vids <= {0x1000 | VLAN[name]} and all(int.from_bytes(each, "big") in known for each in groups)

    @staticmethod
    def _reserved(written: bool) -> tuple[str, ...]:
        return ("in_port", "controller") if written else ("in_port", "controller", "flood", "all")

    @staticmethod
    def _named(instructions: bytes) -> tuple[set[int], set[int]]:
        """Output ports, and VLANs that are set."""
        lists = of.action_lists(V13, instructions)
        ports = {port for actions in lists for port in of.output_ports(V13, actions)}
        vids = {int.from_bytes(body[8:10], "big") for actions in lists for kind, body in of.split_actions(actions)
                if kind == 25}  # fmt: skip
        return ports, vids

    @rule(
        name=st.sampled_from(sorted(VLAN)),
        command=st.sampled_from([ADD, ADD, MODIFY, DELETE]),
        number=st.integers(1, 2),
        ports=st.lists(st.sampled_from(PORTS), max_size=2),
    )
    def group_mod(self, name: str, command: int, number: int, ports: list[int]) -> None:
        buckets = b"" if command == DELETE else b"".join(bucket(of.output(V13, port)) for port in ports)
        body = struct.pack("!HBxI", command, ALL, number) + buckets
        there = number in self.private[name].groups
        fine = command == DELETE or (there is (command == MODIFY) and set(ports) <= set(self.layout[name]))
        self._say(name, of.message(V13, "group_mod", body, 1), fine)

    def _say(self, name: str, message: bytes, fine: bool) -> None:
        """A message to VMOC, and to the private switch if it is in order."""
        self.book.clear()
        self.book.at(name).send(message)
        assert len(self.book.at(name).errors()) == (not fine)
        self.book.at(name).take("flow_removed")
        assert self.book.heard() == {}, "nobody else hears of it"
        if fine:
            answers = [Message(raw).name for raw in self.private[name].answer(message)]
            assert "error" not in answers
        for entry in self.switch.model.table.entries:
            self.owners.setdefault(entry.cookie >> 48, VMOC if entry.cookie >> 48 == PROXY else name)

    # -- frames ------------------------------------------------------------------------------------------

    @rule(port=st.sampled_from(PORTS), vlan=st.sampled_from([100, 100, 100, 200, 300, None]), dst=st.integers(1, 2))
    def a_frame_arrives(self, port: int, vlan: int | None, dst: int) -> None:
        frame = E(vlan, dst=dst.to_bytes(6, "big"))
        owner = next((name for name, ports in self.layout.items() if port in ports and VLAN[name] == vlan), None)
        self._meets(owner, port, lambda switch: switch.inject(port, frame), frame)

    @rule(
        name=st.sampled_from(sorted(VLAN)),
        in_port=st.sampled_from([*PORTS, CONTROLLER]),
        vlan=st.sampled_from([100, 200]),
        ports=st.lists(st.sampled_from([*PORTS, "flood", "all", "in_port", "table"]), min_size=1, max_size=2),
        dst=st.integers(1, 2),
    )
    def a_packet_out(self, name: str, in_port: int, vlan: int, ports: list[Any], dst: int) -> None:
        frame = E(vlan, dst=dst.to_bytes(6, "big"))
        own = self.layout[name]
        actions = b"".join(of.output(V13, port) for port in ports)
        fine = (
            vlan == VLAN[name] and in_port in (*own, CONTROLLER) and {p for p in ports if isinstance(p, int)} <= {*own}
        )
        fine = fine and not (in_port == CONTROLLER and {"in_port", "table"} & set(ports))
        message = of.packet_out(V13, frame, actions, in_port=in_port)

        def through_vmoc(switch: EmulatedSwitch) -> Outcome:
            before = len(switch.transmitted)
            self.book.at(name).send(message)
            return Outcome(sent=switch.transmitted[before:])

        def alone(switch: EmulatedSwitch) -> Outcome:
            return switch.pipeline.packet_out(in_port, frame, actions)

        self._meets(name if fine else None, in_port, through_vmoc, frame, alone)
        assert len(self.book.at(name).errors()) == (not fine)

    def _meets(
        self, owner: str | None, port: int, happens: Callable[[EmulatedSwitch], Outcome], frame: bytes,
        alone: Callable[[EmulatedSwitch], Outcome] | None = None,
    ) -> None:  # fmt: skip
        """Something happens to a frame of ``owner`` (or nobody); on its private switch, the same."""
        self.book.clear()
        before = {id(entry): entry.packets for entry in self.switch.model.table.entries}
        outcome = Outcome()
        if alone is None:
            self.switch.does(lambda model: outcome.__dict__.update(vars(happens(model))))
        else:
            outcome = happens(self.switch.model)
        met = [entry for entry in self.switch.model.table.entries if entry.packets != before[id(entry)]]
        assert {self._owner(entry) for entry in met} <= {owner, VMOC}
        expected = Outcome()
        if owner is not None:
            private = self.private[owner]
            expected = alone(private) if alone is not None else private.pipeline.receive(port, frame)
            assert {out for out, _ in outcome.sent} <= {*self.layout[owner]}
            assert {vlan_of(data) for _, data in outcome.sent} <= {VLAN[owner]}
        assert sorted(outcome.sent) == sorted(expected.sent)
        told = {name: self.book.at(name).packet_ins() for name in VLAN}
        for name, seen in told.items():
            punts = [(data, table, cookie) for _, data, _, table, cookie in expected.punts] if name == owner else []
            assert sorted((one.data, one.table, one.cookie) for one in seen) == sorted(punts)
            for one in seen:
                assert one.match["in_port"][0] == port and one.match.get("metadata", (0, 0))[0] & SLOT == 0

    def _owner(self, entry: Entry) -> str:
        return self.owners.get(entry.cookie >> 48, VMOC)

    # -- what comes and goes -----------------------------------------------------------------------------

    @rule()
    def ports_change_hands(self) -> None:
        self.layout = LAYOUTS[1 - LAYOUTS.index(self.layout)]
        self.book.adopt(*self._slices())
        self.book.advance(2)
        self.private = {name: self._kept(name, private) for name, private in self.private.items()}

    def _kept(self, name: str, before: EmulatedSwitch) -> EmulatedSwitch:
        """What a slice keeps when its ports change: what it could install now."""
        own, after = self.layout[name], self._private(name)
        after.groups = {n: one for n, one in before.groups.items() if self._named_in_buckets(one[1]) <= {*own}}
        for entry in before.table.entries:
            named = {port for port in self._named(entry.actions)[0] if port < 0xFFFFFF00}
            fits = named <= {*own} and entry.match.get("in_port", (own[0], 0))[0] in own
            if fits and not any(entry.uses_group(number) for number in before.groups.keys() - after.groups.keys()):
                after.table.entries.append(entry)
        return after

    @staticmethod
    def _named_in_buckets(raw: bytes) -> set[int]:
        found: set[int] = set()
        while raw:
            length = int.from_bytes(raw[:2], "big")
            found |= set(of.output_ports(V13, raw[16:length]))
            raw = raw[length:]
        return found

    @rule(name=st.sampled_from(["anna", "bert"]))
    def a_slice_goes_and_comes(self, name: str) -> None:
        self.book.adopt(*[one for one in self._slices() if one.id != name])
        self.book.advance(2)
        self.book.adopt(*self._slices())
        self.book.advance(3)
        self.private[name] = self._private(name)

    @rule()
    def the_switch_reconnects(self) -> None:
        self.switch.close()
        self.book.advance(3)
        self.switch = self.book.switch(model=self.switch.model)
        self.book.advance(3)

    # -- what always holds -------------------------------------------------------------------------------

    @invariant()
    def each_controller_is_shown_its_private_switchs_flows(self) -> None:
        for name, private in self.private.items():
            shown = sorted((s.table, s.priority, s.cookie) for s in self.book.at(name).flow_stats())
            assert shown == sorted((e.table, e.priority, e.cookie) for e in private.table.entries)


TestSharedVlan = SharedVlan.TestCase
TestSharedVlan.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
