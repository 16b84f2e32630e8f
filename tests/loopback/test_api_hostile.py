"""A hostile caller of a running service: the experimenters' controllers and their packets do not notice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from tests.emulation import E
from tests.emulation import wire as of
from tests.loopback.scene import VLAN_A, VLAN_B, Scene
from vmoc.v1 import events_pb2 as e
from vmoc.v1 import events_pb2_grpc, server_pb2, server_pb2_grpc, slices_pb2_grpc, switches_pb2_grpc
from vmoc.v1 import resources_pb2 as pb
from vmoc.v1 import slices_pb2 as m
from vmoc.v1 import switches_pb2 as s

CALLERS = 4
ROUNDS = 30
MOST = [("grpc.max_send_message_length", 64 << 20)]


def address(scene: Scene) -> str:
    scene.vmoc.wait_log("the API is at")
    return str(scene.vmoc.config["grpc"]["listen"])


@contextmanager
def meanwhile(attack: Callable[[threading.Event], None]) -> Iterator[None]:
    """``attack`` in threads of its own, until the block ends."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            attack(stop)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not failures, failures


def check_packets(scene: Scene) -> None:
    """Every packet-in reaches its owner and nobody else, on connections that were there before."""
    a, b = scene.A, scene.B
    for turn in range(ROUNDS):
        mark = f"02:00:00:00:01:{turn:02x}"
        for vlan, connection in ((VLAN_A, a), (VLAN_B, b)):
            frame = E(vlan, src=mark)
            scene.switch.packet_in(2, frame)
            connection.expect_packet_in(lambda p, frame=frame: p.data == frame)  # type: ignore[misc]
        a.barrier()
        b.barrier()
    assert (a, b) == (scene.A, scene.B)


def alive(where: str) -> None:
    with grpc.insecure_channel(where) as channel:
        server_pb2_grpc.ServerServiceStub(channel).GetServerInfo(
            server_pb2.GetServerInfoRequest(), timeout=30, wait_for_ready=True
        )


def test_packets_that_come_one_by_one_without_end(scene13: Scene) -> None:
    """However long a worker looks for the next: whoever calls the API is answered, and so is the other slice."""
    where, a, b = address(scene13), scene13.A, scene13.B

    def trickle(stop: threading.Event) -> None:
        while not stop.wait(100e-6):
            scene13.switch.packet_in(1, E(VLAN_A))

    with meanwhile(trickle):
        for _ in range(10):
            alive(where)
            scene13.bob_is_fine(b)
    assert (a, b) == (scene13.A, scene13.B) and a.unseen("packet_in")


@pytest.mark.slow
def test_a_flood_of_calls(scene13: Scene) -> None:
    where = address(scene13)
    scene13.check_works()

    def attack(stop: threading.Event) -> None:
        with grpc.insecure_channel(where) as channel:
            slices, switches = slices_pb2_grpc.SliceServiceStub(channel), switches_pb2_grpc.SwitchServiceStub(channel)
            bad = pb.Slice(slice_id="flood", segments=[pb.Segment(vlan_id=VLAN_A)] * 500)
            while not stop.is_set():
                calls = [
                    call
                    for _ in range(25)
                    for call in (
                        slices.ListSlices.future(m.ListSlicesRequest(view=m.SLICE_VIEW_FULL), timeout=30),
                        slices.RegisterSlice.future(m.RegisterSliceRequest(slice=bad), timeout=30),
                        switches.ListFlows.future(s.ListFlowsRequest(dpid=f"{scene13.dpid:#x}"), timeout=30),
                        slices.ListVlans.future(m.ListVlansRequest(), timeout=30),
                    )
                ]
                codes = {call.code() for call in calls}
                assert not codes & {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}, codes

    with meanwhile(attack):
        check_packets(scene13)
    alive(where)


@pytest.mark.slow
def test_messages_that_are_too_large_or_no_messages_at_all(scene13: Scene) -> None:
    where = address(scene13)
    host, port = where.split(":")

    def attack(stop: threading.Event) -> None:
        with grpc.insecure_channel(where, options=MOST) as channel:
            call = channel.unary_unary("/vmoc.v1.SliceService/SyncSlices")
            while not stop.is_set():
                for body, code in (
                    (bytes(17 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED),
                    (b"\xff" * 100_000, grpc.StatusCode.INVALID_ARGUMENT),
                ):
                    with pytest.raises(grpc.RpcError) as caught:
                        call(body, timeout=30)
                    assert caught.value.code() is code
                with socket.create_connection((host, int(port)), timeout=10) as raw:
                    raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 5000)

    with meanwhile(attack):
        check_packets(scene13)
    alive(where)


@pytest.mark.slow
def test_readers_that_never_read(scene13: Scene) -> None:
    where = address(scene13)
    scene13.check_works()
    with grpc.insecure_channel(where) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        # Their first answer says that they have begun; after that nobody takes anything.
        readers = [stub.WatchEvents(e.WatchEventsRequest(resume_token="earliest")) for _ in range(100)]
        for reader in readers:
            next(reader)
        a = scene13.A
        for _ in range(300):  # each refused, with an event
            a.flow_mod(actions=of.output(of.V13, 5))  # not her port
        check_packets(scene13)
        alive(where)
        for reader in readers:
            reader.cancel()
