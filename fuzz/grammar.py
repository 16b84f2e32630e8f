"""Messages as controllers and switches send them, well formed, about things that are theirs and things that are not.

Whatever a controller makes carries its slice's *mark*, four bytes nobody else
uses, in cookies, addresses and payloads; a frame on the wire carries the mark
of its VLAN. Where a mark turns up tells who has been told what.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from tests.emulation import E
from tests.emulation import wire as of

VLANS: Final = (100, 200, 300, 400, 500, 999)
PORTS: Final = (1, 2, 3, 4, 5, 6)
_ODD_VLANS: Final = (0, 1, 4095)
Maker = Callable[["Speaker"], bytes]


def mark_of(name: str) -> bytes:
    """The four bytes of a slice."""
    return b"\xa7" + name.encode()[:2].ljust(2, b"!") + b"\x7a"


def mark_of_vlan(vlan: int) -> bytes:
    """The four bytes of a VLAN's frames."""
    return b"\x7b" + vlan.to_bytes(2, "big") + b"\xb7"


def frame(random: Random, vlan: int | None, mark: bytes = b"") -> bytes:
    """An Ethernet frame; the mark is in its source address and its payload."""
    tpid = random.choice((0x8100, 0x8100, 0x8100, 0x88A8, 0x9100))
    given = mark or (mark_of_vlan(vlan) if vlan is not None and tpid != 0x9100 else b"none")
    return E(
        vlan,
        inner=random.choice((None, None, None, *VLANS)),
        tpid=tpid,
        pcp=random.choice((0, 0, 7)),
        dst=random.choice(("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:02")),
        src=b"\x02\xfe" + given,
        ethertype=random.choice((0x0800, 0x0806, 0x86DD, 0x88CC, 0x8100)),
        payload=given + random.randbytes(4),
        size=random.choice((14, 60, 60, 60, 60, 200, 1500)),
    )


