"""One mux with emulated switches and controllers around it, which play the operations of an episode.

Operations are plain lists, so that an episode is a JSON file; whom they are
about is a number modulo those that are there, so that any sub-list of an
episode is one too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from fuzz import judges
from fuzz.ends import NATIVE, Controller, SwitchConnection
from fuzz.grammar import mark_of, mark_of_vlan
from fuzz.watch import limit, timed, weight
from tests.emulation import E
from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.switch import EmulatedSwitch
from tests.vmoc.mux.ends import ControllerEnd, End, Killed, SwitchEnd
from tests.vmoc.mux.playbook import Dialling, Playbook
from tests.vmoc.mux.tenants import endpoint, snapshot_of
from vmoc import errors
from vmoc.events import Kind
from vmoc.model import Attachment, DpidScheme, FailMode, Limits, Policy, Presentation, Segment, Slice, Timers
from vmoc.mux.effects import Effect, OperatorInput

Operation = list[Any]
CHUNK: Final = 64 * 1024
"""The most that is handed over at once."""
BACKLOG: Final = 256 * 1024
HEAVIEST: Final = 24 << 20
"""Bytes a mux may hold on to in a world this small."""
VICTIM: Final = Slice(
    "vera", (Segment(999, (endpoint("vera"),), attachments=(Attachment(0xAA, frozenset((1, 2))),)),), Limits(10, 4, 2)
)
DPIDS: Final = (0xAA, 0xBB, 0xCC)


class Slow(AssertionError):
    """One call took too long; ``at`` says in which operation."""

    def __init__(self, text: str, at: int, seconds: float) -> None:
        super().__init__(text)
        self.at = at
        self.seconds = seconds


def make_slice(spec: dict[str, Any]) -> Slice:
    """A slice of one segment, from its description in an episode."""
    dpids = spec.get("dpids")
    ports = spec.get("ports")
    attachments = None
    if dpids is not None:
        queues = {2: frozenset((7,))} if ports is None or 2 in ports else {}
        attachments = tuple(Attachment(each, None if ports is None else frozenset(ports), queues) for each in dpids)
    hosts = [spec["name"]] if not spec.get("default") else []
    segment = Segment(
        spec["vlan"],
        tuple(replace(endpoint(host), port=6653 + n) for host in hosts for n in range(spec.get("controllers", 1))),
        Presentation(spec.get("presentation", "tagged")),
        DpidScheme(spec.get("scheme", "vlan")),
        attachments,
        FailMode(spec.get("fail_mode", "secure")),
    )
    limits = Limits(*spec.get("limits", (10, 4, 2, 0, 0, 0, 0, 0)))
    return Slice(spec["name"], (segment,), limits, enabled=spec.get("enabled", True))


class World(Playbook):
    """A playbook that judges what it carries. ``setting`` is the head of an episode."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.setting = setting
        self.hostile: bool = setting["hostile"]
        policy = Policy(**setting["policy"])
        slices = tuple(make_slice(spec) for spec in setting["slices"])
        slices += () if self.hostile else (VICTIM,)
        self.rights = judges.Rights(slices, policy)
        self.former: list[judges.Rights] = []
        """What held before changes of slices that have not reached every switch."""
        self.judges: dict[tuple[int, int, int], judges.SouthJudge] = {}
        self.models: dict[int, EmulatedSwitch] = {}
        self.overheard: list[Message] = []
        self.calls = 0
        self.slowest = 0.0
        self.step = -1
        self.limit = limit()
        self.installed: dict[int, list[Any]] = {}
        super().__init__(
            slices,
            policy=policy,
            timers=Timers(audit=setting.get("audit", 60.0)),
            default=endpoint("default"),
            tap=setting.get("tap", False),
            sharing=policy.vlan_port_sharing,
            journal=setting.get("journal", False),
            seed=setting["seed"],
        )

    # -- what every call is watched for --------------------------------------------------------------

    def judge(self, version: int, dpid: int, native: int) -> judges.SouthJudge:
        """The judge of one switch, for all its connections."""
        new = judges.SouthJudge(version, dpid, native, operator=self.tap, honest=not self.hostile)
        return self.judges.setdefault((version, dpid, native), new)

    def call(self, name: str, *arguments: Any) -> Any:
        """One call into the mux, timed."""
        found, seconds = timed(lambda: getattr(self.mux, name)(*arguments))
        self.calls += 1
        self.slowest = max(self.slowest, seconds)
        if seconds > self.limit:
            size = max((len(a) for a in arguments if isinstance(a, bytes)), default=0)
            raise Slow(f"{name} of {size} bytes took {seconds * 1000:.0f} ms of CPU", self.step, seconds)
        return found

    def deliver(self, end: End, data: bytes) -> None:
        self.call("south_data" if isinstance(end, SwitchEnd) else "north_data", end.cid, data, self.now)
        self.carry()

    def carry_out(self, end: End) -> bool:
        """Hand over what an end has to say, as far as it is read from."""
        moved = False
        while end._outbox and end.open and not end.paused:
            data = b"".join(end._outbox)
            end._outbox = [data[CHUNK:]] if len(data) > CHUNK else []
            self.deliver(end, data[:CHUNK])
            moved = True
        if not end.open:
            end._outbox = []
        return moved

    def carry(self) -> None:
        super().carry()
        self.effects.clear()
        self.attempts.clear()
        for event in self.events:
            judges.check(event.reason != errors.CODEC_BUG.code, "a mistake was caught", event)
            if event.kind is Kind.MALFORMED and event.message:
                judges.check("Error" not in event.message, "a mistake was caught", event)
        self.events.clear()

    def _perform(self, effect: Effect) -> None:
        super()._perform(effect)
        for one in self.operator:
            if isinstance(one, OperatorInput) and not self.hostile and one.message[1] == 10:
                self.judged(partial(_to_operator, told=one))
        self.operator.clear()

    # -- players -----------------------------------------------------------------------------------

    def answer(self, dialling: Dialling, how: bool = True) -> ControllerEnd | None:
        if dialling not in self.dials:
            return None
        self.dials.remove(dialling)
        end = None
        if how:
            self._cid += 1
            end = Controller(self, self._cid, dialling.link, dialling.endpoint)
            self.ends[end.cid] = end
            self.call("dialled", dialling.link, end.cid, self.now)
        else:
            self.call("dial_failed", dialling.link, "connection refused", self.now)
        self.carry()
        return end

    def dial_in(self, native: int = 0, model: EmulatedSwitch | None = None, **knobs: Any) -> SwitchEnd:
        assert model is not None
        self._cid += 1
        end = SwitchConnection(self, self._cid, model, native)
        self.ends[end.cid] = end
        self.switches.append(end)
        self.call("south_opened", end.cid, f"198.51.100.{end.cid}:4", native, self.now)
        self.carry()
        return end

    def _some_switch(self, number: int) -> SwitchConnection | None:
        found = [end for end in self.switches if isinstance(end, SwitchConnection)]
        return found[number % len(found)] if found else None

    def _some_controller(self, owner: str, number: int) -> Controller | None:
        found = [end for end in self.ends.values() if isinstance(end, Controller) and end.owner == owner]
        return found[number % len(found)] if found else None

    # -- operations --------------------------------------------------------------------------------

    def play(self, operation: Operation) -> None:
        """Do one operation and let it settle."""
        name, *arguments = operation
        try:
            getattr(self, f"do_{name}")(*arguments)
            self.settle()
        except Killed:
            self._come_back()

    def settle(self) -> None:
        self.carry()
        for _ in range(20_000):
            if self.accept is not None and self.dials:
                self.answer(self.dials[0], self.accept)
            elif not any(end.flush() for end in list(self.ends.values())):
                return
        raise judges.Breach("never comes to rest")

    def do_connect(self, which: int, version: int, garble: int, garbles: int) -> None:
        """A switch connects, one that was here before with its flows; a second time while it is there, too."""
        dpid = DPIDS[which % len(DPIDS)]
        if not self.hostile and any(end.model.dpid == dpid for end in self.switches):
            return
        model = self.models.get(dpid)
        if model is None:
            model = self.models[dpid] = EmulatedSwitch(("", 0), dpid, version)
        end = self.dial_in(NATIVE.get(dpid, 0), model)
        assert isinstance(end, SwitchConnection)
        end.garble, end.garbles = Random(garble), garbles
        end.send(of.hello(end.version, 1, model.versions))
        if not self.hostile:
            self.do_advance(1.5)
            self._install(end)

    def _install(self, end: SwitchConnection) -> None:
        """The bystander's flows, once; from now on nobody else's doing may change them."""
        dpid = end.model.dpid
        if dpid in self.installed or dpid != 0xAA:
            return
        controller = self._some_controller("vera", 0)
        if controller is None or controller.features is None:
            return
        for port in (1, 2):
            controller.add(3 - port, in_port=port, eth_src=b"\x02\xfe" + mark_of("vera"), cookie=port, priority=50)
        controller.add("controller", priority=1)
        self.installed[dpid] = self._bystander(end.model)
        judges.check(len(self.installed[dpid]) == 3, "the bystander could not install its flows", end.model.flows())

    def _bystander(self, model: EmulatedSwitch) -> list[Any]:
        return [
            (e.table, e.match, e.priority, e.cookie, e.actions)
            for e in model.flows(999)
            if e.cookie >> 48 != judges.PROXY
        ]

    def do_garble(self, which: int, seed: int, count: int) -> None:
        """The next answers of a switch are damaged."""
        end = self._some_switch(which)
        if end is not None:
            end.garble, end.garbles = Random(seed), count

    def do_mute(self, which: int, answering: bool) -> None:
        """A switch stops answering, or begins again."""
        end = self._some_switch(which)
        if end is not None:
            end.answering = answering

    def do_south(self, which: int, data: str, back: int, repeat: int) -> None:
        """A switch sends bytes; ``back`` >= 0 puts the xid of a late request in."""
        end = self._some_switch(which)
        if end is not None:
            raw = bytes.fromhex(data)
            self._send(end, (raw if back < 0 else end.answering_to(raw, back)) * repeat, 0)

    def do_north(self, owner: str, which: int, data: str, repeat: int, cut: int) -> None:
        """A controller sends bytes, ``cut`` at a time (0: all at once)."""
        end = self._some_controller(owner, which)
        if end is not None:
            self._send(end, bytes.fromhex(data) * repeat, cut)

    def _send(self, end: End, data: bytes, cut: int) -> None:
        if not cut or end.paused:
            if sum(map(len, end._outbox)) + len(data) <= BACKLOG:
                end._outbox.append(data)
            return
        for start in range(0, min(len(data), 4096), cut):
            if end.open and not end.paused:
                self.deliver(end, data[start : start + cut])

    def do_frame(self, which: int, port: int, vlan: int, data: str) -> None:
        """A frame arrives at a switch; on a native one without a tag of ours."""
        end = self._some_switch(which)
        if end is None or port not in end.model.ports:
            return
        raw = bytes.fromhex(data)
        if end.native:
            raw = E(None, src=b"\x02\xfe" + mark_of_vlan(end.native), payload=mark_of_vlan(end.native))
        end.does(lambda model: model.inject(port, raw))

    def do_port(self, which: int, reason: str, number: int, config: int, state: int) -> None:
        """A port comes, goes or changes."""
        end = self._some_switch(which)
        if end is not None and (reason != "delete" or number in end.model.ports):
            end.port_status(reason, number, config=config, state=state)

    def do_expire(self, which: int, index: int) -> None:
        """A flow times out (never one of the bystander's)."""
        end = self._some_switch(which)
        if end is not None:
            entries = [e for e in end.model.flows() if e.vlan != 999]
            if entries:
                end.does(lambda model: model.expire(entries[index % len(entries)]))

    def do_hang_up(self, side: str, owner: str, which: int) -> None:
        """A connection breaks."""
        end: SwitchEnd | ControllerEnd | None
        end = self._some_switch(which) if side == "south" else self._some_controller(owner, which)
        if end is not None:
            end.close()

    def do_congest(self, side: str, owner: str, which: int, on: bool) -> None:
        """A peer stops reading, or reads again."""
        end: End | None = self._some_switch(which) if side == "south" else self._some_controller(owner, which)
        if end is not None:
            self.call("congested" if on else "relieved", end.cid, self.now)

    def do_dial(self, accept: bool | None) -> None:
        """How dials end from now on: well, not at all (None), or refused."""
        self.accept = accept

    def do_greet(self, greet: bool) -> None:
        """Whether controllers say HELLO by themselves."""
        self.greet = greet

    def do_advance(self, seconds: float) -> None:
        """Time passes; the mux is woken when it asked to be."""
        until = self.now + seconds
        for _ in range(20_000):
            due = self.mux.next_deadline()
            if due is None or due > until:
                break
            judges.check(due >= self.now - 1e6, "a deadline of long ago")
            self.now = max(self.now, due)
            self.call("wake", self.now)
            self.settle()
        else:
            raise judges.Breach("time stands still")
        self.now = until

    def do_jump(self, seconds: float) -> None:
        """The machine slept: one call, late."""
        self.now += seconds
        self.call("wake", self.now)

    def do_adopt(self, specs: list[dict[str, Any]]) -> None:
        """The slices are these from now on (and the bystander's)."""
        self.slices = tuple(make_slice(spec) for spec in specs) + (() if self.hostile else (VICTIM,))
        self.former.append(self.rights)
        self.rights.past = True
        self.rights = self.rights.succeed(self.slices, self.now)
        self.call("adopt", snapshot_of(self.slices, self.sharing), self.now)

    def judged(self, judge: Callable[[judges.Rights], None]) -> None:
        """Whether it is right as things are, or as they were where a change of slices is on its way."""
        self._follow()
        for rights in (*self.former, self.rights):
            try:
                judge(rights)
                return
            except judges.Breach:
                if rights is self.rights:
                    raise

    def _follow(self) -> None:
        if self.former and not self.mux.behind:
            self.former.clear()
            self.rights.moved_at(self.now)

    def do_restart(self, dies: str) -> None:
        """VMOC is killed and started again with its journal: now, or with the next records (``Playbook.dies``)."""
        if self.journal and dies:
            self.dies = dies
        elif self.journal:
            self._come_back()

    def _come_back(self) -> None:
        connected = [(end.model.dpid, end.version) for end in self.switches]
        self.former.clear()
        self.judges.clear()  # places and tags may be given out anew
        self.restart()
        for dpid, version in connected:
            self.do_connect(DPIDS.index(dpid), version, 0, 0)
        self.settle()

    def do_operator(self, which: int, data: str) -> None:
        """An os-ken application sends a message."""
        end = self._some_switch(which)
        if end is not None:
            key = (end.model.dpid, end.native)
            self.call("operator_send", key, bytes.fromhex(data), self.now)

    def do_recover(self) -> None:
        """Everybody is well again: whoever waits must get on."""
        self.accept, self.greet = True, True
        for end in list(self.ends.values()):
            if isinstance(end, SwitchConnection):
                end.answering, end.garbles = True, 0
            if end.open:
                self.call("relieved", end.cid, self.now)
                self.settle()
        if self.hostile:  # barriers that were swallowed are lost, and their connection with them
            return
        self.do_advance(5.0)
        before = self._stuck()
        self.do_advance(30.0)
        for cid, waiting in self._stuck().items():
            judges.check(before.get(cid) != waiting, f"a controller with {waiting} messages left is stuck", cid)

    def _stuck(self) -> dict[int, int]:
        """How much of what was read waits, by connection that is not read from."""
        sessions = self.mux._north
        return {cid: len(one._waiting) for cid, one in sessions.items() if cid in self.ends and self.ends[cid].paused}

    def do_drain(self) -> None:
        """Shut down."""
        self.call("begin_drain", self.now)
        self.carry()
        judges.check(self.mux.drained, "not drained")

    # -- between operations ------------------------------------------------------------------------

    def inspect(self) -> None:
        """What must be true whenever nothing moves."""
        self._follow()
        if not self.hostile and not self.former:
            for end in self.switches:
                if isinstance(end, SwitchConnection) and end.answering and not end.garbles:
                    end.judge.holdings(self.rights, end.model.flows(), end.model.groups, self.now)
                    dpid = end.model.dpid
                    if dpid in self.installed:
                        now = self._bystander(end.model)
                        judges.check(now == self.installed[dpid], "the bystander's flows have changed", now)
        for message in self.overheard:
            judges.check(message.name not in ("error", "stats_reply", "role_reply", "queue_config_reply"),
                         "the bystander was told what it did not ask for", message)  # fmt: skip
        self.overheard.clear()

    def weigh(self) -> int:
        """Bytes the mux holds on to; too many are a finding."""
        heavy = weight(self.mux)
        judges.check(heavy < HEAVIEST, f"the mux holds {heavy >> 20} MiB")
        json.dumps(self.mux.describe(), default=str)
        return heavy


def _to_operator(rights: judges.Rights, told: OperatorInput) -> None:
    for slice_ in rights.slices.values():
        marked = [mark_of(slice_.id)] + [mark_of_vlan(s.vlan) for s in slice_.segments]
        owned = rights.grant(told.key[0], slice_.segments[0].vlan) is not None
        judges.check(not owned or not any(mark in told.message for mark in marked),
                     f"the operator gets a packet of {slice_.id}", told.message.hex())  # fmt: skip
