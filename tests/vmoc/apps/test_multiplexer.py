"""Other people's os-ken applications meet the core's switches."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from os_ken.base.app_manager import SERVICE_BRICKS, AppManager, lookup_service_brick

from tests.emulation.waiting import wait_until
from tests.vmoc.apps.core import Core, running
from tests.vmoc.apps.raw_switch import features, frame, mac, message, packet_in, port_desc, port_status
from tests.vmoc.apps.sample_app import Sample
from vmoc.apps import multiplexer
from vmoc.apps.bridge import Bridge
from vmoc.apps.manager import AppError
from vmoc.mux.effects import SwitchAppeared

SAMPLE = "tests.vmoc.apps.sample_app"
BROKEN = "tests.vmoc.apps.broken_app"


@pytest.fixture
def core() -> Iterator[Core]:
    with running(SAMPLE) as made:
        yield made


def saw(what: str, value: Any) -> None:
    wait_until(lambda: (what, value) in list(Sample.seen), f"{what} {value}; seen {Sample.seen}")


def names() -> list[str]:
    return [name for name, _ in list(Sample.seen)]


@pytest.mark.parametrize("version", [1, 4])
def test_a_switch_appears_with_all_the_usual_events(core: Core, version: int) -> None:
    core.appear(7, version, (1, 2, 3))
    saw("main", 7)
    saw("dp", (7, True, [1, 2, 3]))
    saw("enter", (7, [1, 2, 3]))
    own = [name for name in names() if name in ("features", "port-desc", "main")]
    assert own == (["features", "main"] if version == 1 else ["features", "port-desc", "main"])
    assert set(SERVICE_BRICKS["dpset"].dps) == {7}
    assert core.bridge.counters.dropped_inputs == 0


def test_ports_may_come_in_parts(core: Core) -> None:
    key = (7, 0)
    parts = (port_desc((1, 2), more=True), port_desc((3,)))
    core.bridge.sink(SwitchAppeared(key, 4, features(4, 7, ()), parts, "peer"))
    saw("dp", (7, True, [1, 2, 3]))


@pytest.mark.parametrize("version", [1, 4])
def test_requests_go_out_and_answers_come_back_under_their_xid(core: Core, version: int) -> None:
    kind, reply = (16, 17) if version == 1 else (18, 19)
    padding = b"" if version == 1 else bytes(4)

    def answer(key: tuple[int, int], request: bytes) -> None:
        if request[1] == kind and request[8:10] == b"\0\0":
            xid = struct.unpack_from("!I", request, 4)[0]
            text = b"somebody".ljust(1056, b"\0")
            core.input(key, message(version, reply, xid, bytes(4) + padding + text))

    core.answer = answer
    key = core.appear(7, version, (1,))
    wait_until(lambda: "desc" in names(), "the answer")
    request = core.of_kind(key, kind)[0]
    assert ("desc", (struct.unpack_from("!I", request, 4)[0], b"somebody")) in Sample.seen


def test_packet_ins_and_errors_arrive(core: Core) -> None:
    key = core.appear(7, 4, (1, 2))
    data = frame(mac(1), mac(2), None)
    core.input(key, packet_in(4, 2, data))
    core.input(key, message(4, 1, 55, struct.pack("!HH", 5, 4) + bytes(64)))
    saw("packet-in", data)
    saw("error", (55, 5, 4))
    saw("host", ("02:00:00:00:00:01", 2))


@pytest.mark.parametrize("version", [1, 4])
def test_ports_come_and_go(core: Core, version: int) -> None:
    key = core.appear(7, version, (1, 2))
    core.input(key, port_status(version, 0, 3))
    saw("topology-port-add", 3)
    datapath = SERVICE_BRICKS["dpset"].get(7)
    assert sorted(datapath.ports) == [1, 2, 3]
    core.input(key, port_status(version, 1, 1))
    saw("dpset-port-delete", 1)
    assert sorted(datapath.ports) == [2, 3]


def test_a_vanished_switch_is_dead_and_sends_nothing(core: Core) -> None:
    key = core.appear(7, 4, (1,))
    saw("enter", (7, [1]))
    datapath = SERVICE_BRICKS["dpset"].get(7)
    core.vanish(key)
    saw("dead", 7)
    saw("leave", 7)
    saw("dp", (7, False, [1]))
    sent = len(core.sent)
    assert datapath.send_msg(datapath.ofproto_parser.OFPEchoRequest(datapath)) is False
    assert len(core.sent) == sent and not datapath.is_active


def test_a_switch_that_appears_twice_is_dead_in_between(core: Core) -> None:
    core.appear(7, 4, (1,))
    core.appear(7, 1, (1, 2))
    saw("dp", (7, True, [1, 2]))
    assert [name for name in names() if name in ("main", "dead")] == ["main", "dead", "main"]


def test_a_second_switch_of_the_same_dpid_is_not_shown(core: Core) -> None:
    core.appear(7, 4, (1,))
    core.appear(7, 4, (1, 2), native=101)
    core.appear(8, 4, (1,))
    saw("main", 8)
    assert names().count("main") == 2


def test_what_os_ken_cannot_read_is_withheld(core: Core) -> None:
    key = core.appear(7, 4, (1,))
    core.input(key, message(4, 19, 1, struct.pack("!HH4x", 10, 0) + bytes(8)))  # os-ken would loop for ever
    core.input(key, message(4, 10, 1, b"short"))
    data = frame(mac(1), mac(2), None)
    core.input(key, packet_in(4, 1, data))
    saw("packet-in", data)
    app = lookup_service_brick("Multiplexer")
    assert app is not None and app.withheld == 2


def test_a_switch_with_an_unreadable_handshake_is_not_shown(core: Core) -> None:
    core.bridge.sink(SwitchAppeared((7, 0), 4, message(4, 6), (), "peer"))
    core.appear(8, 4, (1,))
    saw("main", 8)
    assert ("main", 7) not in Sample.seen


def test_several_applications_may_send_at_once(core: Core) -> None:
    core.appear(7, 4, (1,))
    saw("enter", (7, [1]))
    datapath = SERVICE_BRICKS["dpset"].get(7)

    def send() -> None:
        for _ in range(200):
            datapath.send_msg(datapath.ofproto_parser.OFPBarrierRequest(datapath))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    barriers = wait_until(lambda: len(found := core.of_kind((7, 0), 20)) == 800 and found, "800 barriers")
    assert len({data[4:8] for data in barriers}) == 800


def test_packet_ins_pass_only_while_somebody_listens_to_them() -> None:
    with running() as core:
        wait_until(lambda: not core.bridge.packet_ins_wanted, "nobody to listen")
    with running(SAMPLE) as core:
        key = core.appear(7, 4, (1,))
        saw("main", 7)
        core.input(key, packet_in(4, 1, frame(mac(1), mac(2), None)))
        saw("packet-in", frame(mac(1), mac(2), None))


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(*_: object) -> None:
        raise AssertionError("os-ken listens")

    monkeypatch.setattr(socket.socket, "bind", listen)
    with running(SAMPLE, "os_ken.topology.switches") as core:
        core.appear(7, 4, (1,))
        saw("enter", (7, [1]))


def test_stopping_leaves_no_thread_and_no_application() -> None:
    before = set(threading.enumerate())
    with running(SAMPLE) as core:
        core.appear(7, 4, (1,))
        saw("main", 7)
    wait_until(lambda: set(threading.enumerate()) <= before, "os-ken's threads to end")
    assert not SERVICE_BRICKS and AppManager._instance is None


@pytest.mark.parametrize(
    ("app", "text"),
    [
        ("no.such.module", "cannot import the os-ken application no.such.module"),
        ("tests.vmoc.apps.raw_switch", "has no os-ken application"),
        (BROKEN, "did not start: ValueError('no configuration')"),
    ],
)
def test_an_application_that_cannot_run_is_one_sentence(app: str, text: str) -> None:
    bridge = Bridge(lambda _: None, lambda _: None)
    with pytest.raises(AppError) as raised:
        multiplexer.start([app], bridge)
    assert text in str(raised.value) and "\n" not in str(raised.value)
    assert not SERVICE_BRICKS and AppManager._instance is None
    with running():
        pass


def test_only_one_os_ken_at_a_time(core: Core) -> None:
    with pytest.raises(AppError, match="already running"):
        multiplexer.start([], core.bridge)
    core.appear(7, 4, (1,))
    saw("main", 7)