class Speaker:
    """Draws everything a message is made of; ``own`` is the VLAN a controller believes to have."""

    def __init__(self, random: Random, version: int, mark: bytes, own: int = 100, native: bool = False) -> None:
        self.random = random
        self.version = version
        self.mark = mark
        self.own = own
        self.native = native
        self.ports: Sequence[int] = PORTS
        self.hidden = False
        """Whether its frames have no tag."""
        self.politeness = 0.0
        self.polite = False
        """Whether it asks for what is its own only."""

    def pick(self, *values: int) -> int:
        return self.random.choice(values)

    def xid(self) -> int:
        return self.pick(0, 0xFFFFFFFF, self.random.getrandbits(32), self.random.randrange(16))

    def port(self, often: Sequence[int] = PORTS) -> int:
        reserved = of.PORTS[self.version]
        if self.polite:
            return self.random.choice(self.ports)
        if self.random.random() < 0.75:
            return self.random.choice(often)
        return self.pick(0, 7, 99, *reserved.values())

    def vlan(self) -> int:
        return self.own if self.polite or self.random.random() < 0.6 else self.pick(*VLANS, *_ODD_VLANS)

    def cookie(self) -> int:
        return int.from_bytes(self.mark, "big") << 32 | self.random.randrange(8)

    def say(self, name: str | int, body: bytes = b"") -> bytes:
        return of.message(self.version, name, body[: 0xFFFF - 8], self.xid())

    # -- parts -------------------------------------------------------------------------------------

    def match(self) -> bytes:
        random, version = self.random, self.version
        fields: dict[str, of.Value] = {}
        if self.polite:
            if random.random() < 0.5:
                fields["in_port"] = self.port()
            if not self.hidden and random.random() < 0.7:
                fields["vlan"] = self.own
            if random.random() < 0.5:
                fields["eth_src"] = b"\x02\xfe" + self.mark
            return of.match(version, **fields)
        if random.random() < 0.5:
            fields["in_port"] = self.port()
        kind = random.random()
        if kind < 0.4:
            fields["vlan_vid"] = self.vlan() | (0 if version == 1 else 0x1000)
        elif kind < 0.5:
            fields["vlan_vid"] = random.choice((0xFFFF, 0, 0x1000, 0x2064, self.own))
        elif kind < 0.65 and version == 4:
            fields["vlan_vid"] = random.choice(((0x1000, 0x1000), (0, 0), (0x1000 | self.own, 0x1FFF), (0, 0x1000)))
        if random.random() < 0.2:
            fields["vlan_pcp"] = self.pick(0, 7, 8, 255)
        if random.random() < 0.6:
            fields["eth_src"] = b"\x02\xfe" + self.mark
        if random.random() < 0.3:
            fields["eth_type"] = self.pick(0x0800, 0x0806, 0x86DD, 0x8847, 0x8100)
            if random.random() < 0.5:
                fields["ipv4_src"] = random.choice(("10.0.0.1", (0x0A000000, 0xFF000000), (0x0A000001, 0xFF00FF00)))
            if random.random() < 0.4:
                fields["ip_proto"] = self.pick(1, 6, 17, 58)
                if version == 4:
                    fields[random.choice(("tcp_dst", "udp_src", "icmpv6_type"))] = self.pick(0, 80, 135)
        if version == 1:
            return of.match(1, **{n: v if not isinstance(v, tuple) or n == "ipv4_src" else v[0] for n, v in
                                  fields.items() if n in ("in_port", "vlan_vid", "vlan_pcp", "eth_src", "eth_type",
                                                          "ip_proto", "ipv4_src")})  # fmt: skip
        if random.random() < 0.15:
            fields[random.choice(("metadata", "tunnel_id", "in_phy_port", "pbb_isid", "ip_dscp", "mpls_label"))] = (
                self.pick(0, 1, 2, 99)
            )
        if random.random() < 0.1:
            fields["metadata"] = self.metadata()
        names = list(fields)
        if random.random() < 0.3:
            random.shuffle(names)
        return of.match(4, **{n: _fits(n, fields[n]) for n in names})

    def action(self) -> bytes:
        random, version, draw = self.random, self.version, self.random.random()
        if self.polite:
            reserved = of.PORTS[version]
            if draw < 0.8:
                return of.output(version, self.pick(self.port(), reserved["controller"], reserved["flood"]), 0xFFFF)
            if version == 4 and draw < 0.9:
                return of.group(self.pick(1, 2, 3))
            return of.set_vlan(version, self.own) if not self.hidden else of.output(version, self.port())
        if draw < 0.5:
            return of.output(version, self.port(), self.pick(0, 64, 0xFFFF))
        if draw < 0.65:
            return of.set_vlan(version, self.vlan())
        if draw < 0.7:
            return of.set_pcp(version, self.pick(0, 7, 9))
        if draw < 0.75:
            return of.strip_vlan(version)
        if draw < 0.8:
            return of.enqueue(version, self.port(), self.pick(7, 8, 9))
        if version == 1:
            kind = self.pick(*range(13), 0xFFFF)
            return struct.pack("!HH", kind, 16 if kind in (4, 5) else 8) + random.randbytes(12 if kind in (4, 5) else 4)
        if draw < 0.85:
            return of.push_vlan(self.pick(0x8100, 0x88A8, 0x9100))
        if draw < 0.92:
            return of.group(self.pick(1, 2, 3, 0xFFFFFF00, 0xFFFFFFFC, 1 << 20 | 1))
        if draw < 0.96:
            return of.set_field(random.choice(("eth_dst", "metadata", "ipv4_dst", "in_port", "eth_type")), self.pick(1))
        return struct.pack("!HHHH", self.pick(*range(28), 0xFFFF), 8, self.pick(0x8847, 0x0800, 0x88E7, 0x8100), 0)

    def actions(self) -> bytes:
        return b"".join(self.action() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3, 6))))

    def metadata(self) -> tuple[int, int]:
        """Value and mask: of a slice's own bits, of those that may tell slices apart, of both."""
        slot = self.pick(1, 2, 3) << 52
        return self.random.choice(((0, 0), (1, 3), (1, 3), (slot, 0xFFF << 52), (slot | 1, (1 << 64) - 1)))

    def instructions(self) -> bytes:
        made = []
        if self.polite:
            made = [of.apply_actions(self.actions())]
            if self.random.random() < 0.2:
                made.append(of.goto_table(1))
            if self.random.random() < 0.2:
                made.insert(0, struct.pack("!HHI", 6, 8, self.pick(1, 2)))
            if self.random.random() < 0.3:
                made.append(_write_metadata(self.metadata()))
            return b"".join(made)
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            draw = self.random.random()
            if draw < 0.55:
                made.append(of.apply_actions(self.actions()))
            elif draw < 0.7:
                made.append(of.write_actions(self.actions()))
            elif draw < 0.8:
                made.append(of.goto_table(self.pick(0, 1, 2, 3, 255)))
            elif draw < 0.88:
                made.append(struct.pack("!HHI", 6, 8, self.pick(1, 2, 3, 0xFFFFFFFF)))
            else:
                kind = self.pick(2, 2, 5, 7, 0xFFFF)
                made.append(_write_metadata(self.metadata()) if kind == 2 else struct.pack("!HH4x", kind, 8))
        return b"".join(made)

    def payload(self) -> bytes:
        if self.polite:
            tag = None if self.hidden else self.own
            return E(tag, src=b"\x02\xfe" + self.mark, payload=self.mark)
        vlan = None if self.random.random() < 0.3 else self.vlan()
        return frame(self.random, vlan, self.mark)


