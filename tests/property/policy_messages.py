"""Grants, flow-mods and packet-outs as a curious, careless or hostile controller might send them.

Values are drawn near the border: the slice's own VLAN and ports, their
neighbours, reserved numbers, single wrong bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from random import Random

from hypothesis import strategies as st

from tests.emulation.actions import (
    apply_actions,
    enqueue,
    goto_table,
    group,
    instruction,
    output,
    push_vlan,
    set_field,
    strip_vlan,
    write_actions,
)
from tests.emulation.build import flow_mod, packet_out
from tests.emulation.frames import E
from tests.emulation.layout import COMMANDS, NO_BUFFER, PORTS, V10, V13
from tests.emulation.match import OXM, match, oxm
from vmoc.policy.grant import Grant

VLANS = (1, 100, 101, 356, 4094)
LOCAL = {V10: 0xFFFE, V13: 0xFFFFFFFE}


@st.composite
def grants(draw: st.DrawFn, version: int | None = None) -> Grant:
    version = draw(st.sampled_from((V10, V13))) if version is None else version
    place = draw(st.sampled_from(("tagged", "tagged", "transparent", "native")))
    everywhere = dict.fromkeys((1, 2, 3, 4, LOCAL[version]), frozenset((7,)))
    return Grant(
        version=version,
        vlan=draw(st.sampled_from(VLANS)),
        ports=draw(st.frozensets(st.sampled_from((1, 2, 3, 4, LOCAL[version])), min_size=1)),
        hides_tag=place != "tagged",
        native=place == "native",
        guarded=draw(st.booleans()),
        n_tables=1 if version == V10 else 4,
        queues=draw(st.sampled_from(({}, {2: frozenset((7,))}, everywhere))),
        no_flood=draw(st.frozensets(st.sampled_from((1, 2)))),
    )


def ports(version: int) -> st.SearchStrategy[int]:
    return st.sampled_from((1, 2, 3, 4, 5, 0, *PORTS[version].values()))


def vids(grant: Grant) -> st.SearchStrategy[int]:
    own = grant.vlan
    return st.sampled_from((own, own, own ^ 1, own + 256, 0, 0xFFF)) | st.integers(0, 0xFFFF)


@st.composite
def matches10(draw: st.DrawFn, grant: Grant) -> bytes:
    wild = draw(st.sampled_from((0x3FFFFF, 0x3FFFFD, 0x3FFFFE, 0x2FFFFD, 0, 0x2FFFFF)) | st.integers(0, 0xFFFFFFFF))
    return struct.pack(
        "!IH6s6sHBxHBB2xIIHH",
        wild,
        draw(ports(V10)),
        draw(st.binary(min_size=6, max_size=6)),
        draw(st.binary(min_size=6, max_size=6)),
        draw(st.sampled_from((grant.vlan, 0xFFFF)) | vids(grant)),
        draw(st.integers(0, 8)),
        draw(st.sampled_from((0x0800, 0x0806, 0x86DD, 0x8100))),
        draw(st.integers(0, 255)),
        draw(st.sampled_from((1, 6, 17, 58))),
        *(draw(st.integers(0, 0xFFFFFFFF)) for _ in range(2)),
        *(draw(st.integers(0, 0xFFFF)) for _ in range(2)),
    )


@st.composite
def fields13(draw: st.DrawFn, grant: Grant) -> bytes:
    name = draw(
        st.sampled_from(("vlan_vid", "in_port", "in_phy_port", "vlan_pcp", "eth_type")) | st.sampled_from(sorted(OXM))
    )
    width = OXM[name][1]
    full = (1 << 8 * width) - 1
    if name == "vlan_vid":
        value = draw(st.sampled_from((0x1000, 0, 0x1000 | grant.vlan))) | draw(st.sampled_from((0, 0x2000, 1)))
        value = draw(st.just(value) | vids(grant))
    elif name in ("in_port", "in_phy_port"):
        value = draw(ports(V13))
    elif name == "eth_type":
        value = draw(st.sampled_from((0x0800, 0x0806, 0x86DD, 0x8847)))
    elif name == "ip_proto":
        value = draw(st.sampled_from((1, 6, 17, 58, 132)))
    else:
        value = draw(st.integers(0, 7) | st.integers(0, full))
    mask = draw(st.none() | st.sampled_from((0, 0x1000, 0x1FFF, full)) | st.integers(0, full))
    if mask is None or name in ("in_port", "eth_type", "ip_proto"):
        return oxm(name, value)
    mask &= full
    return oxm(name, (draw(st.sampled_from((value & mask, value))), mask))


@st.composite
def matches13(draw: st.DrawFn, grant: Grant) -> bytes:
    usual = draw(st.sampled_from((b"", oxm("in_port", 1), oxm("eth_dst", 5), oxm("vlan_vid", 0x1000 | grant.vlan),
                                  oxm("eth_type", 0x800) + oxm("ipv4_dst", 9))))  # fmt: skip
    tlvs = usual + b"".join(draw(st.lists(fields13(grant), max_size=3)))
    data = struct.pack("!HH", 1, 4 + len(tlvs)) + tlvs
    return data + bytes(-len(data) % 8)


@st.composite
def actions(draw: st.DrawFn, grant: Grant) -> bytes:
    version = grant.version
    out = st.builds(lambda port: output(version, port, 128), ports(version))
    good = st.builds(lambda port: output(version, port), st.sampled_from(sorted(grant.ports)))
    raw = st.binary(min_size=4, max_size=4).map(lambda tail: struct.pack("!HH", tail[0] % 30, 8) + tail)
    queue = st.builds(lambda port, queue: enqueue(version, port, queue), ports(version), st.sampled_from((7, 8)))
    common = [good, good, out, st.just(strip_vlan(version)), raw, queue]
    if version == V10:
        common += [
            st.builds(lambda vid: struct.pack("!HHH2x", 1, 8, vid), vids(grant)),
            st.builds(lambda pcp: struct.pack("!HHB3x", 2, 8, pcp), st.integers(0, 9)),
            st.builds(lambda mac: struct.pack("!HH6s6x", 4, 16, mac), st.binary(min_size=6, max_size=6)),
        ]
    else:
        common += [
            st.builds(
                lambda vid, bit: set_field("vlan_vid", vid & 0xFFF | bit), vids(grant), st.sampled_from((0x1000, 0))
            ),
            st.builds(lambda name: set_field(name, 1), st.sampled_from(sorted(OXM))),
            st.builds(push_vlan, st.sampled_from((0x8100, 0x88A8, 0x9100))),
            st.builds(group, st.integers(0, 3)),
        ]
    return b"".join(draw(st.lists(st.one_of(common), max_size=3)))


@st.composite
def instructions(draw: st.DrawFn, grant: Grant) -> bytes:
    kinds = [
        actions(grant).map(apply_actions),
        actions(grant).map(apply_actions),
        actions(grant).map(write_actions),
        st.integers(0, 5).map(goto_table),
        st.just(instruction(5, bytes(4))),
        st.just(instruction(2, bytes(4) + bytes(16))),
        st.integers(0, 9).map(lambda kind: instruction(kind, bytes(4))),
    ]
    return b"".join(draw(st.lists(st.one_of(kinds), max_size=2)))


@st.composite
def flow_mods(draw: st.DrawFn, grant: Grant, command: str | None = None) -> bytes:
    version = grant.version
    return flow_mod(
        version,
        draw(st.sampled_from((*COMMANDS, "add"))) if command is None else command,
        draw(matches10(grant) if version == V10 else matches13(grant)),
        draw(actions(grant)) if version == V10 else b"",
        instructions=None if version == V10 else draw(instructions(grant)),
        xid=draw(st.integers(0, 3)),
        table=draw(st.sampled_from((0, 0, 0, 1, 3, 4, 255))),
        priority=draw(st.sampled_from((0, 100, 0xFFFE, 0xFFFF))),
        idle=draw(st.integers(0, 2)),
        flags=draw(st.sampled_from((0, 0, 0, 1, 3, 4, 64))),
        buffer_id=draw(st.sampled_from((NO_BUFFER, NO_BUFFER, NO_BUFFER, 0))),
    )


@st.composite
def frames(draw: st.DrawFn, grant: Grant) -> bytes:
    usual = None if grant.hides_tag else grant.vlan
    tag = draw(st.sampled_from((usual, usual, usual, None, grant.vlan)) | vids(grant).map(lambda vid: vid & 0xFFF))
    frame = E(tag, tpid=draw(st.sampled_from((0x8100, 0x8100, 0x8100, 0x88A8))), pcp=draw(st.integers(0, 7)),
              inner=None if tag is None else draw(st.none() | st.just(grant.vlan)))  # fmt: skip
    return frame[: draw(st.sampled_from((60, 60, 60, 18, 17, 14, 13, 0)))]


@st.composite
def packet_outs(draw: st.DrawFn, grant: Grant) -> bytes:
    return packet_out(
        grant.version,
        draw(frames(grant)),
        draw(actions(grant)),
        in_port=draw(st.none() | st.sampled_from(sorted(grant.ports)) | ports(grant.version)),
        buffer_id=draw(st.sampled_from((NO_BUFFER, NO_BUFFER, NO_BUFFER, 0))),
        xid=draw(st.integers(0, 3)),
    )


@st.composite
def usual_adds(draw: st.DrawFn, grant: Grant) -> bytes:
    """What a controller usually installs: most of it allowed, and of few shapes."""
    version = grant.version
    fields = draw(
        st.sampled_from((("eth_dst",), ("in_port", "eth_src", "eth_dst"), ("eth_type", "ipv4_src", "ipv4_dst")))
    )
    values = {"in_port": min(grant.ports), "eth_type": 0x0800}
    port = draw(st.sampled_from((min(grant.ports), min(grant.ports), PORTS[version]["flood"])) | ports(version))
    return flow_mod(
        version,
        "add",
        match(version, **{name: values.get(name, draw(st.integers(0, 9))) for name in fields}),
        output(version, port),
        priority=draw(st.sampled_from((100, 0xFFFF))),
        cookie=draw(st.integers(0, 9)),
        idle=draw(st.integers(0, 9)),
    )


@st.composite
def usual_packet_outs(draw: st.DrawFn, grant: Grant) -> bytes:
    """What a well-behaved controller sends."""
    frame = E(None if grant.hides_tag else grant.vlan, dst=draw(st.binary(min_size=6, max_size=6)))
    port = draw(st.sampled_from(("flood", min(grant.ports))))
    return packet_out(
        grant.version, frame, output(grant.version, port), in_port=draw(st.sampled_from((None, max(grant.ports))))
    )


def near(messages: Sequence[bytes], random: Random, count: int) -> Iterator[bytes]:
    """The messages, and ``count`` copies with a byte or two changed behind the type: faster than drawing each."""
    yield from messages
    for _ in range(count):
        data = bytearray(random.choice(messages))
        for _ in range(random.choice((1, 1, 2))):
            at = random.randrange(4, len(data))
            data[at] = random.choice((0, 1, 4, 0xFF, data[at] ^ 1, data[at] ^ 1 << random.randrange(8)))
        yield bytes(data)
