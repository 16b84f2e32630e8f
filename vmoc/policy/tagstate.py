"""Tags under ``qinq: on``: an interpreter that follows a frame's VLAN tags through an action list (vetting Q).

The state is the stack of VIDs from the outside; the rest below is unknown,
except in a packet-out, which brings its frame. A slice may push and pop as it
likes as long as its own VLAN is outermost wherever the frame can be seen: at
each output, in every later table, at the end of the list. Only for
``presentation: tagged``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm

UNKNOWN: Final = -1
"""A tag a switch pushed and nobody has set yet: VID 0 on Open vSwitch, a copy by the specification."""


class Tags(NamedTuple):
    """The VIDs of a frame's tags from the outside; ``whole``: there are no others below."""

    vids: tuple[int, ...]
    whole: bool = False


_C_TAG: Final = b"\x81\x00"
_OTHER_TAGS: Final = (b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00")
_DEEPEST: Final = 2
"""Tags a switch with ``vlan-limit`` 2 tells apart; what is below is not counted on."""


def tags_of(frame: bytes) -> Tags:
    """The tags of a frame as far as they are C-tags; others would not become one by setting their VID."""
    vids: list[int] = []
    position = 12
    while len(vids) < _DEEPEST and frame[position : position + 2] == _C_TAG and position + 4 <= len(frame):
        vids.append((frame[position + 2] & 0xF) << 8 | frame[position + 3])
        position += 4
    below = frame[position : position + 2]
    return Tags(tuple(vids), len(below) == 2 and below != _C_TAG and below not in _OTHER_TAGS)


class TagStack:
    """What is known of a frame's tags, from the outside."""

    __slots__ = ("_below", "_known", "_own", "_whole")

    def __init__(self, own: int, tags: Tags | None = None) -> None:
        self._own = own
        self._known = [own] if tags is None else list(tags.vids)
        self._whole = tags is not None and tags.whole
        # How many of the known tags lay below another when the frame came: one tag is all that some switches see.
        self._below = max(len(self._known) - 1, 0)

    def pop(self) -> None:
        """Take the outermost tag off."""
        if not self._known:
            raise Refused(errors.VLAN_ACTION, "pops a tag of which nothing is known")
        self._known.pop(0)
        self._below = min(self._below, len(self._known))

    def push(self) -> None:
        """Put a tag in front."""
        self._known.insert(0, UNKNOWN)

    def set_vid(self, vid: int, *, adds: bool) -> None:
        """Write the outermost VID; ``adds``: 1.0, where an untagged frame gets a tag."""
        if self._known:
            self._known[0] = vid
            self._below = min(self._below, len(self._known) - 1)  # rewritten or put in front of it: seen either way
        elif adds and self._whole:
            self._known.append(vid)
        else:
            # An inner tag would be rewritten, and whether there is one is not known.
            raise Refused(errors.VLAN_ACTION, "sets the VID of a tag of which nothing is known")

    def set_pcp(self, *, adds: bool) -> None:
        """Write the outermost priority; ``adds``: 1.0, where an untagged frame gets a tag of VID 0.

        So does one whose tag was popped, on a switch that does not see the tag
        below (Open vSwitch with ``vlan-limit`` 1).
        """
        if self._known and len(self._known) == self._below:
            raise Refused(errors.VLAN_ACTION, "sets the priority of a tag that lay below: not every switch sees it")
        if adds and not self._known and self._whole:
            self._known.append(0)

    def visible(self, where: str) -> None:
        """The frame can be seen here: its outermost tag must be the slice's."""
        if not self._known or self._known[0] != self._own:
            raise Refused(errors.VLAN_ACTION, f"at {where} the outermost tag is not VLAN {self._own}")


def follow10(own: int, actions: Sequence[a10.Action], frame: Tags | None = None) -> None:
    """Judge a 1.0 action list; ``VLAN_ACTION`` where a frame would be visible outside its VLAN.

    ``frame``: the tags of the one frame it is for, if that is known.
    """
    tags = TagStack(own, frame)
    for action in actions:
        kind = action[0]
        if kind == a10.STRIP_VLAN:
            tags.pop()
        elif kind == a10.SET_VLAN_VID:
            if action[1] > 0xFFF:
                raise Refused(errors.ACTION_ARGUMENT, f"set_vlan_vid {action[1]:#x}")
            tags.set_vid(action[1], adds=True)
        elif kind == a10.SET_VLAN_PCP:
            tags.set_pcp(adds=True)
        elif kind in (a10.OUTPUT, a10.ENQUEUE):
            tags.visible("an output")
    tags.visible("the end")


def follow13(own: int, actions: Sequence[a13.Action], frame: Tags | None = None) -> None:
    """Judge a 1.3 action list (apply-actions, packet-out); ``frame`` as in ``follow10``."""
    tags = TagStack(own, frame)
    for action in actions:
        kind = action[0]
        if kind == a13.POP_VLAN:
            tags.pop()
        elif kind == a13.PUSH_VLAN:
            check_push(action)
            tags.push()
        elif kind == a13.SET_FIELD and action[1] == oxm.VLAN_VID:
            tags.set_vid(vid_of(action), adds=False)
        elif kind == a13.SET_FIELD and action[1] == oxm.VLAN_PCP:
            tags.set_pcp(adds=False)
        elif kind in (a13.OUTPUT, a13.GROUP):
            tags.visible("an output")
    tags.visible("the end")


def judge_set(own: int, actions: Sequence[a13.Action]) -> None:
    """Judge an action set (write-actions, bucket): it executes pop, push, set in that order whatever is written.

    Merging sets of several tables keeps what is demanded of each: a pop comes
    with a push, a push with setting the slice's own VID.
    """
    kinds = {action[0] for action in actions}
    vids = [vid_of(action) for action in actions if action[0] == a13.SET_FIELD and action[1] == oxm.VLAN_VID]
    for action in actions:
        if action[0] == a13.PUSH_VLAN:
            check_push(action)
    if a13.POP_VLAN in kinds and a13.PUSH_VLAN not in kinds:
        raise Refused(errors.VLAN_ACTION, "a set that pops the tag must push one too")
    if a13.PUSH_VLAN in kinds and own not in vids:
        raise Refused(errors.VLAN_ACTION, f"a set that pushes a tag must set VLAN {own}")
    if any(vid != own for vid in vids):
        raise Refused(errors.VLAN_ACTION, f"a set may only set VLAN {own}")


def check_push(action: a13.Action) -> None:
    """Only C-tags: an S-tag would alias with another VLAN's C-tag on some switches."""
    if action[1] == 0x88A8:
        raise Refused(errors.VLAN_ACTION, "push_vlan 0x88a8")
    if action[1] != 0x8100:
        raise Refused(errors.ACTION_ARGUMENT, f"push_vlan {action[1]:#06x}")


def vid_of(action: a13.Action) -> int:
    """The VID a ``set_field vlan_vid`` writes; ``SET_FIELD_VALUE`` without OFPVID_PRESENT."""
    value: int = action[2]
    if value >> 13 or not value & oxm.VID_PRESENT:
        raise Refused(errors.SET_FIELD_VALUE, f"set_field vlan_vid={value:#06x}")
    return value & 0xFFF
