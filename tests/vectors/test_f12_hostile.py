"""F.12 malformed and hostile."""

from __future__ import annotations

import struct

from tests.emulation import wire as of
from tests.vectors.lab import Lab

HX14 = bytes.fromhex("0104001800001003000023200000000f0100000000000000")


def test_v286(v10: Lab) -> None:
    """A length below 8 ends the connection, and no other."""
    v10.closed.add("A")
    a = v10.A
    v10.switch.mark()
    a.send(bytes.fromhex("0102000400000001"))
    a.expect_closed()
    v10.fence()
    assert v10.switch.derived() == []
    assert v10.B.closed is None


def test_v288(v10: Lab) -> None:
    """An unknown type is BAD_TYPE."""
    v10.refused("A", v10.message(99), 1, 1)


def test_v289(v10: Lab) -> None:
    """HX14: NXT_FLOW_MOD_TABLE_ID, which would change the shared connection, is BAD_VENDOR."""
    v10.refused("A", HX14, 1, 3)


def test_v291(v13: Lab) -> None:
    """An ONF bundle is BAD_EXPERIMENTER."""
    v13.refused("A", v13.message("experimenter", struct.pack("!IIIHH", 0x4F4E4600, 2300, 1, 0, 0)), 1, 3)


def test_v292(v13: Lab) -> None:
    """Messages of another size than theirs are BAD_LEN."""
    v13.refused("A", v13.message("features_request", bytes(4)), 1, 6)
    v13.refused("A", v13.message("role_request", bytes(4)), 1, 6)


def test_v295(v13: Lab) -> None:
    """A statistics reply with an entry of length 0 is dropped, and nobody hangs."""
    v13.added("A", v13.mod(v13.out(2)))
    v13.switch.answer_stats("flow", bytes(56))
    v13.A.send(v13.stats("flow", of.flow_stats_body(4)))
    v13.fence()
    v13.B.echo(timeout=1)
    v13.A.expect_nothing()
