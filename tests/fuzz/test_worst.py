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
from tests.emulation.answers import describe_port
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.groupwire import bucket, group_mod, meter_mod, out
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import piece
from vmoc.model import Limits, Policy
from vmoc.mux import admission, audit, proving
from vmoc.mux import switch as switches
from vmoc.mux.effects import Close
from vmoc.mux.flows import Own

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


# -- a switch that says the same over and over -----------------------------------------------------------


def _guard_is_gone(book: Playbook, end: SwitchEnd, version: int) -> bytes:
    datapath = book.mux._switches[0xAA, 0].datapaths[100]
    match, cookie = datapath.guard_identity(300)[3:], (0xFFFE << 48).to_bytes(8, "big")
    body = match + cookie + bytes(32) if version == V10 else cookie + bytes(32) + match
    return of.message(version, "flow_removed", body)


def _a_port_changes(book: Playbook, end: SwitchEnd, version: int) -> bytes:
    return of.message(version, "port_status", bytes((2,)) + bytes(7) + describe_port(version, 0xAA, 1).raw)


def _an_error(book: Playbook, end: SwitchEnd, version: int) -> bytes:
    return of.message(version, "error", struct.pack("!HH", 3, 0) + of.flow_mod(version, "add"))


@pytest.mark.parametrize("version", [V10, V13])
@pytest.mark.parametrize("say", [_guard_is_gone, _a_port_changes, _an_error])
def test_a_chunk_of_one_thing_a_switch_says(version: int, say: Callable[[Playbook, SwitchEnd, int], bytes]) -> None:
    def once() -> float:
        book, end = scene(version, piece("alice", 100, (1, 2)), ports=range(1, 301))
        message = say(book, end, version)
        data = message * (CHUNK // 2 // len(message))
        return timed(lambda: book.mux.south_data(end.cid, data, book.now))[1]

    assert min(once() for _ in range(3)) < LIMIT


GUARDS: dict[str, Policy] = {"guards": Policy(), "admissions": Policy(pipeline="admission")}


@pytest.mark.parametrize("name", GUARDS)
def test_a_part_of_a_dump_full_of_our_own_entries(name: str) -> None:
    """When it comes up, and in an audit: a switch tells 64 KiB of entries like ours on hundreds of ports."""
    ports = range(1, 301)
    own = ports if name == "admissions" else (1, 2)

    def once() -> float:
        book, end = scene(V13, piece("alice", 100, own), ports=ports, n_tables=4, policy=GUARDS[name])
        inside = book.mux._switches[0xAA, 0]
        datapath = inside.datapaths[100]
        identity = datapath.guard_identity(300) if name == "guards" else admission.identity(datapath, 300)
        cookie = 0xFFFE << 48 if name == "guards" else admission.proxy_cookie(datapath, Own.ADMISSION)
        head = struct.pack("!HBxIIHHHH4xQQQ", 48 + len(identity) - 3, 0, 1, 0, 7, 0, 0, 1, cookie, 1, 1)
        part = of.stats_request(V13, "flow", (head + identity[3:]) * 900, flags=1)
        part = part[:1] + b"\x13" + part[2:]
        found = proving._Reconcile(inside, lambda *_: None)
        found._seen, found._foreign, found._unclean, found._deleted = set(), 0, set(), 0
        audited = audit._Audit(inside)
        audited._part(part, book.now)
        spent = timed(lambda: found._part(part, book.now))[1]
        return spent + timed(lambda: [audited._is_stray(one) for one in audited._suspects])[1]

    assert min(once() for _ in range(3)) < LIMIT


def _group_of_many_buckets(book: Playbook) -> tuple[str, bytes]:
    alice = book.at("alice")
    group_mod(alice, 1, (bucket(out(1)) + bucket(out(2))) * 4)
    physical = book.mux._switches[0xAA, 0].datapaths[100].groups.ids[1]
    return "group_desc", struct.pack("!HBxI", 8, 0, physical) * 8000


def _meters_of_nobody(book: Playbook) -> tuple[str, bytes]:
    meter_mod(book.at("alice"), 1)
    return "meter", b""


@pytest.mark.parametrize("ask", [_group_of_many_buckets, _meters_of_nobody])
def test_a_chunk_of_parts_of_one_answer(ask: Callable[[Playbook], tuple[str, bytes]]) -> None:
    """A controller has asked once, and the switch does not end."""

    def once() -> tuple[float, int]:
        book, end = scene(V13, piece("alice", 100, (1, 2), limits=Limits()))
        alice = book.at("alice")
        alice.send(*(of.flow_mod(V13, "add", of.match(V13, eth_dst=n), of.output(V13, 2)) for n in range(300)))
        kind, records = ask(book)
        book.advance(2)
        end.hold("stats_reply")
        alice.stats(kind, struct.pack("!I4x", 0xFFFFFFFF) if kind == "meter" else b"")
        (asked,) = end.take("stats_request")
        part = of.stats_request(V13, kind, records, flags=1, xid=asked.xid)
        data = (part[:1] + b"\x13" + part[2:]) * (CHUNK // len(part))
        _, seconds = timed(lambda: book.mux.south_data(end.cid, data, book.now))
        return seconds, sum(len(chunk) for chunk in book.mux.take().writes.get(alice.cid, ()))

    times, sizes = zip(*(once() for _ in range(3)), strict=True)
    assert min(times) < LIMIT
    assert max(sizes) < 8192


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


@pytest.mark.interpreted
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
