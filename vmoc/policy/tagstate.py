"""Tags under ``qinq: on``: an interpreter that follows a frame's VLAN tags through an action list (vetting Q).

The state is the stack of VIDs from the outside; the rest below is unknown. A
slice may push and pop as it likes as long as its own VLAN is outermost
wherever the frame can be seen: at each output, in every later table, at the
end of the list. Only for ``presentation: tagged``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm

UNKNOWN: Final = -1
"""A tag a switch pushed and nobody has set yet: VID 0 on Open vSwitch, a copy by the specification."""


class TagStack:
    """What is known of a frame's tags, from the outside."""

    __slots__ = ("_known", "_own")

    def __init__(self, own: int) -> None:
        self._own = own
        self._known = [own]

    def pop(self) -> None:
        """Take the outermost tag off."""
        if not self._known:
            raise Refused(errors.VLAN_ACTION, "pops a tag of which nothing is known")
        self._known.pop(0)

    def push(self) -> None:
        """Put a tag in front."""
        self._known.insert(0, UNKNOWN)

    def set_vid(self, vid: int, *, adds: bool) -> None:
        """Write the outermost VID; ``adds``: 1.0, where an untagged frame gets a tag."""
        if self._known:
            self._known[0] = vid
        elif adds:
            # Whether a tag is there is unknown: an inner one would be rewritten, a missing one added.
            raise Refused(errors.VLAN_ACTION, "sets the VLAN of a frame whose tags are unknown")
        else:
            raise Refused(errors.VLAN_ACTION, "sets the VID of a tag of which nothing is known")

    def visible(self, where: str) -> None:
        """The frame can be seen here: its outermost tag must be the slice's."""
        if not self._known or self._known[0] != self._own:
            raise Refused(errors.VLAN_ACTION, f"at {where} the outermost tag is not VLAN {self._own}")


def follow10(own: int, actions: Sequence[a10.Action]) -> None:
    """Judge a 1.0 action list; ``VLAN_ACTION`` where a frame would be visible outside its VLAN."""
    tags = TagStack(own)
    for action in actions:
        kind = action[0]
        if kind == a10.STRIP_VLAN:
            tags.pop()
        elif kind == a10.SET_VLAN_VID:
            if action[1] > 0xFFF:
                raise Refused(errors.ACTION_ARGUMENT, f"set_vlan_vid {action[1]:#x}")
            tags.set_vid(action[1], adds=True)
        elif kind in (a10.OUTPUT, a10.ENQUEUE):
            tags.visible("an output")
    tags.visible("the end")


def follow13(own: int, actions: Sequence[a13.Action]) -> None:
    """Judge a 1.3 action list (apply-actions, packet-out)."""
    tags = TagStack(own)
    for action in actions:
        kind = action[0]
        if kind == a13.POP_VLAN:
            tags.pop()
        elif kind == a13.PUSH_VLAN:
            check_push(action)
            tags.push()
        elif kind == a13.SET_FIELD and action[1] == oxm.VLAN_VID:
            tags.set_vid(vid_of(action), adds=False)
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
