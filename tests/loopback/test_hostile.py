"""Garbage, half messages, wrong lengths, the mute and the deaf: one connection suffers, nothing else, no traceback."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from functools import partial

import pytest

from tests.emulation import Connection, E, EmulatedController, EmulatedSwitch, wait_until
from tests.emulation import wire as of
from tests.emulation.peer import Peer, abort
from tests.emulation.process import QUICK_TIMERS
from tests.loopback.scene import PORTS_A, VLAN_A, Scene, presented, slice_of
from tests.loopback.shared import Shared

Make = Callable[..., Scene]


# --- controllers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x01\x02\x00\x04\x00\x00\x00\x01",
        b"\x04\x0e\x00\x00\x00\x00\x00\x00" * 4,
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" * 4000,
        b"\x01\x00\x00\x07",
    ],
    ids=["length-4", "length-0", "http", "length-7"],
)
def test_a_controller_that_sends_garbage(scene: Scene, garbage: bytes) -> None:
    a, b = scene.A, scene.B
    a.send(garbage)
    if garbage.startswith(b"GET"):
        # framed by chance as version 0x47: answered or closed, but never believed
        wait_until(lambda: a.closed or a.unseen("error"), "an error or the end")
    else:
        a.expect_closed()
    scene.bob_is_fine(b)
    if a.closed:
        scene.check_works()
    assert scene.B is b


def test_half_a_message_then_silence_then_the_rest(scene: Scene) -> None:
    b = scene.B
    raw = of.flow_mod(scene.version, actions=of.output(scene.version, 2))
    scene.A.send(raw[:11])
    scene.bob_is_fine(b)
    scene.A.send(raw[11:])
    scene.A.barrier()
    assert len(scene.slice_flows(VLAN_A)) == 1


@pytest.mark.parametrize("how", ["local", "reset"])
def test_half_a_message_then_the_end(scene: Scene, how: str) -> None:
    b = scene.B
    a = scene.A
    a.send(of.flow_mod(scene.version, actions=of.output(scene.version, 2))[:20])
    a.close(how)
    scene.bob_is_fine(b)
    scene.check_works()
    assert scene.B is b


def test_byte_at_a_time_from_everybody(patient: Shared, version: int) -> None:
    scene = patient.scene(version)
    try:
        scene.a.chunk = scene.b.chunk = scene.switch.chunk = 1
        scene.up()
        scene.check_works()
    finally:
        scene.close()


def test_many_messages_in_one_write(scene: Scene) -> None:
    version = scene.version
    burst = b"".join(
        of.flow_mod(version, match_=of.match(version, eth_dst=f"02:00:00:00:01:{n:02x}"),
                    actions=of.output(version, 2)) + of.message(version, "echo_request", bytes([n]), n)
        for n in range(200)
    )  # fmt: skip
    scene.A.send(burst)
    scene.A.barrier()
    assert len(scene.slice_flows(VLAN_A)) == 200
    assert [m.body[0] for m in scene.A.unseen("echo_reply")] == list(range(200))


def test_the_largest_message(scene: Scene) -> None:
    payload = bytes(range(256)) * 255
    assert scene.A.echo(payload[: 65535 - 8]).body == payload[: 65535 - 8]


@pytest.mark.parametrize(
    ("raw10", "raw13", "error"),
    [
        (of.message(1, 99, b"", 7), of.message(4, 99, b"", 7), (1, 1)),
        (of.message(4, 5, b"", 7), of.message(1, 5, b"", 7), (1, 0)),
        (of.message(1, "get_config_reply", bytes(4), 7), of.message(4, "get_config_reply", bytes(4), 7), (1, 1)),
        (of.message(1, "packet_in", bytes(30), 7), of.message(4, "packet_in", bytes(30), 7), (1, 1)),
        (of.message(1, "experimenter", b"\0\0\x23\x20\0\0\0\x0f" + bytes(8), 7),
         of.message(4, "experimenter", b"ONF\0" + b"\0\0\x08\xfc" + bytes(8), 7), (1, 3)),
        (of.message(1, "features_request", bytes(4), 7), of.message(4, "features_request", bytes(4), 7), (1, 6)),
        (of.message(1, "barrier_request", bytes(4), 7), of.message(4, "barrier_request", bytes(4), 7), (1, 6)),
        (of.message(1, "flow_mod", bytes(30), 7), of.message(4, "flow_mod", bytes(30), 7), (1, 6)),
        (of.hello(1, 7), of.hello(4, 7, (4,)), (1, 1)),
    ],
    ids=["unknown-type", "other-version", "a-switch's-type", "packet-in", "experimenter", "long-features-request",
         "long-barrier", "short-flow-mod", "second-hello"],
)  # fmt: skip
def test_a_wrong_message_is_answered_with_one_error(
    scene: Scene, raw10: bytes, raw13: bytes, error: tuple[int, int]
) -> None:
    raw = raw10 if scene.version == of.V10 else raw13
    scene.A.send(raw)
    scene.A.expect_error(7, *error, sent=raw)
    scene.A.barrier()
    scene.A.expect_nothing()
    scene.B.expect_nothing()


def test_packet_out_with_lying_lengths(scene10: Scene) -> None:
    raw = bytes.fromhex("010d001800001002ffffffffffff03200000000800020000")
    scene10.A.send(raw)
    scene10.A.expect_error(0x1002, 1, 6, sent=raw)
    scene10.A.barrier()


def test_action_lists_with_wrong_lengths(scene: Scene) -> None:
    for length in (0, 4, 7, 12, 200):
        action = struct.pack("!HHHHII", 0, length, 0, 2, 0, 0)
        xid = scene.A.flow_mod(actions=action)
        scene.A.expect_error(xid, 2, 1)
    scene.A.barrier()
    assert scene.slice_flows() == []


def test_a_controller_whose_hello_does_not_fit(make_scene: Make, version: int) -> None:
    scene = make_scene(version)
    other = of.V13 if version == of.V10 else of.V10
    wrong = EmulatedController(version, name="wrong hello", greet=False)
    scene.others.append(wrong)

    def greet(connection: Connection, msg: of.Message) -> None:
        if msg.name == "hello":
            connection.send(of.hello(other, 9, (other,) if other == of.V13 else None))

    wrong.react = greet
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [wrong.address], PORTS_A), scene.bob()]
    scene.launch()
    b = scene.B
    first = wrong.wait_connected()
    error = first.expect("error")
    assert struct.unpack_from("!HH", error.raw, 8) == (0, 0)
    assert error.version == min(version, other)
    assert error.raw[12:].decode("ascii").strip()
    first.expect_closed()
    wrong.wait_connected(2)  # it tries again
    scene.bob_is_fine(b)


@pytest.mark.parametrize("first", ["features_request", "echo_request"])
def test_a_controller_that_skips_hello(make_scene: Make, first: str) -> None:
    scene = make_scene(of.V10)
    rude = EmulatedController(of.V10, name="no hello", greet=False)
    rude.react = lambda connection, msg: connection.send(of.message(1, first)) if msg.name == "hello" else None
    scene.others.append(rude)
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [rude.address], PORTS_A), scene.bob()]
    scene.launch()
    rude.wait_connected().expect_closed()
    scene.bob_is_fine(scene.B)


def test_a_controller_that_never_says_hello(make_scene: Make, version: int) -> None:
    scene = make_scene(version, timers=QUICK_TIMERS | {"handshake": 0.4})
    mute = EmulatedController(version, name="mute", greet=False)
    scene.others.append(mute)
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [mute.address], PORTS_A), scene.bob()]
    scene.launch()
    mute.wait_connected().expect_closed()
    mute.wait_connected(2)
    scene.bob_is_fine(scene.B)


def test_a_controller_that_stops_answering_echo(make_scene: Make, version: int) -> None:
    scene = make_scene(version, timers=QUICK_TIMERS | {"echo_interval": 0.2, "echo_misses": 2}).up()
    a, b = scene.A, scene.B
    a.answering_echo = False
    a.expect_closed()
    assert scene.A is not a
    scene.bob_is_fine(b)


def asked(peer: Peer, times: int) -> bool:
    """Whether VMOC sent that many ECHO requests."""
    return sum(m.name == "echo_request" for m in peer.log) >= times


def test_idle_connections_stay(make_scene: Make, version: int) -> None:
    """Whoever answers every ECHO at once is alive, however long nothing else is said."""
    scene = make_scene(version, timers=QUICK_TIMERS | {"echo_interval": 0.1, "echo_misses": 2}).up()
    a, b = scene.A, scene.B
    for peer in (a, b, scene.switch.peer):
        peer.wait_for(partial(asked, peer, 8), "8 ECHO requests")
    assert (scene.A, scene.B, len(scene.switch.peers)) == (a, b, 1)


def test_a_controller_that_never_reads(make_scene: Make, version: int) -> None:
    """It loses its own packet-ins; memory stays bounded and the other slice is served meanwhile."""
    scene = make_scene(version)
    deaf = EmulatedController(version, name="deaf")
    scene.others.append(deaf)
    scene.vmoc.config["slices"] = [slice_of("alice", VLAN_A, [deaf.address], PORTS_A), scene.bob()]
    scene.launch()
    a, b = deaf.wait_up(presented(VLAN_A)), scene.B
    a.set_reading(False)
    before = scene.vmoc.resident()
    frame = E(VLAN_A, size=1400)
    for _ in range(30):
        for _ in range(1000):
            scene.switch.packet_in(1, frame)
        scene.bob_is_fine(b)
        assert scene.vmoc.resident() - before < 40e6, "42 MB of packet-ins must not pile up"
    a.set_reading(True)
    scene.fence()
    assert a.closed or len(a.unseen("packet_in")) < 30000


def test_a_controller_that_floods_does_not_starve_the_other(scene: Scene) -> None:
    version = scene.version
    b = scene.B
    mod = of.flow_mod(version, match_=of.match(version, in_port=1), actions=of.output(version, 2))
    scene.A.send(mod * 3000)
    scene.bob_is_fine(b)
    scene.A.barrier(30)
    assert len(scene.slice_flows(VLAN_A)) == 1


# --- switches --------------------------------------------------------------------------------------------------------


def test_a_switch_that_sends_garbage(scene: Scene) -> None:
    first = scene.switch.peer
    scene.switch.send_raw(b"\x01\x02\x00\x03\x00\x00\x00\x00")
    first.expect_closed()
    scene.switch.wait_connected(2)
    scene.check_works()


@pytest.mark.parametrize(
    "first",
    [b"\x01\x0a\x00\x08\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\x01"],
    ids=["packet-in", "http", "zeros", "one-byte"],
)
def test_a_stranger_on_the_switch_port(hasty_scene: Scene, first: bytes) -> None:
    scene = hasty_scene
    b = scene.B
    with socket.create_connection(scene.vmoc.address, timeout=8) as stranger:
        stranger.sendall(first)
        while stranger.recv(4096):
            pass
    scene.bob_is_fine(b)


def test_connections_that_come_and_go(scene10: Scene) -> None:
    b = scene10.B
    for number in range(50):
        stranger = socket.create_connection(scene10.vmoc.address, timeout=8)
        if number % 3 == 1:
            stranger.sendall(of.hello(4, 1, (4,)))
        if number % 3 == 2:
            stranger.sendall(of.hello(1)[:5])
        abort(stranger) if number % 2 else stranger.close()
    scene10.bob_is_fine(b)
    scene10.check_works()


def test_a_switch_that_never_says_hello(hasty_scene: Scene) -> None:
    scene = hasty_scene
    b = scene.B
    mute = EmulatedSwitch(scene.vmoc.address, 0xBB, scene.version, mute=["*"], reconnect=None)
    scene.others.append(mute)
    mute.start()
    mute.wait_for(lambda: mute.peers and mute.peers[0].closed, "end of the mute connection")
    scene.bob_is_fine(b)


@pytest.mark.parametrize("missing", ["features_reply", "stats_reply", "barrier_reply"])
def test_a_switch_that_leaves_the_handshake_unanswered(hasty_scene: Scene, missing: str) -> None:
    """It is dropped, or goes on without that answer; the good switch never notices."""
    scene = hasty_scene
    a, b = scene.A, scene.B
    silent = EmulatedSwitch(scene.vmoc.address, 0xBB, scene.version, mute=[missing])
    scene.others.append(silent)
    silent.start()
    if missing == "features_reply":
        silent.wait_for(lambda: len(silent.peers) > 1, "second attempt")
    else:
        silent.wait_connected()
    scene.bob_is_fine(b)
    assert scene.A is a
    silent.mute.clear()


def test_a_switch_that_stops_answering_echo(make_scene: Make, version: int) -> None:
    scene = make_scene(version, timers=QUICK_TIMERS | {"echo_interval": 0.2, "echo_misses": 2}).up()
    a = scene.A
    scene.switch.mute.add("echo_reply")
    a.expect_closed()
    scene.switch.mute.clear()
    scene.switch.wait_for(lambda: len(scene.switch.peers) > 1, "reconnect")
    scene.check_works()


def test_a_switch_that_stops_reading_slows_its_controllers(scene: Scene) -> None:
    """Memory stays bounded because TCP pushes back on the controller, and nothing is lost."""
    version = scene.version
    a = scene.A
    scene.switch.peer.set_reading(False)
    before = scene.vmoc.resident()
    frame = E(VLAN_A, size=1400)
    out = of.packet_out(version, frame, of.output(version, 2), in_port=1)
    a.send(out * 40000)
    seen = [a.backlog]

    def pushed_back() -> bool:
        """Nothing more has left for 20 looks in a row."""
        seen.append(a.backlog)
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_until(pushed_back, "push-back")
    assert seen[-1] > 0
    assert scene.vmoc.resident() - before < 60e6
    scene.switch.peer.set_reading(True)
    a.barrier(60)
    assert len(scene.switch.transmitted) == 40000
    scene.check_works()


def test_a_switch_that_never_answers_a_request(hasty_scene: Scene) -> None:
    scene, version = hasty_scene, hasty_scene.version
    b = scene.B
    scene.switch.mute.add("stats_reply")
    scene.A.send(of.stats_request(version, "flow", of.flow_stats_body(version), xid=0x77))
    scene.bob_is_fine(b)
    scene.A.barrier()
    scene.switch.mute.clear()
    assert scene.A.flow_stats() == []
    assert not [m for m in scene.A.log if m.xid == 0x77 and m.name == "stats_reply"]


def test_a_statistics_reply_with_an_entry_of_length_zero(scene: Scene) -> None:
    version = scene.version
    scene.switch.mute.add("stats_reply")
    scene.A.send(of.stats_request(version, "flow", of.flow_stats_body(version), xid=0x77))
    scene.switch.wait_for(
        lambda: any(m.name == "stats_request" and m.raw[8:10] == b"\0\x01" for m in scene.switch.peer.inbox), "request"
    )
    request = [m for m in scene.switch.log("stats_request") if m.raw[8:10] == b"\0\x01"][-1]
    scene.switch.mute.clear()
    head = struct.pack("!HH" if version == of.V10 else "!HH4x", 1, 0)
    scene.switch.send_raw(of.message(version, "stats_reply", head + bytes(96), request.xid))
    scene.switch.echo()
    scene.B.echo()
    scene.bob_is_fine(scene.B)
    assert scene.A.flow_stats() == []


@pytest.mark.parametrize("kind", ["error", "barrier_reply", "stats_reply", "flow_removed", "type77"])
def test_answers_nobody_asked_for(scene: Scene, kind: str) -> None:
    body = {"error": struct.pack("!HH", 1, 1) + bytes(64), "flow_removed": bytes(80)}.get(kind, bytes(16))
    if kind == "flow_removed" and scene.version == of.V13:
        body = bytes(40) + of.match(of.V13, vlan=VLAN_A)
    scene.switch.send_raw(of.message(scene.version, 77 if kind == "type77" else kind, body, 0x4242))
    scene.switch.echo()
    scene.A.expect_nothing()
    scene.B.expect_nothing()


def test_packet_ins_that_are_cut_short(scene: Scene) -> None:
    """Each is dropped and counted; several in a minute cost the switch its connection, and no more than that."""
    for size in (8, 9, 17, 18, 30, 35):
        whole = of.message(scene.version, "packet_in", (bytes(10) + E(VLAN_A))[: size - 8])
        with contextlib.suppress(ConnectionError):
            scene.switch.send_raw(whole)
    with contextlib.suppress(ConnectionError, AssertionError):
        scene.switch.echo()
    for connection in (*scene.a.connections, *scene.b.connections):
        assert not connection.unseen("packet_in")
    if scene.switch.peer.closed or len(scene.switch.peers) > 1:
        scene.switch.wait_connected(2)
        for connection in (scene.a.connections[0], scene.b.connections[0]):
            connection.expect_closed()
    scene.check_works()


# --- one datapath id, two connections --------------------------------------------------------------------------------


def test_a_second_connection_of_a_live_switch_is_refused(hasty_scene: Scene) -> None:
    scene = hasty_scene
    a, b = scene.A, scene.B
    double = EmulatedSwitch(scene.vmoc.address, scene.dpid, scene.version, reconnect=None)
    scene.others.append(double)
    double.start()
    double.wait_for(lambda: double.peers and double.peers[0].closed, "refusal")
    assert scene.A is a
    scene.bob_is_fine(b)


def test_a_second_connection_replaces_one_that_hangs(hasty_scene: Scene) -> None:
    scene = hasty_scene
    scene.switch.mute.add("*")
    scene.switch.reconnect = None
    first = scene.switch.peer
    double = EmulatedSwitch(scene.vmoc.address, scene.dpid, scene.version)
    scene.others.append(double)
    old = scene.A
    double.start()
    first.expect_closed()
    old.expect_closed()
    new, _ = scene.wait_up()
    double.packet_in(1, E(VLAN_A))
    assert new.expect_packet_in().data == E(VLAN_A)


def test_versions_are_negotiated_down_to_what_the_switch_speaks(patient: Shared) -> None:
    """HELLO of version 3 without a bitmap means "3 and earlier": the common version is 1.0."""
    scene = patient.scene(of.V10)
    try:
        scene.switch.mute.add("hello")
        scene.launch()
        scene.switch.wait_for(lambda: scene.switch.peers, "connection")
        scene.switch.send_raw(of.hello(3, 1))
        scene.check_works()
        assert {m.version for m in scene.switch.log()[1:]} == {1}
        assert scene.A.log[0].raw[:4] == b"\x01\x00\x00\x08"
    finally:
        scene.close()


def test_a_switch_without_a_common_version_is_told_so(scene10: Scene) -> None:
    with socket.create_connection(scene10.vmoc.address, timeout=8) as stranger:
        stranger.sendall(of.hello(6, 1, (6,)))
        heard = b""
        while part := stranger.recv(4096):
            heard += part
    messages = []
    while len(heard) >= 8:
        length = int.from_bytes(heard[2:4], "big")
        messages.append(of.Message(heard[:length]))
        heard = heard[length:]
    assert [m.name for m in messages if m.name != "hello"] == ["error"]
    assert of.parse_error(messages[-1]).type == 0
