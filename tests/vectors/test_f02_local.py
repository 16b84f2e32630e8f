"""F.2 answered locally."""

from __future__ import annotations

import struct

from tests.emulation import wire as of
from tests.vectors.lab import Lab


def features(lab: Lab, name: str) -> of.Features:
    """Ask for the features with xid 7."""
    reply = lab.ask(name, lab.message("features_request", xid=7))
    assert (reply.name, reply.xid) == ("features_reply", 7)
    return of.parse_features(reply)


def config(lab: Lab, name: str) -> tuple[int, int]:
    """GET_CONFIG's flags and miss_send_len."""
    flags, length = struct.unpack("!HH", lab.ask(name, lab.message("get_config_request")).body)
    return flags, length


def test_v015(aa10: Lab) -> None:
    """FEATURES in 1.0, tagged: its own DPID, ports and capabilities."""
    shown = features(aa10, "A")
    assert shown.dpid == 0x00640000000000AA
    assert shown.n_buffers == 0
    assert [p.number for p in shown.ports] == [1, 2, 3]
    assert (shown.capabilities, shown.actions) == (0xC7, 0xFF7)


def test_v016(aa10: Lab) -> None:
    """FEATURES in 1.0, transparent: no queues granted, no VLAN actions."""
    shown = features(aa10, "T")
    assert shown.dpid == 0x012C0000000000AA
    assert [p.number for p in shown.ports] == [1, 2, 5]
    assert (shown.capabilities, shown.actions) == (0x87, 0x7F1)


def test_v017(aa13: Lab) -> None:
    """FEATURES in 1.3."""
    shown = features(aa13, "B")
    assert shown.dpid == 0x00C80000000000AA
    assert (shown.n_buffers, shown.n_tables, shown.auxiliary, shown.capabilities) == (0, 4, 0, 0x0F)


def test_v020(v10: Lab) -> None:
    """ECHO is answered with its own payload and xid."""
    assert v10.send("A", v10.message("echo_request", b"abc", 9)) == []
    reply = v10.A.expect("echo_reply", lambda m: m.xid == 9)
    assert reply.body == b"abc"


def test_v021(v10: Lab) -> None:
    """GET_CONFIG: no flags, 128 bytes."""
    assert config(v10, "A") == (0, 128)


def test_v022(v10: Lab) -> None:
    """SET_CONFIG is each controller's own and never the switch's, which was told 0xffff when it came."""
    told = [struct.unpack("!HH", m.body) for m in v10.switch.log("set_config")]
    v10.silent("A", v10.message("set_config", struct.pack("!HH", 0, 0xFFFF)))
    assert config(v10, "A") == (0, 0xFFFF)
    assert config(v10, "B") == (0, 128)
    assert told == [(0, 0xFFFF)]
    assert len(v10.switch.log("set_config")) == 1


def test_v023(v10: Lab) -> None:
    """SET_CONFIG with FRAG_DROP is refused and changes nothing."""
    v10.refused("A", v10.message("set_config", struct.pack("!HH", 1, 128)), 1, 5)
    assert config(v10, "A") == (0, 128)


def test_v025(v10: Lab) -> None:
    """A switch's message from a controller is BAD_TYPE."""
    v10.refused("A", v10.message("get_config_reply", struct.pack("!HH", 0, 128)), 1, 1)


def test_v027(aa10: Lab) -> None:
    """DESC is one reply that names no other slice."""
    reply = aa10.ask("A", aa10.stats("desc"))
    assert struct.unpack_from("!HH", reply.raw, 8) == (0, 0)
    body = aa10.stats_body(reply)
    assert len(body) == 1056
    shown = body[800:].rstrip(b"\0").decode()
    assert not [word for word in ("bob", "200", "tina", "300") if word in shown]


def test_v028(v10: Lab) -> None:
    """QUEUE_GET_CONFIG is forwarded and shows the queues granted."""
    raw = v10.message("queue_config_request", struct.pack("!H2x", 2))
    reply = v10.ask("A", raw, south=True)
    (asked,) = v10.switch.derived()
    assert asked.body == raw[8:]
    assert asked.xid != reply.xid == int.from_bytes(raw[4:8], "big")
    assert reply.name == "queue_config_reply"
    assert struct.unpack_from("!H", reply.body) == (2,)
    assert reply.body[8:] == struct.pack("!IH2x", 7, 8)
