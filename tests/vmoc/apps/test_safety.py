"""os-ken reads everything that passes, and never hangs on it."""

from __future__ import annotations

import signal
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_protocol

from tests.vmoc.apps.raw_switch import features, frame, mac, message, packet_in, port_desc, port_status
from vmoc.apps.safety import safe_for_osken

OXM_PORT = struct.pack("!II", 0x80000004, 3)
OXM_DST = struct.pack("!I6s", 0x80000606, mac(9))
OXM_META = struct.pack("!IQQ", 0x80000510, 1, 3)
ACTION_13 = struct.pack("!HHIH6x", 0, 16, 2, 0xFFFF)
SET_FIELD = struct.pack("!HHIH6x", 25, 16, 0x80000C02, 0x1064)
APPLY = struct.pack("!HH4x", 4, 8 + 32) + ACTION_13 + SET_FIELD


def match(*fields: bytes) -> bytes:
    content = b"".join(fields)
    length = 4 + len(content)
    return struct.pack("!HH", 1, length) + content + bytes(-length % 8)


def flow_13(*instructions: bytes) -> bytes:
    body = match(OXM_PORT, OXM_DST) + b"".join(instructions)
    return struct.pack("!HBxIIHHHH4xQQQ", 48 + len(body), 0, 1, 0, 5, 0, 0, 0, 1, 2, 3) + body


def flow_10(*actions: bytes) -> bytes:
    body = b"".join(actions)
    head = struct.pack("!HBx", 88 + len(body), 0) + bytes(40)
    return head + struct.pack("!IIHHH6xQQQ", 1, 0, 5, 0, 0, 1, 2, 3) + body


def stats(version: int, kind: int, body: bytes) -> bytes:
    if version == 1:
        return message(1, 17, 1, struct.pack("!HH", kind, 0) + body)
    return message(4, 19, 1, struct.pack("!HH4x", kind, 0) + body)


GROUP_DESC = struct.pack("!HBxI", 40, 0, 1) + struct.pack("!HHII4x", 32, 0, 1, 1) + ACTION_13
METER_CONFIG = struct.pack("!HHI", 24, 1, 1) + struct.pack("!HHII4x", 1, 16, 100, 0)
METER = struct.pack("!IH6xIQQII", 1, 56, 0, 0, 0, 0, 0) + bytes(16)
FLOW_REMOVED_13 = struct.pack("!QHBBIIHHQQ", 1, 5, 0, 0, 1, 1, 0, 0, 1, 1) + match(OXM_PORT, OXM_META)

GOOD = {
    "error": (1, message(1, 1, 0, struct.pack("!HH", 1, 6) + message(1, 14))),
    "error 1.3": (4, message(4, 1, 0, struct.pack("!HH", 1, 6) + message(4, 14))),
    "error of an experimenter": (4, message(4, 1, 0, struct.pack("!HHI", 0xFFFF, 6, 1))),
    "echo": (1, message(1, 2, 0, b"text")),
    "echo reply": (4, message(4, 3)),
    "features": (1, features(1, 7, (1, 2))),
    "features 1.3": (4, features(4, 7, ())),
    "get config": (4, message(4, 8, 0, bytes(4))),
    "packet-in": (1, packet_in(1, 1, frame(mac(1), mac(2)))),
    "packet-in 1.3": (4, packet_in(4, 1, frame(mac(1), mac(2)))),
    "empty packet-in": (4, packet_in(4, 1, b"")),
    "flow-removed": (1, message(1, 11, 0, bytes(80))),
    "flow-removed 1.3": (4, message(4, 11, 0, FLOW_REMOVED_13)),
    "port-status": (1, port_status(1, 0, 5)),
    "port-status 1.3": (4, port_status(4, 0, 5)),
    "barrier": (1, message(1, 19)),
    "barrier 1.3": (4, message(4, 21)),
    "desc": (1, stats(1, 0, bytes(1056))),
    "desc 1.3": (4, stats(4, 0, bytes(1056))),
    "flows": (1, stats(1, 1, flow_10(struct.pack("!HHHH", 0, 8, 1, 0)) + flow_10())),
    "flows 1.3": (4, stats(4, 1, flow_13(APPLY) + flow_13() + flow_13(struct.pack("!HHB3x", 1, 8, 1)))),
    "no flows": (4, stats(4, 1, b"")),
    "aggregate": (1, stats(1, 2, bytes(24))),
    "aggregate 1.3": (4, stats(4, 2, bytes(24))),
    "tables": (1, stats(1, 3, bytes(128))),
    "tables 1.3": (4, stats(4, 3, bytes(48))),
    "ports": (1, stats(1, 4, bytes(208))),
    "ports 1.3": (4, stats(4, 4, bytes(224))),
    "queues": (1, stats(1, 5, bytes(64))),
    "queues 1.3": (4, stats(4, 5, bytes(80))),
    "groups": (4, stats(4, 6, struct.pack("!H38x", 56) + bytes(16))),
    "group desc": (4, stats(4, 7, GROUP_DESC + GROUP_DESC)),
    "group features": (4, stats(4, 8, bytes(40))),
    "meters": (4, stats(4, 9, METER)),
    "meter config": (4, stats(4, 10, METER_CONFIG)),
    "meter features": (4, stats(4, 11, bytes(16))),
    "port desc": (4, port_desc((1, 2))),
    "queue config": (1, message(1, 21, 0, bytes(8) + struct.pack("!IH2x", 1, 24) + struct.pack("!HH4xH6x", 1, 16, 5))),
    "queue config 1.3": (
        4,
        message(4, 23, 0, bytes(8) + struct.pack("!IIH6x", 1, 1, 32) + struct.pack("!HH4xH6x", 2, 16, 5)),
    ),
    "role": (4, message(4, 25, 0, bytes(16))),
    "async": (4, message(4, 27, 0, bytes(24))),
}
NO_ENTRY = {
    "flow": stats(4, 1, bytes(56)),
    "flow 1.0": stats(1, 1, bytes(88)),
    "group desc": stats(4, 7, bytes(8)),
    "table features": stats(4, 12, bytes(64)),
    "meter config": stats(4, 10, bytes(8)),
    "queue config": message(4, 23, 0, bytes(8 + 16)),
    "queue property": message(4, 23, 0, bytes(8) + struct.pack("!IIH6x", 1, 1, 32) + bytes(16)),
    "queue property 1.0": message(1, 21, 0, bytes(8) + struct.pack("!IH2x", 1, 16) + bytes(8)),
}


