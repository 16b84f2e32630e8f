"""What may be written to a switch, and what a controller may be told, judged from the bytes alone.

Nothing of ``vmoc.policy`` or ``vmoc.openflow`` is used: messages are read by
the emulation's parsers, and rights come from the slices themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from fuzz.grammar import VLANS, mark_of, mark_of_vlan
from tests.emulation import wire as of
from tests.emulation.answers import split_buckets
from tests.emulation.frames import vlan_of
from tests.emulation.layout import Message
from tests.emulation.table import Entry
from vmoc.model import Attachment, Policy, Presentation, Segment, Slice

if TYPE_CHECKING:
    from fuzz.world import Controller

PROXY: Final = 0xFFFE
GRACE: Final = 3.0
"""Seconds in which what a slice had may still be on the switch after it was told to go."""
TO_SWITCH: Final = frozenset(
    "hello error echo_request echo_reply features_request get_config_request set_config packet_out flow_mod "
    "group_mod stats_request barrier_request queue_config_request set_async meter_mod".split()
)
TO_CONTROLLER: Final = frozenset(
    "hello error echo_request echo_reply features_reply get_config_reply packet_in flow_removed port_status "
    "stats_reply barrier_reply queue_config_reply role_reply get_async_reply".split()
)


class Breach(AssertionError):
    """Something went where it must not go."""


def check(holds: object, text: str, about: object = "") -> None:
    """Raise ``Breach`` unless it holds."""
    if not holds:
        raise Breach(f"{text}: {about}" if about != "" else text)


class Rights:
    """Who has which VLAN and ports on a switch, straight from the slices."""

    def __init__(self, slices: Iterable[Slice], policy: Policy) -> None:
        self.policy = policy
        self.slices = {one.id: one for one in slices}
        self.moving: dict[int, float] = {}
        """VLANs whose owner changed, and until when what the old one left may be there."""

    def succeed(self, slices: Iterable[Slice], now: float) -> Rights:
        """The rights after a change of slices."""
        after = Rights(slices, self.policy)
        after.moving = {vlan: until for vlan, until in self.moving.items() if until > now}
        for before in self.slices.values():
            changed = after.slices.get(before.id)
            if changed != before:
                for segment in (*before.segments, *(changed.segments if changed else ())):
                    after.moving[segment.vlan] = now + GRACE
        return after

    def moved_at(self, now: float) -> None:
        """Only now has the change reached every switch."""
        self.moving = {vlan: max(until, now + GRACE) for vlan, until in self.moving.items()}

    def grant(self, dpid: int, vlan: int) -> tuple[Slice, Segment, Attachment] | None:
        """The slice that has a VLAN on a switch."""
        for one in self.slices.values():
            for segment in one.segments:
                attachment = segment.attachment(dpid)
                if one.enabled and segment.vlan == vlan and attachment is not None:
                    return one, segment, attachment
        return None

    def is_granted(self, version: int, dpid: int, vlan: int, port: int) -> bool:
        """Whether a port is that slice's, by its wire number."""
        found = self.grant(dpid, vlan)
        if found is None:
            return False
        if found[2].ports is None:
            return 0 < port < of.PORTS[version]["max"]
        local = of.PORTS[version]["local"]
        return (0xFFFFFFFE if port == local else port) in found[2].ports


