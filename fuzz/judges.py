"""What may be written to a switch, and what a controller may be told, judged from the bytes alone.

Nothing of ``vmoc.policy`` or ``vmoc.openflow`` is used: messages are read by
the emulation's parsers, and rights come from the slices themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from fuzz.breach import Breach, check
from fuzz.grammar import VLANS, mark_of, mark_of_vlan
from fuzz.tagging import Tags
from tests.emulation import wire as of
from tests.emulation.answers import split_buckets
from tests.emulation.frames import vlan_of
from tests.emulation.layout import Message
from tests.emulation.match import Match
from tests.emulation.table import Entry
from vmoc.model import Attachment, Policy, Presentation, Segment, Slice

if TYPE_CHECKING:
    from fuzz.ends import Controller

Place = tuple[int, int]
"""VLAN and, where slices share one, the slot of one of them."""
PROXY: Final = 0xFFFE
SLOT: Final = 0xFFF << 52
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


class Rights:
    """Who has which VLAN and ports on a switch, straight from the slices."""

    def __init__(self, slices: Iterable[Slice], policy: Policy) -> None:
        self.policy = policy
        self.slices = {one.id: one for one in slices}
        self.moving: dict[int, float] = {}
        """VLANs whose owner changed, and until when what the old one left may be there."""
        self.past = False
        """Whether others hold by now: nothing is concluded from these about what is new."""

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

    def grants(self, dpid: int, vlan: int) -> dict[str, tuple[Slice, Segment, Attachment]]:
        """The slices that have a VLAN on a switch: one, or several with different ports."""
        return {
            one.id: (one, segment, attachment)
            for one in self.slices.values()
            for segment in one.segments
            if one.enabled and segment.vlan == vlan and (attachment := segment.attachment(dpid)) is not None
        }

    def grant(self, dpid: int, vlan: int, owner: str = "") -> tuple[Slice, Segment, Attachment] | None:
        """The slice that has a VLAN on a switch, or one of them: ``owner``."""
        found = self.grants(dpid, vlan)
        return found.get(owner) if owner else next(iter(found.values()), None)

    def owners(self, version: int, dpid: int, vlan: int, port: int) -> list[str]:
        """The slices that have a VLAN at a port."""
        return [owner for owner in self.grants(dpid, vlan) if self.is_granted(version, dpid, vlan, port, owner)]

    def is_granted(self, version: int, dpid: int, vlan: int, port: int, owner: str = "") -> bool:
        """Whether a port is that slice's, by its wire number."""
        found = self.grant(dpid, vlan, owner)
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
        self.tags: dict[int, Place] = {}
        """Cookie tag to the one place it was ever used for."""
        self.slots: dict[int, tuple[int, str]] = {}
        """Group slot to the one VLAN (and slice) whose flows and packets led there."""
        self.owners: dict[Place, str] = {}
        """Where slices share a VLAN: whose packets the first table sends to a place."""

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
                check(mod.vlan == self.tags[tag][0], "a delete outside its VLAN", mod)
            return
        else:
            check(isinstance(mod.vlan, int), "a flow without an exact VLAN", mod)
            vlan = int(mod.vlan)  # type: ignore[arg-type]
        if not changes:
            return
        if tag == PROXY and not mod.actions and mod.hard:
            return  # keeps what nobody owns from being sent up for a while
        check(rights.grant(self.dpid, vlan), "a flow in nobody's VLAN", mod)
        if tag == PROXY and mod.table == 0 and mod.actions and self._admits(rights):
            self._admission(rights, vlan, mod.match, mod.actions)
            return
        place = vlan, slot_of(mod.match) if self._shares(rights) else 0
        if tag != PROXY:
            check(self.tags.setdefault(tag, place) == place, f"tag {tag:#x} was of {self.tags[tag]}", mod)
            check(mod.command == "add" or self.version == of.V10 or mod.cookie_mask >> 48 == 0xFFFF,
                  "a modify without its tag", mod)  # fmt: skip
            self._in_its_tables(rights, mod.table, place, mod)

        def judge(owner: str) -> None:
            port = mod.match.get("in_port")
            if tag != PROXY and port is not None and port[0] != of.PORTS[self.version]["controller"]:
                granted = rights.is_granted(self.version, self.dpid, vlan, port[0], owner)
                check(granted, "a flow on a foreign in_port", mod)
            self.flow_actions(rights, vlan, mod.table, mod.actions, owner)

        _one_of(self._at(rights, place), judge)

    # -- slices behind an admission table ----------------------------------------------------------

    def _admits(self, rights: Rights) -> bool:
        """Whether a table of its own says whose packets go where: it can, if it tells the truth of itself."""
        return self.honest and self.version == of.V13 and rights.policy.pipeline == "admission"

    def _shares(self, rights: Rights) -> bool:
        return self._admits(rights) and rights.policy.vlan_port_sharing

    def _admission(self, rights: Rights, vlan: int, match: Match, actions: bytes) -> None:
        """An entry of the first table: it leads packets of a port to the slice that has the VLAN there."""
        port = match.get("in_port", (0, 0))[0]
        written = [struct.unpack("!QQ", body[8:24]) for kind, body in of.split_actions(actions) if kind == 2]
        check({kind for kind, _ in of.split_actions(actions)} <= {1, 2}, "admission does more", actions.hex())
        if not self._shares(rights):
            controller = of.PORTS[self.version]["controller"]
            granted = port == controller or rights.is_granted(self.version, self.dpid, vlan, port)
            check(granted, f"port {port} is admitted", match)
            return
        owners = rights.owners(self.version, self.dpid, vlan, port)
        check(owners, f"port {port} is admitted to a shared VLAN", match)
        check(len(written) == 1 and written[0][1] == SLOT, "no slot is written", actions.hex())
        place = vlan, written[0][0] >> 52
        if not rights.past:
            self.owners.setdefault(place, owners[0])
        owner = self.owners.get(place, owners[0])
        check(owner in owners, f"{place} was {owner}'s", match)

    def _in_its_tables(self, rights: Rights, table: int, place: Place, about: object) -> None:
        if self._admits(rights):
            check(table, "a flow in the admission table", about)
        if self._shares(rights):
            check(place[1], "a flow without a slot", about)

    def _at(self, rights: Rights, place: Place) -> list[str]:
        """Whose a place is, or may be."""
        known = self.owners.get(place)
        return [known] if known is not None else list(rights.grants(self.dpid, place[0]))

    def flow_actions(self, rights: Rights, vlan: int, table: int, data: bytes, owner: str) -> None:
        """Judge the actions (1.0) or instructions (1.3) of a flow of ``vlan``."""
        if self.version == of.V10:
            self.actions(rights, vlan, data, owner)
            return
        for kind, body in of.split_actions(data):
            check(kind in (1, 2, 3, 4, 5, 6), f"instruction {kind}", data.hex())
            if kind == 1:
                check(body[4] > table, "goes backwards", data.hex())
            elif kind == 2 and self._shares(rights):
                check(not int.from_bytes(body[16:24], "big") & SLOT, "writes a slot", data.hex())
            elif kind in (3, 4):
                self.actions(rights, vlan, body[8:], owner, in_set=kind == 3)

    def actions(
        self, rights: Rights, vlan: int, data: bytes, owner: str, *, in_set: bool = False, frame: bytes | None = None
    ) -> None:
        """Judge an action list: outputs, queues, groups, and where the VLAN tag is at each of them.

        ``owner``: whose it is; ``frame``: the one it is for, in a packet-out.
        """
        reserved, version = of.PORTS[self.version], self.version
        allowed = {reserved["in_port"], reserved["controller"]} | ({reserved["table"]} if frame is not None else set())
        found = rights.grant(self.dpid, vlan, owner)
        check(found, f"actions in nobody's VLAN {vlan}", data.hex())
        assert found is not None
        tags = Tags(vlan, version, bool(self.native), rights.policy, frame)
        listed = of.split_actions(data)
        if in_set:
            order = {18: 0, 17: 1, 25: 2, 22: 4, 0: 5}
            listed = sorted(listed, key=lambda item: order.get(item[0], 3))
        for kind, body in listed:
            if kind == 0 or (version == of.V10 and kind == 11):
                port = int.from_bytes(body[4:6] if version == of.V10 else body[4:8], "big")
                own = rights.is_granted(version, self.dpid, vlan, port, owner)
                check(own or port in allowed, f"VLAN {vlan} to foreign port {port:#x}", data.hex())
                tags.seen(data)
                if kind == 11 and own:
                    queue = int.from_bytes(body[12:16], "big")
                    check(queue in found[2].queues.get(port, ()), f"foreign queue {queue}", data.hex())
            elif kind == 22 and version == of.V13:
                self.bind(rights, int.from_bytes(body[4:8], "big"), vlan, owner, anew=frame is None)
                tags.seen(data)
            else:
                tags.follow(kind, body)
        tags.seen(data)

    def bind(self, rights: Rights, group: int, vlan: int, owner: str, *, anew: bool = True) -> None:
        """A group is used from a VLAN: then its whole slot is that VLAN's, and where VLANs are shared the slice's.

        ``anew``: whether it may be the first use; where slices share a VLAN, whose a packet-out is may not be clear.
        """
        check(group >> 20, "a group id without a slot", hex(group))
        user = vlan, owner if self._shares(rights) else ""
        if not user[1] or (anew and not rights.past):
            self.slots.setdefault(group >> 20, user)
        known = self.slots.get(group >> 20, user)
        check(known == user, f"group {group:#x} of {known} is used from {user}")

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
        owners = list(rights.grants(self.dpid, vlan))
        if out.in_port not in [reserved[name] for name in nowhere]:
            owners = rights.owners(self.version, self.dpid, vlan, out.in_port)
            check(owners, "from a foreign port", message)
        _one_of(owners, lambda owner: self.actions(rights, vlan, out.actions, owner, frame=out.data))

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
        vlan, owner = self.slots.get(number >> 20, (0, ""))
        found = rights.grant(self.dpid, vlan, owner)
        if command == 2 or found is None:
            return
        for bucket in split_buckets(message.raw[16:]):
            self.actions(rights, vlan, bucket[16:], found[0].id, in_set=True)

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
            if entry.cookie >> 48 == PROXY and entry.table == 0 and entry.actions and self._admits(rights):
                self._admission(rights, vlan, entry.match, entry.actions)
                continue
            place = vlan, slot_of(entry.match) if self._shares(rights) else 0
            if entry.cookie >> 48 != PROXY:
                check(self.tags.get(entry.cookie >> 48, place) == place, "an entry under another place's tag", entry)
                self._in_its_tables(rights, entry.table, place, entry)
            owners = self._at(rights, place)
            _one_of(owners, partial(self._entry, rights, vlan, entry))
            if self.version == of.V10:
                continue
            for kind, body in of.split_actions(entry.actions):
                if kind == 6:
                    meter = int.from_bytes(body[4:8], "big")
                    check(meters.setdefault(meter, vlan) == vlan, f"meter {meter} serves two VLANs", entry)
            _one_of(owners, partial(self._lead, rights, vlan, [entry.actions], groups))

    def _entry(self, rights: Rights, vlan: int, entry: Entry, owner: str) -> None:
        self.flow_actions(rights, vlan, entry.table, entry.actions, owner)

    def _lead(
        self, rights: Rights, vlan: int, bodies: list[bytes], groups: dict[int, tuple[int, bytes]], owner: str
    ) -> None:
        reached: set[int] = set()
        todo = [number for data in bodies for number in _groups_in(of.action_lists(of.V13, data))]
        while todo:
            number = todo.pop()
            if number in reached or number not in groups:
                continue
            reached.add(number)
            self.bind(rights, number, vlan, owner)
            for bucket in split_buckets(groups[number][1]):
                self.actions(rights, vlan, bucket[16:], owner, in_set=True)
                todo += _groups_in([bucket[16:]])