class Hung(BaseException):
    pass


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """os-ken's endless loops are Python, so a signal gets us out of them."""

    def ring(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)  # again and again: one may fall into a garbage collector hook
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def os_ken_reads(version: int, data: bytes) -> object:
    datapath = ofproto_protocol.ProtocolDesc(version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return datapath.ofproto_parser.msg_parser(datapath, version, data[1], len(data), 0, data)


@pytest.mark.parametrize("name", GOOD)
def test_good_messages_pass_and_are_read(name: str) -> None:
    version, data = GOOD[name]
    assert safe_for_osken(data, version)
    with limit(5):
        assert os_ken_reads(version, data) is not None


@pytest.mark.parametrize("name", NO_ENTRY)
def test_entries_of_no_length_do_not_pass(name: str) -> None:
    data = NO_ENTRY[name]
    assert not safe_for_osken(data, data[0])


def test_the_danger_is_real() -> None:
    with pytest.raises(Hung), limit(0.2):
        os_ken_reads(4, NO_ENTRY["queue property"])  # of its endless loops, one that does not eat memory


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(message(4, 10)[:7], id="part of a header"),
        pytest.param(message(4, 3) + b"x", id="more than the header says"),
        pytest.param(message(1, 3), id="another version"),
        pytest.param(message(4, 0), id="hello"),
        pytest.param(message(4, 4, 0, bytes(8)), id="experimenter"),
        pytest.param(message(4, 14, 0, bytes(48)), id="what a controller sends"),
        pytest.param(message(4, 99), id="unknown type"),
        pytest.param(stats(4, 0xFFFF, bytes(8)), id="experimenter statistics"),
        pytest.param(stats(4, 12, bytes(0)), id="table features"),
        pytest.param(packet_in(4, 1, b"")[:-2], id="no padding"),
        pytest.param(message(4, 1, 0, struct.pack("!HH", 0, 0) + b"\xff"), id="text that is not ASCII"),
    ],
)
def test_everything_else_is_withheld(data: bytes) -> None:
    assert not safe_for_osken(data, 4)


@settings(max_examples=400)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_whatever_passes_is_read(name: str, data: st.DataObject) -> None:
    version, good = GOOD[name]
    mutant = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(4, max(4, min(len(mutant) - 1, 140))))
        if place < len(mutant):
            mutant[place] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 8, 16, 24, 0x80, 0xFF]))
    cut = data.draw(st.integers(8, len(mutant)))
    mutant = mutant[: cut if data.draw(st.booleans()) else len(mutant)]
    mutant[2:4] = len(mutant).to_bytes(2)
    if safe_for_osken(bytes(mutant), version):
        with limit(5):
            assert os_ken_reads(version, bytes(mutant)) is not None