class SouthJudge:
    """Judges every message to one switch; one per switch, for all its connections."""

    def __init__(self, version: int, dpid: int, native: int, *, operator: bool, honest: bool) -> None:
        self.version = version
        self.honest = honest
        """Whether the switch tells the truth: else it is asked to delete whatever nonsense it says it has."""
        self.operator = operator
        """Whether applications of the operator's may send untagged frames."""
        self.dpid = dpid
        self.native = native
        self.tags: dict[int, int] = {}
        """Cookie tag to the one VLAN it was ever used for."""
        self.slots: dict[int, int] = {}
        """Group slot to the one VLAN whose flows and packets led there."""

    def message(self, rights: Rights, message: Message, negotiated: bool) -> None:
        """Judge one message to the switch."""
        if not negotiated and message.name in ("hello", "error"):
            return
        if message.type == 3:
            return  # under the version that was asked in
        check(message.version == self.version, "a message of another version to a switch", message)
        check(message.name in TO_SWITCH, "no message for a switch", message)
        judge = getattr(self, f"_{message.name}", None)
        if judge is not None:
            try:
                judge(rights, message)
            except (ValueError, struct.error, IndexError, KeyError) as problem:
                raise Breach(f"not readable ({problem!r}): {message.raw.hex()}") from problem

    def _flow_mod(self, rights: Rights, message: Message) -> None:
        if not self.honest and message.raw[57 if self.version == of.V10 else 25] == 4:
            return
        mod = of.parse_flow_mod(message)
        tag = mod.cookie >> 48
        changes = mod.command in ("add", "modify", "modify_strict")
        if self.operator and not self.native and mod.cookie == PROXY << 48 | 1 and mod.vlan == "none":
            self._untagged(of.action_lists(self.version, mod.actions))
            return
        check(mod.buffer_id == of.NO_BUFFER, "a flow-mod with a buffer of the switch", message)
        if self.native:
            check(not mod.match.get("vlan_vid", (0, 0))[0], "a VLAN on a native switch", mod)
            vlan = self.native
        elif not changes:
            if self.version == of.V13 and mod.cookie_mask and tag != PROXY and tag in self.tags:
                check(mod.vlan == self.tags[tag], "a delete outside its VLAN", mod)
            return
        else:
            check(isinstance(mod.vlan, int), "a flow without an exact VLAN", mod)
            vlan = int(mod.vlan)  # type: ignore[arg-type]
        if not changes:
            return
        if tag == PROXY and not mod.actions and mod.hard:
            return  # keeps what nobody owns from being sent up for a while
        check(rights.grant(self.dpid, vlan), "a flow in nobody's VLAN", mod)
        if tag != PROXY:
            check(self.tags.setdefault(tag, vlan) == vlan, f"tag {tag:#x} was of VLAN {self.tags[tag]}", mod)
            check(mod.command == "add" or self.version == of.V10 or mod.cookie_mask >> 48 == 0xFFFF,
                  "a modify without its tag", mod)  # fmt: skip
            port = mod.match.get("in_port")
            if port is not None and port[0] != of.PORTS[self.version]["controller"]:
                check(rights.is_granted(self.version, self.dpid, vlan, port[0]), "a flow on a foreign in_port", mod)
        self.flow_actions(rights, vlan, mod.table, mod.actions)

    def flow_actions(self, rights: Rights, vlan: int, table: int, data: bytes) -> None:
        """Judge the actions (1.0) or instructions (1.3) of a flow of ``vlan``."""
        if self.version == of.V10:
            self.actions(rights, vlan, data)
            return
        for kind, body in of.split_actions(data):
            check(kind in (1, 2, 3, 4, 5, 6), f"instruction {kind}", data.hex())
            if kind == 1:
                check(body[4] > table, "goes backwards", data.hex())
            elif kind in (3, 4):
                self.actions(rights, vlan, body[8:], in_set=kind == 3)

    def actions(
        self, rights: Rights, vlan: int, data: bytes, *, in_set: bool = False, frame: bytes | None = None
    ) -> None:
        """Judge an action list: outputs, queues, groups, and where the VLAN tag is at each of them.

        ``frame``: the one it is for, in a packet-out.
        """
        reserved, version = of.PORTS[self.version], self.version
        allowed = {reserved["in_port"], reserved["controller"]} | ({reserved["table"]} if frame is not None else set())
        found = rights.grant(self.dpid, vlan)
        check(found, f"actions in nobody's VLAN {vlan}", data.hex())
        assert found is not None
        tags = _Tags(vlan, version, bool(self.native), rights.policy, frame)
        listed = of.split_actions(data)
        if in_set:
            order = {18: 0, 17: 1, 25: 2, 22: 4, 0: 5}
            listed = sorted(listed, key=lambda item: order.get(item[0], 3))
        for kind, body in listed:
            if kind == 0 or (version == of.V10 and kind == 11):
                port = int.from_bytes(body[4:6] if version == of.V10 else body[4:8], "big")
                own = rights.is_granted(version, self.dpid, vlan, port)
                check(own or port in allowed, f"VLAN {vlan} to foreign port {port:#x}", data.hex())
                tags.seen(data)
                if kind == 11 and own:
                    queue = int.from_bytes(body[12:16], "big")
                    check(queue in found[2].queues.get(port, ()), f"foreign queue {queue}", data.hex())
            elif kind == 22 and version == of.V13:
                self.bind(int.from_bytes(body[4:8], "big"), vlan)
                tags.seen(data)
            else:
                tags.follow(kind, body)
        tags.seen(data)

    def bind(self, group: int, vlan: int) -> None:
        """A group is used from a VLAN: then its whole slot is that VLAN's."""
        check(group >> 20, "a group id without a slot", hex(group))
        owner = self.slots.setdefault(group >> 20, vlan)
        check(owner == vlan, f"group {group:#x} of VLAN {owner} is used from VLAN {vlan}")

    def _packet_out(self, rights: Rights, message: Message) -> None:
        out = of.parse_packet_out(message)
        vlan = self.native or vlan_of(out.data)
        check(out.buffer_id == of.NO_BUFFER, "a packet-out with a buffer of the switch", message)
        if self.operator and vlan is None and not self.native:
            self._untagged([out.actions])
            return
        check(vlan and rights.grant(self.dpid, vlan), f"a packet-out in nobody's VLAN {vlan}", message.raw.hex())
        assert vlan is not None
        check(bool(self.native) != (out.data[12:14] == b"\x81\x00"), "a tag where none is, or none", out.data.hex())
        reserved = of.PORTS[self.version]
        nowhere = ("none", "controller") if self.version == of.V10 else ("controller",)
        if out.in_port not in [reserved[name] for name in nowhere]:
            check(rights.is_granted(self.version, self.dpid, vlan, out.in_port), "from a foreign port", message)
        self.actions(rights, vlan, out.actions, frame=out.data)

    def _untagged(self, lists: list[bytes]) -> None:
        """The operator's own: nothing that could tag a frame."""
        for kind, body in (item for actions in lists for item in of.split_actions(actions)):
            if self.version == of.V10:
                check(kind not in (1, 2, 3), "an application tags", body.hex())
            else:
                check(kind not in (17, 18, 19, 20, 22, 26, 27), "an application tags", body.hex())
                check(kind != 25 or body[6] >> 1 not in (5, 6, 7), "an application tags", body.hex())

    def _group_mod(self, rights: Rights, message: Message) -> None:
        command, _, number = struct.unpack_from("!HBxI", message.raw, 8)
        check(number <= 0xFFFFFF00, "a group id for all", hex(number))
        vlan = self.slots.get(number >> 20)
        if command == 2 or vlan is None or rights.grant(self.dpid, vlan) is None:
            return
        for bucket in split_buckets(message.raw[16:]):
            self.actions(rights, vlan, bucket[16:], in_set=True)

    def _meter_mod(self, rights: Rights, message: Message) -> None:
        (number,) = struct.unpack_from("!I", message.raw, 12)
        check(0 < number <= 0xFFFF0000, "a meter id for all", hex(number))

    def _stats_request(self, rights: Rights, message: Message) -> None:
        known = of.STATS[self.version].values()
        kind, flags = struct.unpack_from("!HH", message.raw, 8)
        check(kind in known and kind != 0xFFFF, "a statistics request of no kind", message.raw.hex())
        check(not flags or (self.operator and self.version == of.V10), "flags of a request", message.raw.hex())
        check(self.version == of.V10 or kind != 12 or len(message.raw) == 16, "table features set", message.raw.hex())

    # -- what a well-behaved switch holds ----------------------------------------------------------

    def holdings(self, rights: Rights, entries: list[Entry], groups: dict[int, tuple[int, bytes]], now: float) -> None:
        """Judge all that is installed: each entry, and every group it leads to."""
        meters: dict[int, int] = {}
        for entry in entries:
            vlan = self.native or entry.vlan
            if self.operator and entry.cookie == PROXY << 48 | 1 and vlan == "none":
                continue
            check(isinstance(vlan, int), "an entry without an exact VLAN", entry)
            assert isinstance(vlan, int)
            if rights.moving.get(vlan, 0.0) > now or (not entry.actions and entry.hard):
                continue
            if rights.grant(self.dpid, vlan) is None:
                raise Breach(f"an entry in nobody's VLAN: {entry}")
            if entry.cookie >> 48 != PROXY:
                check(self.tags.get(entry.cookie >> 48, vlan) == vlan, "an entry under another VLAN's tag", entry)
            self.flow_actions(rights, vlan, entry.table, entry.actions)
            if self.version == of.V10:
                continue
            for kind, body in of.split_actions(entry.actions):
                if kind == 6:
                    meter = int.from_bytes(body[4:8], "big")
                    check(meters.setdefault(meter, vlan) == vlan, f"meter {meter} serves two VLANs", entry)
            self._lead(rights, vlan, [entry.actions], groups)

    def _lead(self, rights: Rights, vlan: int, bodies: list[bytes], groups: dict[int, tuple[int, bytes]]) -> None:
        reached: set[int] = set()
        todo = [number for data in bodies for number in _groups_in(of.action_lists(of.V13, data))]
        while todo:
            number = todo.pop()
            if number in reached or number not in groups:
                continue
            reached.add(number)
            self.bind(number, vlan)
            for bucket in split_buckets(groups[number][1]):
                self.actions(rights, vlan, bucket[16:], in_set=True)
                todo += _groups_in([bucket[16:]])


