"""Where a frame's VLAN tags are at each action of a list, on every kind of switch there is."""

from __future__ import annotations

from fuzz.breach import check
from tests.emulation import wire as of
from vmoc.model import Policy


class Tags:
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
        self.switches = [Switch(tags, whole, copies, limit) for copies in (False, True) for limit in (1, 2)]

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


class Switch:
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
