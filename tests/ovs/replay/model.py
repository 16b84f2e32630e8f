"""The same script on a mux in memory and an emulated switch that does what Open vSwitch does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import IntEnum

from tests.emulation import wire as of
from tests.emulation.actions import split_actions
from tests.emulation.answers import split_buckets
from tests.emulation.layout import Message
from tests.emulation.pipeline import Outcome, Pipeline
from tests.emulation.switch import EmulatedSwitch
from tests.emulation.table import Entry, FlowError, FlowTable, hit
from tests.ovs.replay.alike import State
from tests.ovs.replay.heard import Heard, digest
from tests.ovs.replay.script import PORTS, SLICES, VERA
from tests.vmoc.mux.ends import ControllerEnd
from tests.vmoc.mux.playbook import Playbook
from tests.vmoc.mux.tenants import piece
from vmoc.model import Limits, Policy, Presentation

MAX_FLOWS, MAX_GROUPS, MAX_METERS, MAX_TABLES = 12, 4, 2, 4
LIMITS = Limits(MAX_FLOWS, MAX_GROUPS, MAX_METERS, 0, 0, 0, 0, 0)
OVS_TABLES = 254
FENCE_XID = 0x02000000
METER, DEC_NW_TTL, SELECT, FAST_FAILOVER = 6, 24, 1, 3
OVERLAP = ((3, 1), (5, 3))
"""What the model finds out by itself."""
_JUDGED = ("flow_mod", "group_mod", "meter_mod", "packet_out", "stats_request", "queue_config_request")


class Doubt(IntEnum):
    """How well it is known what a packet does."""

    NONE = 0
    MAY_DO_LESS = 1
    """A meter or a TTL may drop it, a group has one of several buckets for it."""
    ANYTHING = 2
    """Several flows of one priority match it, and each will do (1.0.1 section 3.4, 1.3.5 section 5.3)."""


class _Table(FlowTable):
    doubt = Doubt.NONE

    def look_up(self, table: int, fields: dict[str, int]) -> Entry | None:
        best = super().look_up(table, fields)
        if best is not None:
            hits = [
                e for e in self.entries if e.table == table and e.priority == best.priority and hit(e.match, fields)
            ]
            if any(e.actions != best.actions for e in hits):
                self.doubt = Doubt.ANYTHING
        return best

    def may_do_less(self) -> None:
        self.doubt = max(self.doubt, Doubt.MAY_DO_LESS)


class _Pipeline(Pipeline):
    table: _Table

    def _instructions(
        self, in_port: int, frame: bytes, entry: Entry, outcome: Outcome, written: dict[int, bytes]
    ) -> tuple[bytes, int | None]:
        if any(kind == METER for kind, _ in split_actions(entry.actions)):
            self.table.may_do_less()
        return super()._instructions(in_port, frame, entry, outcome, written)

    def _edit(self, kind: int, body: bytes, frame: bytes) -> bytes:
        if kind == DEC_NW_TTL and self.version == of.V13:
            self.table.may_do_less()
        return super()._edit(kind, body, frame)


class LikeOvs(EmulatedSwitch):
    """Where Open vSwitch differs from the emulated switch of other tests.

    It takes outputs to ports that are not there. Which bucket of a select or
    fast-failover group a packet takes is its own choice (a hash, link states):
    here it takes all of them. Which of several flows of one priority it takes is, too.
    ``doubt`` says so. ``refusal`` is the error
    it gave to the message that is played, to be given here too.
    """

    def __init__(self, version: int) -> None:
        tables = 1 if version == of.V10 else OVS_TABLES
        super().__init__(("", 0), version=version, ports=PORTS, queues=(), n_tables=tables)
        self.table: _Table = _Table(version)  # type: ignore[assignment]
        self.pipeline = _Pipeline(version, self.table, self.physical_ports, self.buckets)
        self.refusal: tuple[int, int] | None = None
        self.refused: Counter[tuple[int, int]] = Counter()

    def buckets(self, group: int) -> list[bytes]:
        """All buckets, whatever the type."""
        kind, raw = self.groups.get(group, (0, b""))
        if kind in (SELECT, FAST_FAILOVER):
            self.table.may_do_less()
        return [body[16:] for body in split_buckets(raw)]

    def _check_actions(self, actions: bytes) -> None:
        for kind, body in split_actions(actions):
            if kind == 22 and self.version == of.V13 and int.from_bytes(body[4:8], "big") not in self.groups:
                raise FlowError(2, 9)

    def _handle(self, peer: object, msg: Message) -> None:
        if self.refusal is not None and self.refusal not in OVERLAP and msg.name in _JUDGED:
            self.refused[self.refusal] += 1
            self.error(msg, *self.refusal)
        else:
            super()._handle(peer, msg)  # type: ignore[arg-type]


class Model:
    """One mux, four controllers, one switch."""

    def __init__(self, version: int) -> None:
        self.version = version
        slices = [
            piece(name, vlan, ports, limits=LIMITS, presentation=Presentation.TRANSPARENT if name == "tina" else
                  Presentation.TAGGED)
            for name, (vlan, ports) in SLICES.items()
        ]  # fmt: skip
        policy = Policy(max_tables=MAX_TABLES, error_rate=0)
        self.book = Playbook((*slices, piece("vera", VERA, limits=LIMITS)), policy=policy)
        self.switch = LikeOvs(version)
        self.end = self.book.switch(model=self.switch)
        self.book.advance(1.5)
        self._xid = FENCE_XID
        self.book.at("vera").flow_mod("add", of.match(version), of.output(version, "flood"))
        self._past: dict[str, list[Message]] = {name: [] for name in SLICES}
        self.hear()

    def at(self, name: str) -> ControllerEnd:
        """The controller's connection."""
        return self.book.at(name)

    def say(self, name: str, messages: list[bytes], refusals: Mapping[int, list[tuple[int, int]]]) -> None:
        """The messages one by one, each refused by the switch if Open vSwitch refused it; then a barrier."""
        end = self.at(name)
        for raw in messages:
            errors = refusals.get(int.from_bytes(raw[4:8], "big"), [])
            self.switch.refusal = errors[0] if errors else None
            end.send(raw)
        self.switch.refusal = None
        self._xid += 1
        if end.open:
            end.send(of.message(self.version, "barrier_request", b"", self._xid))

    def hang_up(self, name: str, last: bytes = b"") -> None:
        """The connection ends, after some last bytes by VMOC's doing; there is a new one when this returns."""
        end = self.at(name)
        self._past[name] += end.take()
        if last:
            end.send(last)
            assert not end.open
        else:
            end.close()
        self.book.advance(5.0)
        self.at(name)

    def port(self, reason: str, number: int) -> None:
        """A port comes or goes."""
        self.end.port_status(reason, number)

    def inject(self, port: int, data: bytes) -> Doubt:
        """A frame arrives."""
        self.doubt()
        self.end.does(lambda switch: switch.inject(port, data))
        return self.doubt()

    def doubt(self) -> Doubt:
        """How well it is known what the packets since the last time did."""
        found, self.switch.table.doubt = self.switch.table.doubt, Doubt.NONE
        return found

    def sent(self) -> list[tuple[int, bytes]]:
        """What has left the switch since the last time."""
        found = [(port, data) for port, data in self.switch.transmitted if port in self.switch.ports]
        self.switch.transmitted.clear()
        return found

    def hear(self) -> dict[str, Heard]:
        """What the controllers were told since the last time."""
        found = {}
        for name, past in self._past.items():
            told = past + self.at(name).take()
            past.clear()
            found[name] = digest(message for message in told if message.xid <= FENCE_XID)
        return found

    def state(self) -> State:
        """What the switch holds."""
        return State(self.version, self.switch.flows(), self.switch.groups, self.switch.meters)