def _write_metadata(bits: tuple[int, int]) -> bytes:
    return struct.pack("!HH4xQQ", 2, 24, *bits)


def _fits(name: str, value: of.Value) -> of.Value:
    width = of.OXM[name][1]
    return value % (1 << 8 * width) if isinstance(value, int) else value


# -- controllers -----------------------------------------------------------------------------------


def _flow_mod(by: Speaker) -> bytes:
    adds = by.random.random() < 0.6
    return of.flow_mod(
        by.version,
        0 if adds else by.pick(1, 2, 3, 4) if by.polite else by.pick(0, 1, 2, 3, 3, 4, 5, 255),
        by.match(),
        by.actions(),
        xid=by.xid(),
        cookie=by.cookie(),
        cookie_mask=by.pick(0, 0, 0, (1 << 64) - 1, 1, 0xFFFF << 48),
        table=by.pick(0, 0, 0, 1) if by.polite else by.pick(0, 0, 0, 1, 2, 3, 254, 255),
        priority=by.pick(0, 1, 100, 100, 0xFFFE, 0xFFFF),
        idle=by.pick(0, 0, 5),
        hard=by.pick(0, 0, 1),
        buffer_id=of.NO_BUFFER if by.polite else by.pick(*[of.NO_BUFFER] * 6, 0, 7, by.random.getrandbits(31)),
        out_port=by.pick(of.PORTS[by.version]["none"], of.PORTS[by.version]["none"], by.port()),
        out_group=by.pick(0xFFFFFFFF, 0xFFFFFFFF, 1, 2),
        flags=by.pick(0, 1) if by.polite else by.pick(0, 0, 1, 1, 2, 3, 4, 0x1F, 0x8000),
        instructions=by.instructions() if by.version == 4 and by.random.random() < 0.6 else None,
    )


def _packet_out(by: Speaker) -> bytes:
    return of.packet_out(
        by.version,
        by.payload() if by.random.random() < 0.9 else b"",
        by.actions(),
        in_port=by.port() if by.random.random() < 0.5 else None,
        buffer_id=of.NO_BUFFER if by.polite else by.pick(*[of.NO_BUFFER] * 6, 0, by.random.getrandbits(31)),
        xid=by.xid(),
    )


def _bucket(by: Speaker) -> bytes:
    actions = of.output(4, by.port()) if by.polite else by.actions()
    weight = 0 if by.polite else 1
    return struct.pack("!HHII4x", 16 + len(actions), weight, by.pick(0xFFFFFFFF, by.port()), 0xFFFFFFFF) + actions


def _group_mod(by: Speaker) -> bytes:
    command = by.pick(0, 0, 0, 1, 2, 3)
    buckets = b"" if command == 2 else b"".join(_bucket(by) for _ in range(by.pick(0, 1, 1, 2, 40)))
    kind = 0 if by.polite else by.pick(0, 0, 1, 2, 3, 4)
    return by.say(15, struct.pack("!HBxI", command, kind, _number(by)) + buckets)


def _number(by: Speaker) -> int:
    if by.polite:
        return by.pick(1, 2, 3)
    return by.pick(1, 1, 2, 3, 4, 0, 0xFFFFFF00, 0xFFFFFFFC, 0xFFFFFFFF, 1 << 20 | 1)


def _meter_mod(by: Speaker) -> bytes:
    bands = b"".join(struct.pack("!HHIIB3x", by.pick(1, 1, 2, 3), 16, 1000, 10, 1) for _ in range(by.pick(0, 1, 2)))
    return by.say(29, struct.pack("!HHI", by.pick(0, 0, 0, 1, 2, 3), by.pick(0, 1, 5, 0xFF), _number(by)) + bands)


def _statistics(by: Speaker) -> bytes:
    kind = by.pick(*of.STATS[by.version].values(), 1, 1, 2, 14)
    none = of.PORTS[by.version]["none"]
    if kind in (1, 2):
        mask = by.pick(0, 0, 1, (1 << 64) - 1)
        body = of.flow_stats_body(by.version, by.match(), table=by.pick(0, 0xFF, 0xFF, 9), cookie=by.cookie(),
                                  cookie_mask=mask, out_port=by.pick(none, none, by.port()))  # fmt: skip
    elif kind == 4:
        body = of.port_stats_body(by.version, by.pick(none, by.port()))
    elif kind == 5:
        port, queue = by.pick(0xFFFC if by.version == 1 else none, by.port()), by.pick(0xFFFFFFFF, 7, 8)
        body = struct.pack("!H2xI" if by.version == 1 else "!II", port, queue)
    elif by.version == 4 and kind in (6, 9, 10):
        body = struct.pack("!I4x", _number(by))
    else:
        body = bytes(by.pick(0, 0, 0, 8, 64))
    return of.stats_request(by.version, kind, body, flags=by.pick(0, 0, 0, 1, 0xFFFF), xid=by.xid())


