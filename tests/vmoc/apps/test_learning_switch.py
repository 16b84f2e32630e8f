"""The default controller as its own process, seen by switches made of bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.emulation.waiting import wait_until
from tests.vmoc.apps.raw_switch import (
    ADD,
    CONTROLLER,
    DELETE,
    FLOOD,
    NO_BUFFER,
    NONE,
    Flow,
    PacketOut,
    RawSwitch,
    frame,
    mac,
    message,
    packet_in,
    port_status,
    read_flow,
    read_packet_out,
)

A, B = mac(1), mac(2)
BROADCAST = b"\xff" * 6
MODULE = "vmoc.apps.learning_switch"
Program = subprocess.Popen[bytes]


@contextmanager
def program(*arguments: str) -> Iterator[Program]:
    command = [sys.executable, "-m", MODULE, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def address_of(process: Program) -> tuple[str, int]:
    assert process.stdout is not None
    word, address = process.stdout.readline().decode().split()
    assert word == "listening"
    host, _, number = address.rpartition(":")
    return host.strip("[]"), int(number)


@pytest.fixture(scope="module")
def controller() -> Iterator[tuple[str, int]]:
    with program("--idle-timeout", "33") as process:
        yield address_of(process)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
        assert process.returncode == 0
        assert b"Traceback" not in log, log.decode()


@pytest.fixture(params=[1, 4], ids=["1.0", "1.3"])
def switch(request: pytest.FixtureRequest, controller: tuple[str, int]) -> Iterator[RawSwitch]:
    with RawSwitch(controller, request.param, dpid=101 << 48 | request.param) as connected:
        connected.first = [read_flow(data) for data in connected.handshake()]  # type: ignore[attr-defined]
        yield connected


def vlan_match(version: int, vlan: int | None) -> int:
    if version == 1:
        return 0xFFFF if vlan is None else vlan
    return 0 if vlan is None else 0x1000 | vlan


def next_packet_out(switch: RawSwitch) -> PacketOut:
    """Skips nothing: the next message must be a PACKET_OUT."""
    return read_packet_out(switch.receive())


def next_flow(switch: RawSwitch) -> Flow:
    return read_flow(switch.receive())


def teach(switch: RawSwitch, source: bytes, in_port: int, vlan: int | None = 101) -> None:
    switch.send(packet_in(switch.version, in_port, frame(source, BROADCAST, vlan)))
    assert next_packet_out(switch).outputs[0][0] == FLOOD[switch.version]


def test_starts_with_an_empty_table_and_sees_what_no_flow_matches(switch: RawSwitch) -> None:
    first: list[Flow] = switch.first  # type: ignore[attr-defined]
    assert (first[0].command, first[0].match, first[0].out_port) == (DELETE, {}, NONE[switch.version])
    if switch.version == 4:
        miss = first[1]
        assert (miss.command, miss.match, miss.priority, miss.idle) == (ADD, {}, 0, 0)
        assert miss.outputs == [(CONTROLLER[4], 0xFFFF)]


@pytest.mark.parametrize("vlan", [101, None], ids=["tagged", "untagged"])
def test_learns_forwards_and_installs(switch: RawSwitch, vlan: int | None) -> None:
    version = switch.version
    data = frame(A, B, vlan)
    switch.send(packet_in(version, 1, data))
    flood = next_packet_out(switch)
    assert (flood.buffer_id, flood.in_port, flood.data) == (NO_BUFFER, 1, data)
    assert [out[0] for out in flood.outputs] == [FLOOD[version]]

    data = frame(B, A, vlan)
    switch.send(packet_in(version, 2, data))
    flow = next_flow(switch)
    assert flow.match == {"in_port": 2, "vlan": vlan_match(version, vlan), "source": B, "target": A}
    assert (flow.command, flow.idle, flow.hard, flow.buffer_id) == (ADD, 33, 0, NO_BUFFER)
    assert [out[0] for out in flow.outputs] == [1]
    out = next_packet_out(switch)
    assert (out.in_port, out.data, [port for port, _ in out.outputs]) == (2, data, [1])


def test_a_buffered_packet_is_named_not_copied(switch: RawSwitch) -> None:
    teach(switch, A, 1)
    switch.send(packet_in(switch.version, 2, frame(B, A)[:64], buffer_id=77, total=1500))
    assert next_flow(switch).buffer_id == NO_BUFFER
    out = next_packet_out(switch)
    assert (out.buffer_id, out.data, out.outputs[0][0]) == (77, b"", 1)


def test_a_part_of_a_packet_without_a_buffer_is_not_forwarded(switch: RawSwitch) -> None:
    switch.send(packet_in(switch.version, 2, frame(B, BROADCAST)[:40], total=1500))
    whole = frame(B, BROADCAST)
    switch.send(packet_in(switch.version, 2, whole))
    assert next_packet_out(switch).data == whole


def test_lldp_is_never_flooded(switch: RawSwitch) -> None:
    nearest = bytes.fromhex("0180c200000e")
    switch.send(packet_in(switch.version, 1, frame(A, nearest, 101, 0x88CC)))
    switch.send(packet_in(switch.version, 1, frame(A, nearest, None, 0x88CC)))
    switch.send(packet_in(switch.version, 1, frame(A, BROADCAST, None, 0x88CC)))
    teach(switch, A, 1)  # the very next thing it sends


def test_a_move_deletes_the_flows_from_and_to_the_station(switch: RawSwitch) -> None:
    vlan = vlan_match(switch.version, 101)
    teach(switch, A, 1)
    switch.send(packet_in(switch.version, 3, frame(A, BROADCAST, kind=0x0806)))
    deleted = [next_flow(switch), next_flow(switch)]
    assert [flow.command for flow in deleted] == [DELETE, DELETE]
    assert [flow.match for flow in deleted] == [{"vlan": vlan, "source": A}, {"vlan": vlan, "target": A}]
    next_packet_out(switch)
    switch.send(packet_in(switch.version, 2, frame(B, A)))
    assert next_flow(switch).outputs[0][0] == 3


def test_same_port_destinations_get_a_flow_that_drops(switch: RawSwitch) -> None:
    teach(switch, A, 1)
    switch.send(packet_in(switch.version, 1, frame(B, A), buffer_id=5))
    flow, out = next_flow(switch), next_packet_out(switch)
    assert (flow.command, flow.outputs) == (ADD, [])
    assert (out.buffer_id, out.outputs) == (5, [])


def test_a_port_that_goes_down_is_forgotten_with_its_flows(switch: RawSwitch) -> None:
    teach(switch, A, 1)
    switch.send(port_status(switch.version, 2, 1, link_down=True))
    deleted = [next_flow(switch), next_flow(switch)]
    assert deleted[0].match == {"in_port": 1} and deleted[0].out_port == NONE[switch.version]
    assert deleted[1].match == {} and deleted[1].out_port == 1
    assert [flow.command for flow in deleted] == [DELETE, DELETE]
    switch.send(packet_in(switch.version, 2, frame(B, A)))
    assert next_packet_out(switch).outputs[0][0] == FLOOD[switch.version]


def test_a_deleted_port_starts_everything_afresh(switch: RawSwitch) -> None:
    teach(switch, A, 1)
    switch.send(port_status(switch.version, 1, 1))
    flow = next_flow(switch)
    assert (flow.command, flow.match) == (DELETE, {})
    assert switch.receive()[1] in (18, 20)  # the barrier
    if switch.version == 4:
        assert next_flow(switch).priority == 0


def test_a_port_that_comes_up_changes_nothing(switch: RawSwitch) -> None:
    teach(switch, A, 1)
    switch.send(port_status(switch.version, 2, 1) + port_status(switch.version, 0, 4))
    switch.send(packet_in(switch.version, 2, frame(B, A)))
    assert next_flow(switch).outputs[0][0] == 1


def test_datapaths_share_nothing(switch: RawSwitch, controller: tuple[str, int]) -> None:
    teach(switch, A, 1)
    with RawSwitch(controller, switch.version, dpid=102 << 48 | 1) as other:
        other.handshake()
        other.send(packet_in(other.version, 2, frame(B, A)))
        assert next_packet_out(other).outputs[0][0] == FLOOD[other.version]


def test_a_datapath_that_comes_back_is_a_new_one(switch: RawSwitch, controller: tuple[str, int]) -> None:
    teach(switch, A, 1)
    with RawSwitch(controller, switch.version, dpid=switch.dpid) as again:
        again.handshake()
        again.send(packet_in(again.version, 2, frame(B, A)))
        assert next_packet_out(again).outputs[0][0] == FLOOD[again.version]


def test_echo_is_answered_with_its_payload(switch: RawSwitch) -> None:
    switch.send(message(switch.version, 2, 99, b"are you there"))
    assert switch.receive() == message(switch.version, 3, 99, b"are you there")


def test_it_negotiates_with_the_bitmap(controller: tuple[str, int]) -> None:
    with RawSwitch(controller, 4) as switch:
        hello = switch.receive()
        assert (hello[0], hello[1]) == (4, 0)
        assert struct.unpack_from("!HHI", hello, 8) == (1, 8, 1 << 1 | 1 << 4)
        # A newer switch that knows 1.0 besides: header 1.5, bitmap {1.0, 1.5}, padding after a longer element.
        element = struct.pack("!HHII4x", 1, 12, 1 << 1 | 1 << 6, 0)
        switch.send(message(6, 0, 1, element))
        assert switch.receive()[:2] == b"\x01\x05"


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(message(1, 10), id="no hello"),
        pytest.param(message(4, 0, 0, struct.pack("!HH4x", 1, 0)), id="element of length 0"),
        pytest.param(b"\x04\0\0\x04\0\0\0\0", id="length below 8"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" * 2000, id="another protocol"),
    ],
)
def test_bad_input_closes_that_connection_only(switch: RawSwitch, controller: tuple[str, int], opening: bytes) -> None:
    with RawSwitch(controller, 4) as bad:
        bad.receive()
        bad.send(opening)
        with pytest.raises((EOFError, ConnectionError)):
            bad.receive()
    teach(switch, A, 1)


def test_no_common_version_is_said_before_closing(controller: tuple[str, int]) -> None:
    with RawSwitch(controller, 4) as new:
        new.receive()
        new.send(message(5, 0, 3, struct.pack("!HHI", 1, 8, 1 << 5)))
        answer = new.receive()
        assert (answer[1], answer[4:12]) == (1, struct.pack("!IHH", 3, 0, 0))
        with pytest.raises(EOFError):
            new.receive()


def test_messages_that_would_hang_os_ken_are_passed_over(switch: RawSwitch) -> None:
    kind = 17 if switch.version == 1 else 19
    body = struct.pack("!HH", 1, 0) + bytes(0 if switch.version == 1 else 4) + bytes(96)
    switch.send(message(switch.version, kind, 5, body))
    switch.send(message(switch.version, 200, 5))
    teach(switch, A, 1)


def test_hundreds_of_datapaths_cost_no_threads_and_leave_none_behind() -> None:
    with program() as process:
        address = address_of(process)
        tasks = Path(f"/proc/{process.pid}/task")
        before = len(list(tasks.iterdir()))
        switches = [RawSwitch(address, 4, dpid=number << 48 | 1) for number in range(1, 101)]
        for switch in switches:
            switch.handshake()
        during = len(list(tasks.iterdir()))
        for switch in switches:
            switch.socket.close()
        sockets = wait_until(lambda: _sockets(process.pid) <= 4, "the connections to be closed")
        # A thread of the start may have ended meanwhile.
        assert during <= before and sockets and len(list(tasks.iterdir())) <= before


def _sockets(pid: int) -> int:
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(entry).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


class Cabled:
    """Two switches, port 2 to port 2 and port 3 to port 3; what goes out of port 1 is kept."""

    def __init__(self, address: tuple[str, int], version: int) -> None:
        self.switches = [RawSwitch(address, version, dpid=number << 48 | 7) for number in (1, 2)]
        for switch in self.switches:
            switch.handshake()
            switch.socket.settimeout(0.05)
        self.heard: list[list[bytes]] = [[], []]
        self.carried = 0
        self.resets = 0

    def close(self) -> None:
        for switch in self.switches:
            switch.socket.close()

    def say(self, at: int, data: bytes) -> None:
        self.switches[at].send(packet_in(self.switches[at].version, 1, data))

    def carry(self) -> bool:
        """Take what both controllers' ends said so far to where it goes."""
        moved = False
        for at, switch in enumerate(self.switches):
            with contextlib.suppress(TimeoutError):
                while True:
                    data = switch.receive()
                    moved = True
                    if data[1] == 13:
                        self._emit(at, read_packet_out(data))
                    elif data[1] == 14 and read_flow(data).match == {}:
                        self.resets += read_flow(data).command == DELETE
        return moved

    def _emit(self, at: int, out: PacketOut) -> None:
        ports = [port for port, _ in out.outputs]
        version = self.switches[at].version
        for port in [1, 2, 3] if ports == [FLOOD[version]] else ports:
            if port == out.in_port:
                continue
            if port == 1:
                self.heard[at].append(out.data)
            else:
                self.carried += 1
                assert self.carried < 500, "a storm"
                self.switches[1 - at].send(packet_in(version, port, out.data))


@pytest.mark.parametrize("version", [1, 4], ids=["1.0", "1.3"])
def test_two_cables_between_two_switches_do_not_storm_and_one_of_them_is_used(
    controller: tuple[str, int], version: int
) -> None:
    pair = Cabled(controller, version)
    try:
        pair.say(0, frame(A, BROADCAST))
        wait_until(lambda: not pair.carry() and pair.heard[1], "the broadcast to end")
        wait_until(lambda: pair.carry() is not None and pair.resets >= 2, "the tree", timeout=15)
        wait_until(lambda: not pair.carry(), "what comes with it")
        pair.heard = [[], []]
        shout = frame(A, BROADCAST, kind=0x0806)
        pair.say(0, shout)
        wait_until(lambda: not pair.carry() and pair.heard[1], "the next broadcast")
        assert pair.heard[1].count(shout) == 1 and pair.heard[0].count(shout) == 0
    finally:
        pair.close()


def test_it_ends_with_its_standard_input_if_asked_to() -> None:
    with program("--follow-stdin") as process:
        address_of(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, program("--port", str(taken.getsockname()[1])) as process:
        assert process.wait(10) == 1
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert said.count("\n") == 1 and "already in use" in said