def _groups_in(lists: list[bytes]) -> list[int]:
    return [
        int.from_bytes(body[4:8], "big") for actions in lists for kind, body in of.split_actions(actions) if kind == 22
    ]


class _Tags:
    """A frame's VLAN tags through an action list, on switches that differ where real ones do.

    A pushed tag has VID 0 (Open vSwitch) or is a copy (the text); of two tags that a frame brings, both are seen or
    one (``vlan-limit``). In a packet-out the frame is known; a flow's may have anything below its tag.
    """

    def __init__(self, vlan: int, version: int, native: bool, policy: Policy, frame: bytes | None) -> None:
        self.vlan = vlan
        self.version = version
        self.native = native
        self.policy = policy
        tags, whole = ([vlan], False) if frame is None or native else _tags_of(frame)
        self.switches = [_Switch(tags, whole, copies, limit) for copies in (False, True) for limit in (1, 2)]

    def follow(self, kind: int, body: bytes) -> None:
        """One action other than an output."""
        if self.version == of.V10:
            if kind == 1:
                self._set(int.from_bytes(body[4:6], "big"))
            elif kind in (2, 3):
                check(not self.native, "a VLAN action on a native switch", body.hex())
                for switch in self.switches:
                    switch.pop() if kind == 3 else switch.set(None, adds=True)
            return
        if kind == 17:
            check(not self.native and self.policy.qinq, "pushes a tag", body.hex())
            check(body[4:6] == b"\x81\x00", "pushes another tag than 0x8100", body.hex())
            for switch in self.switches:
                switch.push()
        elif kind == 18:
            check(not self.native and self.policy.qinq, "pops the tag", body.hex())
            for switch in self.switches:
                switch.pop()
        elif kind in (19, 20):
            check(self.policy.mpls, "an MPLS action", body.hex())
        elif kind == 25:
            number = body[6] >> 1
            check(number not in (0, 1, 2, 5, 38), f"sets field {number}", body.hex())
            if number == 6:
                self._set(int.from_bytes(body[8:10], "big"), present=0x1000)
            elif number == 7:
                check(not self.native, "a VLAN action on a native switch", body.hex())
                for switch in self.switches:
                    switch.set(None, adds=False)
        else:
            check(kind in (11, 12, 15, 16, 21, 23, 24), f"action {kind}", body.hex())

    def _set(self, value: int, present: int = 0) -> None:
        check(not self.native, "sets a VLAN on a native switch")
        check(value & 0xF000 == present, f"sets VLAN {value:#x}")
        for switch in self.switches:
            switch.set(value & 0xFFF, adds=self.version == of.V10)

    def seen(self, data: bytes) -> None:
        """Where the frame can be seen its outermost tag must be the slice's."""
        for switch in self.switches:
            outer = self.vlan if self.native else switch.outer()
            check(switch.refuses or outer == self.vlan, f"visible outside VLAN {self.vlan}", data.hex())


