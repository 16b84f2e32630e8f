"""F.1 negotiation and connection."""

from __future__ import annotations

import struct

from tests.emulation import Connection
from tests.emulation import wire as of
from tests.vectors.lab import Lab

HX01 = bytes.fromhex("04000010000000010001000000000000")


def raw_connection(lab: Lab, name: str = "A") -> Connection:
    """The first connection of a controller that does not say HELLO by itself; ours has arrived."""
    connection = lab.controllers[name].wait_connected()
    connection.wait_for(lambda: connection.log, "HELLO")
    return connection


def others_up(lab: Lab, *names: str) -> None:
    """The others finish their handshake, and nobody else's business is unexpected."""
    for name in names:
        lab.controllers[name].wait_up(lab.presented(name))
    lab.fence()
    lab.switch.mark()


def test_v001(cold10: Lab) -> None:
    """A 1.0 switch: the controller is greeted at once with HELLO version 1, exactly 8 bytes."""
    cold10.controllers["A"].greet = False
    cold10.switch.start()
    connection = raw_connection(cold10)
    others_up(cold10, "B", "T", "U")
    assert [m.raw[:4] for m in connection.log] == [b"\x01\x00\x00\x08"]
    assert cold10.switch.derived() == []


def test_v002(cold13: Lab) -> None:
    """A 1.3 switch: HELLO version 4 with one VERSIONBITMAP element whose only bit is 4."""
    cold13.controllers["A"].greet = False
    cold13.switch.start()
    connection = raw_connection(cold13)
    others_up(cold13, "B", "T", "U")
    (hello,) = connection.log
    assert hello.raw[:4] == b"\x04\x00\x00\x10"
    assert hello.body == struct.pack("!HHI", 1, 8, 1 << 4)
    assert cold13.switch.derived() == []


def test_v004(cold10: Lab) -> None:
    """A switch whose HELLO says version 3 without elements gets version 1 from then on, and so do controllers."""
    lab = cold10
    lab.switch.mute.add("hello")
    lab.switch.start()
    lab.switch.wait_for(lambda: lab.switch.peers, "connection")
    lab.switch.negotiated = True
    lab.switch.send_raw(of.hello(3, 1))
    for name in "ABTU":
        assert lab.conn(name).log[0].raw[:4] == b"\x01\x00\x00\x08"
    lab.fence()
    assert {m.version for m in lab.switch.peer.log if m.name != "hello"} == {1}
    lab.forget()


def test_v005(cold13: Lab) -> None:
    """A controller that speaks 1.0 only is told HELLO_FAILED and left alone for at least a second."""
    lab = cold13
    lab.controllers["A"].greet = False
    lab.closed.add("A")
    lab.switch.start()
    connection = raw_connection(lab)
    others_up(lab, "B", "T", "U")
    connection.send(of.hello(1, 0x77))
    told = connection.expect("error")
    connection.expect_closed()
    assert (told.version, told.xid) == (1, 0x77)
    error = of.parse_error(told)
    assert (error.type, error.code) == (0, 0)
    assert error.data.decode("ascii").isprintable()
    again = lab.controllers["A"].wait_connected(2)
    again.wait_for(lambda: again.log, "HELLO")
    assert again.log[0].at - told.at >= 0.95
    lab.fence()
    assert lab.switch.derived() == []


def test_v006(cold13: Lab) -> None:
    """A HELLO of version 6 whose bitmap has 4 is fine; FEATURES_REQUEST is answered in version 4."""
    lab = cold13
    lab.controllers["A"].greet = False
    lab.switch.start()
    connection = raw_connection(lab)
    others_up(lab, "B", "T", "U")
    connection.send(of.hello(6, 1, (4, 6)) + of.message(4, "features_request", b"", 7))
    connection.wait_for(lambda: connection.features, "FEATURES_REPLY")
    assert [(m.version, m.xid) for m in connection.log if m.name == "features_reply"] == [(4, 7)]
    lab.fence()
    assert lab.switch.derived() == []


def test_v009(cold13: Lab) -> None:
    """HX01, a HELLO element of length 0: ERROR (0,0) and the end, within a second, while B is served."""
    lab = cold13
    lab.controllers["A"].greet = False
    lab.closed.add("A")
    lab.switch.start()
    connection = raw_connection(lab)
    others_up(lab, "B", "T", "U")
    connection.send(HX01)
    lab.B.echo(timeout=1)
    error = of.parse_error(connection.expect("error", timeout=1))
    assert (error.type, error.code) == (0, 0)
    connection.expect_closed(timeout=1)
    lab.fence()
    assert lab.switch.derived() == []


def test_v010(v13: Lab) -> None:
    """A second HELLO is BAD_TYPE; the connection stays."""
    v13.refused("A", of.hello(4, 0x31, (4,)), 1, 1)


def test_v011(v13: Lab) -> None:
    """After negotiating 4, a message of version 1 is BAD_VERSION, told in version 4 with the 8 bytes sent."""
    raw = of.message(1, "features_request", b"", 0x41)
    v13.refused("A", raw, 1, 0)
    (told,) = [m for m in v13.A.log if m.name == "error"]
    assert told.version == 4
    assert told.raw[12:] == raw


def test_v013(cold10: Lab) -> None:
    """When the switch goes, all virtual switches go within a second; when it is back, all get a new HELLO."""
    lab = cold10.connect()
    before = {name: lab.conn(name) for name in "ABTU"}
    lab.switch.stop()
    for connection in before.values():
        connection.expect_closed(timeout=1)
    lab.closed.update("ABTU")
    lab.switch.start()
    for name, connection in before.items():
        again = lab.controllers[name].wait_connected(2)
        assert again is not connection
        again.wait_for(lambda again=again: again.up, "handshake")
        assert again.log[0].raw[:4] == b"\x01\x00\x00\x08"
