"""What parent and workers tell each other survives the way, and nothing else does."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from enum import Enum
from types import MappingProxyType

import pytest

from vmoc.daemon.asking import BusyError, NotKnownError
from vmoc.daemon.workers.messages import (
    PART,
    PIECE,
    Asked,
    Changed,
    Handed,
    Happened,
    MessageError,
    Raised,
    changes,
    pack,
    unpack,
)
from vmoc.errors import VmocError
from vmoc.events import Event, Kind
from vmoc.model import Attachment, Endpoint, Limits, Origin, Policy, Segment, Slice, Timers
from vmoc.mux.effects import HandOver, OperatorInput, SwitchAppeared
from vmoc.status import Connection, Lifecycle, SliceStatus, Usage

RICH = Slice(
    "alice",
    (
        Segment(
            101, (Endpoint("tcp", "::1", 6653),), attachments=(Attachment(1, frozenset({1}), {1: frozenset({7})}),)
        ),
        Segment(102, attachments=(Attachment(2, None, MappingProxyType({})),)),
    ),
    Limits(max_flows=3),
    MappingProxyType({"owner": "a"}),
    origin=Origin.API,
    expire_time=1.5,
)


@pytest.mark.parametrize(
    "message",
    [
        (RICH, Slice("bob")),
        Changed(3, (b"abc",), ("carol",)),
        Handed(7, "198.51.100.1:4", True, HandOver(1, (0xAA, 101), 4, b"\4\6")),
        Happened((Event(Kind.REFUSED, slice="a", detail={"rule": "x"}, raw=b"\1"), OperatorInput((1, 0), b"x")), 2),
        Event(Kind.SWITCH_UP),
        SwitchAppeared((1, 0), 4, b"f", (b"p",), "peer"),
        Asked(1, "switches", ("", 10), {"timeout": 5.0}, 5.0),
        (Policy(), Timers(), Usage(1, 2)),
        SliceStatus("a", True, (), {Lifecycle.ACTIVE: 1}),
        Counter({("a", "b"): 2}),
        Connection(1, "a", 2, 3, 4, 5, "tcp:h:1", "active", 1.0, None, "", None, 0, "1.0", "equal", False),
    ],
)  # fmt: skip
def test_what_is_written_is_read(message: object):
    assert unpack(pack(message)) == message


def test_enums_are_written_by_value_whatever_python_does(monkeypatch: pytest.MonkeyPatch):
    """As 3.11.2 does, the one of Debian 12."""
    monkeypatch.setattr(Enum, "__reduce_ex__", lambda one, _: (getattr, (type(one), one.name)))
    event = Event(Kind.REFUSED, slice="a")
    with pytest.raises(MessageError, match="getattr"):
        unpack(pickle.dumps(event.kind))
    assert unpack(pack((RICH, event))) == (RICH, event)


@pytest.mark.parametrize(("put", "drop"), [(0, 0), (1, 0), (0, PART + 1), (PART + PIECE + 1, 3), (2 * PART, PART)])
def test_a_change_comes_whole_and_in_pieces(put: int, drop: int):
    slices, names = [Slice(f"s{number}") for number in range(put)], [f"d{number}" for number in range(drop)]
    told = [unpack(pack(one)) for one in changes(7, slices, names)]
    pieces = [unpack(piece) for one in told for piece in one.put]
    assert [one for piece in pieces for one in piece] == slices and all(len(piece) <= PIECE for piece in pieces)
    assert [name for one in told for name in one.drop] == names
    assert [one.more for one in told] == [True] * (len(told) - 1) + [False] and {one.number for one in told} == {7}


def test_errors_come_back_as_what_they_were():
    busy = Raised.of(BusyError("try later", 0.25))
    error = unpack(pack(busy)).error()
    assert type(error) is BusyError and str(error) == "try later" and error.retry_after == 0.25
    assert type(Raised.of(NotKnownError("no")).error()) is NotKnownError


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("vmoc.model", "Slice"), ("vmoc.errors", "nothing")])
def test_only_errors_of_vmoc_are_raised(module: str, name: str):
    with pytest.raises(MessageError):
        Raised(module, name, "", {}).error()


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("data", [pickle.dumps(Evil()), pickle.dumps(eval), b"", b"\x80\x05nonsense", pack(RICH)[:-3]])
def test_anything_else_is_refused(data: bytes):
    with pytest.raises(MessageError):
        unpack(data)


def test_the_error_is_one_of_vmocs():
    assert issubclass(MessageError, VmocError)
