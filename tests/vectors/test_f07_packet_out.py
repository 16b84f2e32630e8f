"""F.7 packet-out."""

from __future__ import annotations

from tests.emulation import E
from tests.emulation import wire as of
from tests.vectors.lab import Lab, plain

HX11 = bytes.fromhex("010d001800001002ffffffffffff03200000000800020000")


def emitted(lab: Lab, name: str, *raws: bytes) -> list[of.PacketOut]:
    """The PACKET_OUTs the switch gets, and it gets nothing else."""
    derived = lab.send(name, *raws)
    assert {m.name for m in derived} == {"packet_out"}
    outs = [of.parse_packet_out(m) for m in derived]
    assert {out.buffer_id for out in outs} == {of.NO_BUFFER}
    return outs


def same(lab: Lab, out: of.PacketOut, in_port: int | str, actions: bytes, data: bytes) -> None:
    """One PACKET_OUT is as expected."""
    assert out.in_port == of.port_number(lab.version, in_port)
    assert _list(lab.version, out.actions) == _list(lab.version, actions)
    assert out.data == data


def _list(version: int, actions: bytes) -> bytes:
    return plain(version, actions if version == of.V10 else of.apply_actions(actions))


def test_v174(v10: Lab) -> None:
    """A frame of its own VLAN to its own port passes byte for byte."""
    (out,) = emitted(v10, "A", v10.packet_out(E(100)))
    same(v10, out, "none", v10.out(2), E(100))


def test_v175(v10: Lab) -> None:
    """An untagged frame is EPERM."""
    v10.refused("A", v10.packet_out(E()), 1, 5)


def test_v176(v10: Lab) -> None:
    """A frame of another VLAN is EPERM."""
    v10.refused("A", v10.packet_out(E(200)), 1, 5)


def test_v178(v10: Lab) -> None:
    """Its own VLAN below another one is EPERM."""
    v10.refused("A", v10.packet_out(E(200, inner=100)), 1, 5)


def test_v180(v10: Lab) -> None:
    """An in_port that is not its own is EPERM."""
    v10.refused("A", v10.packet_out(E(100), in_port=4), 1, 5)


def test_v182(v10: Lab) -> None:
    """IN_PORT with an in_port of its own passes."""
    (out,) = emitted(v10, "A", v10.packet_out(E(100), v10.out("in_port"), in_port=1))
    same(v10, out, 1, v10.out("in_port"), E(100))


def test_v184(v10: Lab) -> None:
    """FLOOD becomes its own ports, without in_port."""
    raws = [v10.packet_out(E(100), v10.out("flood"), in_port=port) for port in (1, "none")]
    first, second = emitted(v10, "A", *raws)
    same(v10, first, 1, v10.out(2, 3), E(100))
    same(v10, second, "none", v10.out(1, 2, 3), E(100))


def test_v185(v13: Lab) -> None:
    """TABLE passes."""
    (out,) = emitted(v13, "A", v13.packet_out(E(100), v13.out("table"), in_port=1))
    same(v13, out, 1, v13.out("table"), E(100))


def test_v186(v13: Lab) -> None:
    """TABLE after a change of VLAN is EPERM."""
    actions = of.set_field("vlan_vid", 0x10C8) + v13.out("table")
    v13.refused("A", v13.packet_out(E(100), actions, in_port=1), 2, 6)


def test_v188(v10: Lab) -> None:
    """A port that is not its own is BAD_OUT_PORT."""
    v10.refused("A", v10.packet_out(E(100), v10.out(4)), 2, 4)


def test_v189(v10: Lab) -> None:
    """A buffer id is BUFFER_UNKNOWN."""
    v10.refused("A", v10.packet_out(b"", buffer_id=5), 1, 8)


def test_v190(v10: Lab) -> None:
    """Transparent: the tag is put in."""
    (out,) = emitted(v10, "T", v10.packet_out(E()))
    frame = E()
    same(v10, out, "none", v10.out(2), frame[:12] + bytes.fromhex("8100012c") + frame[12:])
    assert len(out.data) == 64


def test_v191(v10: Lab) -> None:
    """Transparent: the tag goes outside of one that is there already."""
    (out,) = emitted(v10, "T", v10.packet_out(E(7)))
    assert out.data[12:20] == bytes.fromhex("8100012c81000007")
    assert out.data == E(300, inner=7)


def test_v193(v10: Lab) -> None:
    """Frames too short to have a header are BAD_LEN."""
    v10.refused("A", v10.packet_out(E(100)[:10]), 1, 6)
    v10.refused("T", v10.packet_out(E()[:13]), 1, 6)


def test_v195(v10: Lab) -> None:
    """HX11: an action list longer than the message is BAD_LEN."""
    v10.refused("A", HX11, 1, 6)


def test_v197(v10: Lab) -> None:
    """Transparent: a VLAN action is EPERM."""
    v10.refused("T", v10.packet_out(E(), of.set_vlan(1, 300) + v10.out(2)), 2, 6)


def test_v198(v13: Lab) -> None:
    """ALL of a datapath with all ports: all others, tagged."""
    (out,) = emitted(v13, "U", v13.packet_out(E(), v13.out("all"), in_port=6))
    same(v13, out, 6, v13.out(1, 2, 3, 4, 5), E(400))