def _port_mod(by: Speaker) -> bytes:
    number, config, mask = by.port(), by.pick(0, 0x10, 0x40, 1), by.pick(0, 0x10, 0x40, 0x50, 1, 0xFFFFFFFF)
    address = struct.pack("!BBHH", 0x06, 0, 0xAA, number & 0xFFFF)
    if by.version == 1:
        return by.say("port_mod", struct.pack("!H6sIII4x", number, address, config, mask, 0))
    return by.say("port_mod", struct.pack("!I4x6s2xIII4x", number, address, config, mask, 0))


def _queue_config(by: Speaker) -> bytes:
    port = by.pick(by.port(), of.PORTS[by.version]["none"])
    return by.say("queue_config_request", struct.pack("!H2x" if by.version == 1 else "!I4x", port))


def _simple(name: str | int, *bodies: bytes) -> Maker:
    return lambda by: by.say(name, by.random.choice(bodies) if bodies else b"")


def _role(by: Speaker) -> bytes:
    return by.say("role_request", struct.pack("!I4xQ", by.pick(0, 1, 2, 3, 4), by.pick(0, 1, 1 << 63, (1 << 64) - 1)))


def _masks(by: Speaker) -> bytes:
    return struct.pack("!6I", *(by.pick(0, 3, 7, 0xFFFFFFFF) for _ in range(6)))


def _echo(by: Speaker) -> bytes:
    return by.say("echo_request", by.mark * by.pick(0, 1, 2, 10000))


def _any_type(by: Speaker) -> bytes:
    return by.say(by.random.randrange(36), by.mark * by.pick(0, 1, 4, 20))


_BOTH: Final[list[tuple[int, Maker]]] = [
    (30, _flow_mod),
    (12, _packet_out),
    (12, _statistics),
    (4, _simple("barrier_request")),
    (3, _port_mod),
    (2, _queue_config),
    (2, _echo),
    (1, _any_type),
    (1, _simple("features_request")),
    (1, _simple("get_config_request")),
    (1, _simple("set_config", b"\0\0\xff\xff", b"\0\1\0\x80", b"\0\0\0\0")),
    (1, _simple("experimenter", bytes(8), bytes.fromhex("0000232000000012"), bytes.fromhex("4f4e4600000008fc"))),
    (1, _simple("error", bytes(4))),
    (1, _simple("hello", b"", bytes.fromhex("0001000800000012"), bytes.fromhex("00010000"))),
]
CONTROLLER: Final[dict[int, list[tuple[int, Maker]]]] = {
    1: _BOTH,
    4: [
        *_BOTH,
        (8, _group_mod),
        (5, _meter_mod),
        (3, _role),
        (2, lambda by: by.say("set_async", _masks(by))),
        (1, _simple("get_async_request")),
        (1, _simple("table_mod", bytes(8), b"\xff" * 8, b"\x09" + bytes(7))),
    ],
}


# -- switches --------------------------------------------------------------------------------------


def _packet_in(by: Speaker) -> bytes:
    data = frame(by.random, None if by.random.random() < 0.15 else by.vlan())
    port, buffer_id = by.port(), by.pick(of.NO_BUFFER, of.NO_BUFFER, 5)
    if by.version == 1:
        return by.say("packet_in", struct.pack("!IHHBx", buffer_id, len(data), port, by.pick(0, 1, 2)) + data)
    head = struct.pack("!IHBBQ", buffer_id, len(data), by.pick(0, 1, 2), by.pick(0, 1, 255), _tag(by))
    match = of.match(4, in_port=port) if by.random.random() < 0.7 else by.match()
    return by.say("packet_in", head + match + b"\0\0" + data)


def _tag(by: Speaker) -> int:
    return by.pick((1 << 64) - 1, (1 << 64) - 1, 0xFFFE << 48, by.random.getrandbits(64), 1 << 48 | 1)