def _tags_of(frame: bytes) -> tuple[list[int], bool]:
    """The VIDs of a frame's C-tags; whether nothing else that some switch takes for a tag is below."""
    at, found = 12, []
    while frame[at : at + 2] == b"\x81\x00" and len(frame) >= at + 4:
        found.append(int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF)
        at += 4
    return found, frame[at : at + 2] not in (b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00")


class _Switch:
    """One kind of switch and the frame in it: ``hidden`` tags are below those it tells apart."""

    def __init__(self, tags: list[int], whole: bool, copies: bool, limit: int) -> None:
        self.tags = tags[:limit]
        self.hidden = tags[limit:]
        self.whole = whole
        self.copies = copies
        self.refuses = False
        """It would answer with an error, and nothing happens."""

    def outer(self) -> int | None:
        """The VID it is seen with, None without a tag or when nobody knows."""
        return next(iter(self.tags + self.hidden), None)

    def push(self) -> None:
        """A tag in front."""
        self.tags.insert(0, self.tags[0] if self.copies and self.tags else 0)

    def pop(self) -> None:
        """The outermost it sees is gone."""
        check(self.tags or self.hidden or self.whole, "pops an unknown tag")
        del self.tags[:1]

    def set(self, vid: int | None, *, adds: bool) -> None:
        """A VID, or only a priority (None)."""
        if not self.tags:
            check(self.whole or self.hidden or vid is None, "sets the VLAN of a frame without a known tag")
            if self.whole or self.hidden:
                self.tags = [0] if adds else []
                self.refuses |= not adds
        if self.tags and vid is not None:
            self.tags[0] = vid


# -- controllers -----------------------------------------------------------------------------------


def to_controller(rights: Rights, end: Controller, message: Message, *, honest: bool) -> None:
    """Judge one message to a controller; ``honest``: no switch has made anything up, so that every leak is ours."""
    if not end.version and message.name in ("hello", "error"):
        return
    if message.type == 3:
        return  # under the version that was asked in
    check(
        message.version == end.version or message.name == "error" or not end.version,
        "a message of another version",
        message,
    )
    check(message.name in TO_CONTROLLER, "no message for a controller", message)
    slice_ = rights.slices.get(end.owner)
    if honest and end.owner != "default":
        for other in rights.slices:
            check(other == end.owner or mark_of(other) not in message.raw,
                  f"{end.owner} is told something of {other}", message.raw.hex())  # fmt: skip
        own = {segment.vlan for segment in slice_.segments} if slice_ else set()
        for vlan in VLANS:
            check(vlan in own or mark_of_vlan(vlan) not in message.raw,
                  f"{end.owner} gets a frame of VLAN {vlan}", message.raw.hex())  # fmt: skip
    try:
        _readable(rights, end, message, honest=honest)
    except (ValueError, struct.error, IndexError) as problem:
        raise Breach(f"a controller cannot read ({problem!r}): {message.raw.hex()}") from problem


def _readable(rights: Rights, end: Controller, message: Message, *, honest: bool) -> None:
    version, name, owner = message.version, message.name, rights.slices.get(end.owner)
    if name == "packet_in":
        seen = of.parse_packet_in(message)
        segment = owner.segments[0] if owner is not None else None
        known = end.features is not None and not end.native
        if segment is not None and segment.presentation is Presentation.TAGGED and known:
            cut = rights.policy.buffers != "none" and len(seen.data) < 18  # as short as it asked for
            check(cut or vlan_of(seen.data) == segment.vlan, f"{end.owner}: a frame of another VLAN", message.raw.hex())
        if version == of.V13 and end.hides_tag:
            check("vlan_vid" not in seen.match, "a tag where none should be seen", message.raw.hex())
    elif name == "flow_removed":
        of.parse_flow_removed(message)
    elif name == "port_status":
        check(len(message.raw) == 16 + of.PORT_SIZE[version], "a port-status of a wrong length", message)
    elif name == "features_reply":
        extra = (len(message.raw) - 32) % of.PORT_SIZE[version] if version == of.V10 else len(message.raw) - 32
        check(not extra, "features of a wrong length", message)
    elif name == "error":
        of.parse_error(message)
    elif name == "stats_reply":
        start = 12 if version == of.V10 else 16
        kind, body = struct.unpack_from("!H", message.raw, 8)[0], message.raw[start:]
        if kind == 1:
            for stat in of.parse_flow_stats(version, body):
                of.action_lists(version, stat.actions)
                if end.hides_tag and honest and "vlan_vid" in stat.match:
                    check(stat.match["vlan_vid"][0] & 0x1000 == 0, "the hidden VLAN in a match", stat)
        elif version == of.V13 and kind == 13:
            check(not len(body) % 64, "port descriptions of a wrong length", message)
