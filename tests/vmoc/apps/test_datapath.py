from __future__ import annotations

import logging
from typing import Any

import pytest
from os_ken.controller.handler import DEAD_DISPATCHER

from tests.vmoc.apps.raw_switch import message
from vmoc.apps.datapath import TransportDatapath


@pytest.fixture
def sent() -> list[tuple[bytes, bool]]:
    return []


@pytest.fixture
def datapath(sent: list[tuple[bytes, bool]]) -> TransportDatapath:
    def transmit(data: bytes, close: bool) -> bool:
        sent.append((data, close))
        return True

    made = TransportDatapath(("192.0.2.1", 1), transmit)
    made.set_version(4)
    return made


def test_messages_get_xids_of_their_own(datapath: TransportDatapath, sent: list[tuple[bytes, bool]]) -> None:
    parser: Any = datapath.ofproto_parser
    datapath.xid = 0
    for _ in range(3):
        assert datapath.send_msg(parser.OFPBarrierRequest(datapath))
    assert len({data[4:8] for data, _ in sent}) == 3
    assert all(data[:4] == b"\x04\x14\x00\x08" for data, _ in sent)


def test_a_given_xid_is_kept(datapath: TransportDatapath, sent: list[tuple[bytes, bool]]) -> None:
    request: Any = datapath.ofproto_parser.OFPEchoRequest(datapath, data=b"x")
    request.xid = 77
    datapath.send_msg(request, close_socket=True)
    assert sent == [(message(4, 2, 77, b"x"), True)]


def test_the_dead_neither_send_nor_receive(datapath: TransportDatapath, sent: list[tuple[bytes, bool]]) -> None:
    datapath.close()
    datapath.close()
    assert datapath.state == DEAD_DISPATCHER and not datapath.is_active
    assert not datapath.send(message(4, 2)) and not datapath.receive(message(4, 3))
    assert sent == [] and datapath.unreadable == 0


def test_what_the_parser_chokes_on_is_one_line(datapath: TransportDatapath, caplog: pytest.LogCaptureFixture) -> None:
    assert not datapath.receive(message(4, 10, 0, b"bad"))
    assert caplog.records == []
    caplog.set_level(logging.WARNING)
    assert not datapath.dispatch(message(4, 10, 0, b"bad"))
    assert datapath.unreadable == 2
    (record,) = caplog.records
    assert record.exc_info is None and "type 10" in record.getMessage()


def test_it_runs_no_loop_of_its_own(datapath: TransportDatapath) -> None:
    with pytest.raises(NotImplementedError):
        datapath.serve()