def _flow_removed(by: Speaker) -> bytes:
    if by.version == 1:
        rest = struct.pack("!QHBxIIH2xQQ", _tag(by), 0xFFFF, by.pick(0, 1, 2, 9), 1, 0, 0, 1, 1)
        return by.say("flow_removed", by.match() + rest)
    head = struct.pack("!QHBBIIHHQQ", _tag(by), 0xFFFF, by.pick(0, 1, 2, 3, 9), 0, 1, 0, 0, 0, 1, 1)
    return by.say("flow_removed", head + by.match())


def _port(by: Speaker) -> bytes:
    number = by.port()
    names = (b"p1", b"", b"\xff\xfe", b"x" * 16)
    if by.version == 1:
        return struct.pack(
            "!H6s16s6I", number, bytes(6), by.random.choice(names), by.pick(0, 1), by.pick(0, 1), *[0] * 4
        )
    return struct.pack(
        "!I4x6s2x16s8I", number, bytes(6), by.random.choice(names), by.pick(0, 1), by.pick(0, 4), *[0] * 6
    )


def _port_status(by: Speaker) -> bytes:
    return by.say("port_status", struct.pack("!B7x", by.pick(0, 1, 2, 3)) + _port(by))


def _error(by: Speaker) -> bytes:
    kind, code = by.pick(0, 1, 2, 3, 5, 12, 0xB0C2, 0xFFFF), by.pick(0, 1, 5, 8, 65535)
    return by.say("error", struct.pack("!HH", kind, code) + by.random.randbytes(by.pick(0, 4, 8, 64)))


def _entry(by: Speaker) -> bytes:
    if by.version == 1:
        actions = by.actions()
        head = by.match() + struct.pack("!IIHHH6xQQQ", 1, 0, by.pick(0, 100, 0xFFFF), 0, 0, _tag(by), 1, 1)
        return struct.pack("!HBx", 4 + len(head) + len(actions), by.pick(0, 1)) + head + actions
    rest = by.match() + by.instructions()
    head = struct.pack("!BxIIHHHH4xQQQ", by.pick(0, 1), 1, 0, by.pick(0, 100, 0xFFFF), 0, 0, 1, _tag(by), 1, 1)
    return struct.pack("!H", 2 + len(head) + len(rest)) + head + rest


def _reply(by: Speaker) -> bytes:
    kind = by.pick(0, 1, 1, 1, 1, 2, 3, 4, 5, *range(6, 14), 0xFFFF)
    items = {
        0: lambda: bytes(1056),
        1: lambda: b"".join(_entry(by) for _ in range(by.pick(0, 1, 3, 30))),
        2: lambda: bytes(24),
        4: lambda: (by.port() << 48 if by.version == 1 else by.port() << 32).to_bytes(8, "big") + bytes(96),
        5: lambda: bytes(32 if by.version == 1 else 40) * by.pick(0, 1, 5),
        6: lambda: struct.pack("!H2xI", 40, 1 << 20 | 1) + bytes(32),
        7: lambda: b"".join(
            struct.pack("!HBxI", 8, 0, by.pick(1 << 20 | 1, 1 << 20 | 2, 5)) for _ in range(by.pick(1, 3))
        ),
        10: lambda: struct.pack("!HHI", 8, 0, by.pick(1, 2, 3)),
        13: lambda: b"".join(_port(by) for _ in range(by.pick(0, 1, 6))),
    }.get(kind, lambda: bytes(by.pick(0, 8, 40, 64)))()
    head = struct.pack("!HH" if by.version == 1 else "!HH4x", kind, by.pick(0, 0, 0, 1))
    return by.say("stats_reply", head + items)


def _features(by: Speaker) -> bytes:
    ports = b"".join(_port(by) for _ in range(by.pick(0, 2))) if by.version == 1 else b""
    return by.say(
        "features_reply", struct.pack("!QIBB2xII", by.pick(0xAA, 0xBB), 0, by.pick(0, 1, 254), 0, 0x4F, 0) + ports
    )


SWITCH: Final[list[tuple[int, Maker]]] = [
    (20, _packet_in),
    (8, _flow_removed),
    (6, _port_status),
    (8, _error),
    (16, _reply),
    (6, _simple("barrier_reply")),
    (2, _features),
    (2, _echo),
    (1, _simple("echo_reply")),
    (1, _simple("hello")),
    (2, _simple("queue_config_reply", bytes(8), bytes(24), bytes(7) + b"\1" + bytes(3) + b"\7\0\x08" + bytes(2))),
    (1, _simple("experimenter", bytes(8))),
    (2, _any_type),
]


def make(by: Speaker, side: list[tuple[int, Maker]]) -> bytes:
    """A message of the controllers' or the switches' side."""
    by.polite = by.random.random() < by.politeness
    (maker,) = by.random.choices([maker for _, maker in side], [often for often, _ in side])
    return maker(by)
