"""What hostile controllers do, from a seed: plain lists, so that one that fails can be printed and cut down."""

from __future__ import annotations

import struct
from random import Random
from typing import Any, Final
from zlib import crc32

from fuzz import grammar
from fuzz.grammar import Speaker, mark_of
from fuzz.mutate import framed, mutate
from tests.emulation import E
from tests.emulation import wire as of
from tests.emulation.frames import udp

Step = list[Any]
PORTS: Final = (1, 2, 3, 4, 5, 6)
SLICES: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    "alice": (100, (1, 2, 3)),
    "bob": (200, (2, 3, 4)),
    "tina": (300, (1, 2, 5)),
}
"""The hostile ones: VLAN and ports, as in the vetting specification's test vectors; tina's is transparent."""
VERA: Final = 999
"""The VLAN of the bystander, who has every port and floods."""
FIRST_XID: Final = 0x01000000
LONG: Final = 3600
"""The timeout of every flow that has one: none expires while it is looked at."""
MARK: Final = b"<frame "
"""What begins the end of an injected frame, which no other one has."""
_SETTLES: Final = {of.V10: (b"\x0f",), of.V13: (b"\x10", b"\x18", b"\x1c")}
EQUAL: Final = struct.pack("!I4xQ", 1, 0)


def write(seed: int, version: int, steps: int = 16) -> list[Step]:
    """The steps of a seed:

    ``say {name: [hex...]}`` messages of one or all controllers, ``hang_up name``, ``break name hex`` (bytes after which
    there is no framing), ``port reason number``, ``frames``.
    """
    return _Writer(seed, version).script(steps)


class _Writer:
    def __init__(self, seed: int, version: int) -> None:
        self.random = Random(seed)
        self.version = version
        self.xid = FIRST_XID
        self.speakers = {name: self._speaker(name) for name in SLICES}
        self.missing: int | None = None

    def _speaker(self, name: str) -> Speaker:
        vlan, ports = SLICES[name]
        by = Speaker(self.random, self.version, mark_of(name), vlan)
        by.politeness, by.ports, by.hidden = 0.6, ports, name == "tina"
        return by

    def script(self, steps: int) -> list[Step]:
        made = [self.step() for _ in range(steps)]
        made.insert(steps // 2, ["frames"])
        if self.missing is not None:
            made.append(["port", "add", self.missing])
        return [*made, ["frames"]]

    def step(self) -> Step:
        draw, name = self.random.random(), self.random.choice(sorted(SLICES))
        if draw < 0.5:
            return ["say", {name: self.batch(name)}]
        if draw < 0.82:
            return ["say", {each: self.batch(each) for each in SLICES}]
        if draw < 0.86:
            return ["hang_up", name]
        if draw < 0.9:
            length = self.random.choice((0, 1, 7))
            return ["break", name, struct.pack("!BBHI", self.version, 14, length, 1).hex()]
        if self.missing is None:
            self.missing = self.random.choice(PORTS)
            return ["port", "delete", self.missing]
        gone, self.missing = self.missing, None
        return ["port", "add", gone]

    def batch(self, name: str) -> list[str]:
        by, made = self.speakers[name], []
        if self.version == of.V13 and self.random.random() < 0.5:  # whoever is a slave can do little
            made.append(of.message(self.version, "role_request", EQUAL))
        for _ in range(self.random.choice((1, 3, 8, 12))):
            message = grammar.make(by, grammar.CONTROLLER[self.version])
            if self.random.random() < 0.15:
                message = mutate(message, self.random, grammar.make(by, grammar.CONTROLLER[self.version]))
            made.append(message)
        # Who hears of what (roles, masks, ports' NO_PACKET_IN) is settled before there is something to hear of.
        made.sort(key=lambda message: message[1:2] not in _SETTLES[self.version])
        return [self.ready(message).hex() for message in made]

    def ready(self, message: bytes) -> bytes:
        """With a true length, an xid of its own and no timeout that could end it.

        Most priorities follow from the match: strict commands find something, and few flows overlap at one priority.
        """
        data = bytearray(message)
        framed(data)
        self.xid += 1
        data[4:8] = self.xid.to_bytes(4, "big")
        at, match_at = (58, 8) if self.version == of.V10 else (26, 48)
        if data[1] == 14 and len(data) >= max(match_at, 64):
            idle, hard, priority = struct.unpack_from("!HHH", data, at)
            if self.random.random() < 0.8:
                priority = crc32(data[match_at : match_at + 40]) & 0xFFFF
            struct.pack_into("!HHH", data, at, LONG if idle else 0, LONG if hard else 0, priority)
        return bytes(data)


def frames() -> list[tuple[int, bytes]]:
    """(port, frame): every kind of frame on every port, each with a payload of its own."""
    found = []
    vlans = [vlan for vlan, _ in SLICES.values()]
    for port in PORTS:
        number = 0
        for name, (vlan, _) in SLICES.items():
            other = vlans[(vlans.index(vlan) + 1) % len(vlans)]
            ip = udp("10.0.0.1", "10.0.0.2", 80, 80)
            kinds: list[dict[str, Any]] = [
                {},
                {"ethertype": 0x88CC, "dst": "01:80:c2:00:00:0e"},
                {"ethertype": 0x0806, "payload": struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)},
                {"ethertype": 0x0800, "payload": ip, "dst": "02:00:00:00:00:02"},
                {"inner": other},
                {"inner": vlan, "tpid": 0x88A8, "pcp": 7},
                {"tpid": 0x9100},
            ]
            for kind in kinds:
                number += 1
                found.append((port, _frame(vlan, port, number, src=b"\x02\xfe" + mark_of(name), **kind)))
        for vlan in (None, 0, 400, 1, 4095):
            number += 1
            found.append((port, _frame(vlan, port, number)))
        for vlan in (vlans[0], None):  # one of the neighbour's below nobody's
            number += 1
            found.append((port, _frame(400 if vlan else 0, port, number, inner=vlan or vlans[1])))
    return found


def _frame(vlan: int | None, port: int, number: int, *, payload: bytes = b"", **more: Any) -> bytes:
    made = E(vlan, payload=payload, **({"ethertype": 0x88B5} | more), size=80)
    return made + MARK + b"%02d at %d>" % (number, port)
