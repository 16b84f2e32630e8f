"""The dearest chunks and answers one can think of: each costs a bounded time, and a bounded amount of memory."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from random import Random

import pytest

from fuzz.watch import LIMIT, timed, weight
from tests.emulation import E
from tests.emulation import wire as of
from tests.vmoc.mux.playbook import V10, V13, Playbook, piece, scene
from vmoc.model import Limits
from vmoc.mux import switch as switches
from vmoc.mux.effects import Close

CHUNK = 256_000
"""Bytes, as much as the event loop hands over at once."""
PORTS = range(1, 49)


def _questions(version: int) -> dict[str, bytes]:
    found = {
        "echo": of.message(version, "echo_request"),
        "features": of.message(version, "features_request"),
        "configuration": of.message(version, "get_config_request"),
        "not a controller's": of.message(version, "packet_in"),
        "another version": b"\x09" + of.message(version, "features_request")[1:],
        "barrier": of.message(version, "barrier_request"),
        "experimenter": of.message(version, "experimenter", bytes(8)),
        "description": of.stats_request(version, "desc"),
        "tables": of.stats_request(version, "table"),
        "ports": of.stats_request(version, "port", of.port_stats_body(version)),
        "flows": of.stats_request(version, "flow", of.flow_stats_body(version)),
        "queues": of.message(version, "queue_config_request", struct.pack("!H2x" if version == V10 else "!I4x", 2)),
        "no flow-mod": of.message(version, "flow_mod"),
        "flow-mod": of.flow_mod(version, "add"),
        "flow-mod to all": of.flow_mod(version, "add", None, of.output(version, "flood")),
        "delete": of.flow_mod(version, "delete"),
        "modify": of.flow_mod(version, "modify"),
        "foreign VLAN": of.flow_mod(version, "add", of.match(version, vlan=77)),
        "packet-out to all": of.packet_out(version, E(100), of.output(version, "all")),
        "port-mod": of.message(version, "port_mod", bytes(24 if version == V10 else 32)),
    }
    if version == V13:
        found |= {
            "role": of.message(version, "role_request", struct.pack("!I4xQ", 2, 0)),
            "masks": of.message(version, "set_async", bytes(24)),
            "table features": of.stats_request(version, "table_features"),
            "port descriptions": of.stats_request(version, "port_desc"),
            "delete groups": of.message(version, "group_mod", struct.pack("!HBxI", 2, 0, 0xFFFFFFFC)),
            "delete meters": of.message(version, "meter_mod", struct.pack("!HHI", 2, 0, 0xFFFFFFFF)),
        }
    return found


@pytest.mark.parametrize(("version", "name"), [(v, name) for v in (V10, V13) for name in _questions(v)])
def test_a_chunk_of_one_question_over_and_over(version: int, name: str) -> None:
    question = _questions(version)[name]
    data = question * (CHUNK // len(question))

    def once() -> tuple[float, int]:
        book, _ = scene(version, piece("alice", 100, PORTS, limits=Limits()), ports=PORTS, n_tables=254)
        cid = book.at("alice").cid
        _, seconds = timed(lambda: book.mux.north_data(cid, data, book.now))
        return seconds, sum(len(chunk) for chunks in book.mux.take().writes.values() for chunk in chunks)

    times, sizes = zip(*(once() for _ in range(2)), strict=True)
    if min(times) > LIMIT:
        times = (*times, once()[0])
    assert min(times) < LIMIT
    assert max(sizes) < 3_000_000


@pytest.mark.parametrize("version", [V10, V13])
def test_a_chunk_of_questions_about_a_thousand_ports(version: int) -> None:
    """Each FEATURES_REPLY of 1.0 describes them all."""
    ports, question = range(1, 1001), of.message(version, "features_request")

    def once() -> tuple[float, int]:
        book, _ = scene(version, piece("alice", 100, ports, limits=Limits()), ports=ports)
        cid = book.at("alice").cid
        _, seconds = timed(lambda: book.mux.north_data(cid, question * (CHUNK // 8), book.now))
        return seconds, sum(len(chunk) for chunks in book.mux.take().writes.values() for chunk in chunks)

    times, sizes = zip(*(once() for _ in range(2)), strict=True)
    assert min(times) < LIMIT
    assert max(sizes) < 3_000_000


# -- a switch that never finishes an answer ------------------------------------------------------------


def _flows(number: int) -> bytes:
    random = Random(number)
    entry = struct.Struct("!HBxIIHHHH4xQQQ")
    return b"".join(
        entry.pack(56, 0, 1, 0, n, 0, 0, 1, random.getrandbits(64), 1, 1) + of.match(V13) for n in range(1000)
    )


ENDLESS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "flows": (1, _flows),
    "groups": (7, lambda number: b"".join(struct.pack("!HBxI", 8, 0, number * 7000 + n) for n in range(7000))),
    "meters": (10, lambda number: b"".join(struct.pack("!HHI", 8, 0, number * 7000 + n + 1) for n in range(7000))),
    "table features": (12, lambda number: struct.pack("!HB5x", 64, 1) + Random(number).randbytes(56)),
    "ports": (
        13,
        lambda n: b"".join(struct.pack("!I4x6s2x16s8I", n * 900 + i + 1, b"", b"", *[0] * 8) for i in range(900)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_end_ends_the_connection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, items = ENDLESS[name]
    monkeypatch.setattr(switches, "LONGEST_DUMP", 1 << 20)
    monkeypatch.setattr(switches, "LONGEST_ANSWER", 1 << 18)
    book = Playbook((piece("alice", 100, (1, 2)),))
    end = book.dial_in(version=V13, dpid=0xAA)
    asked: list[int] = []
    answer = end.model._on_stats_request

    def all_but_one(message: of.Message) -> None:
        if struct.unpack_from("!H", message.raw, 8)[0] == kind:
            asked.append(message.xid)
        else:
            answer(message)

    end.model._on_stats_request = all_but_one  # type: ignore[method-assign]
    end.send(of.hello(V13, 1, (V13,)))
    book.advance(1)
    sent = 0
    while end.open and sent < 4 << 20:
        part = of.stats_request(V13, kind, items(sent), flags=1, xid=asked[-1])
        part = part[:1] + b"\x13" + part[2:]
        sent += len(part)
        book.mux.south_data(end.cid, part, book.now)
        closings = [effect for effect in book.mux.take().effects if isinstance(effect, Close)]
        end.open = not closings
    assert not end.open
    gc.collect()
    assert weight(book.mux) < 12 << 20