def slot_of(match: Match) -> int:
    """The slot a flow of a shared VLAN is for; 0: none."""
    value, mask = match.get("metadata", (0, 0))
    return value >> 52 if mask & SLOT == SLOT else 0


def _one_of(owners: Iterable[str], judge: Callable[[str], None]) -> None:
    """It must be right for one of those whose it may be."""
    wrong = Breach("nobody's")
    for owner in owners:
        try:
            judge(owner)
        except Breach as breach:
            wrong = breach
        else:
            return
    raise wrong


def _groups_in(lists: list[bytes]) -> list[int]:
    return [
        int.from_bytes(body[4:8], "big") for actions in lists for kind, body in of.split_actions(actions) if kind == 22
    ]


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
        if honest and known and segment is not None and rights.policy.vlan_port_sharing and seen.in_port < 0xFF00:
            granted = rights.is_granted(version, end.dpid & 0xFFFFFFFFFFFF, segment.vlan, seen.in_port, end.owner)
            check(granted, f"{end.owner}: a packet of somebody else's port", message.raw.hex())
            check(not seen.match.get("metadata", (0, 0))[0] & SLOT, f"{end.owner} sees a slot", message.raw.hex())
        if version == of.V13 and end.hides_tag(rights):
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
                if end.hides_tag(rights) and honest and "vlan_vid" in stat.match:
                    check(stat.match["vlan_vid"][0] & 0x1000 == 0, "the hidden VLAN in a match", stat)
        elif version == of.V13 and kind == 13:
            check(not len(body) % 64, "port descriptions of a wrong length", message)
