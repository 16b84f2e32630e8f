"""TABLE_FEATURES: what is left of the switch's own, and that it is asked once."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V13, ControllerEnd, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, with_limits
from vmoc import errors
from vmoc.errors import Refused
from vmoc.events import Kind
from vmoc.model import Policy, Timers
from vmoc.mux.tablefeatures import Trimmer, split_records
from vmoc.openflow.v13 import oxm
from vmoc.policy.grant import Grant

GRANT = Grant(4, 100, frozenset((1, 2)), n_tables=4)
QUEUES = {port: frozenset((7,)) for port in (1, 2)}
MATCH, WILDCARDS, SET_FIELDS = 8, 10, (12, 13, 14, 15)
WRITE, APPLY = (4, 5), (6, 7)


def prop(kind: int, data: bytes) -> bytes:
    return struct.pack("!HH", kind, 4 + len(data)) + data + bytes(-(4 + len(data)) % 8)


def ids(*kinds: int) -> bytes:
    return b"".join(struct.pack("!HH", kind, 4) for kind in kinds)


def fields(*numbers: int, masked: bool = False) -> bytes:
    return b"".join(struct.pack("!HBB", 0x8000, number << 1 | masked, 4) for number in numbers)


def record(*properties: bytes, table: int = 0, capacity: int = 1 << 20) -> bytes:
    body = b"".join(properties)
    head = struct.pack("!HB5x32sQQII", 64 + len(body), table, b"name", 1, 2, 3, capacity)
    return head + body


def read(data: bytes) -> dict[int, bytes]:
    """The properties of one record."""
    assert struct.unpack_from("!H", data)[0] == len(data)
    found, position = {}, 64
    while position < len(data):
        kind, length = struct.unpack_from("!HH", data, position)
        found[kind] = data[position + 4 : position + length]
        position += length + 7 & ~7
        assert position <= len(data)
    return found


def kinds_of(data: bytes) -> list[int]:
    return [kind for kind, _ in struct.iter_unpack("!HH", data)]


def numbers_of(data: bytes) -> list[int]:
    return [header[2] >> 1 for (header,) in struct.iter_unpack("!4s", data)]


def trim(grant: Grant, *properties: bytes) -> dict[int, bytes]:
    trimmed = Trimmer(grant, 10).trim(record(*properties))
    assert trimmed is not None
    return read(trimmed)


# -- one record --------------------------------------------------------------------------------------


def test_head_and_capacity() -> None:
    assert Trimmer(GRANT, 10).trim(record()) == record(capacity=10)
    assert Trimmer(GRANT, 10).trim(record(capacity=5)) == record(capacity=5)
    assert Trimmer(GRANT, 0).trim(record()) == record()


def test_tables_it_does_not_have() -> None:
    assert Trimmer(GRANT, 10).trim(record(table=3)) is not None
    assert Trimmer(GRANT, 10).trim(record(table=4)) is None
    assert trim(GRANT, prop(2, bytes((1, 2, 3, 4, 253))), prop(3, b"")) == {2: bytes((1, 2, 3)), 3: b""}


ALL_ACTIONS = (0, *range(1, 9), 11, 12, *range(15, 28))
PLAIN = [0, 11, 12, 15, 16, 22, 23, 24, 25]


@pytest.mark.parametrize(
    ("changes", "in_set", "in_list"),
    [
        ({}, PLAIN, PLAIN),
        ({"queues": QUEUES}, sorted([*PLAIN, 21]), sorted([*PLAIN, 21])),
        ({"policy": Policy(qinq=True)}, sorted([*PLAIN, 17, 18]), sorted([*PLAIN, 17, 18])),
        ({"policy": Policy(qinq=True), "hides_tag": True}, PLAIN, PLAIN),
        ({"policy": Policy(mpls=True)}, PLAIN, sorted([*PLAIN, 19, 20])),
    ],
    ids=["plain", "queues", "qinq", "qinq unseen", "mpls"],
)
def test_actions(changes: dict[str, Any], in_set: list[int], in_list: list[int]) -> None:
    got = trim(replace(GRANT, **changes), *[prop(kind, ids(*ALL_ACTIONS)) for kind in (*WRITE, *APPLY)])
    assert [kinds_of(got[kind]) for kind in (*WRITE, *APPLY)] == [in_set, in_set, in_list, in_list]


def test_instructions() -> None:
    got = trim(GRANT, *[prop(kind, ids(1, 2, 3, 4, 5, 6, 7) + struct.pack("!HHI", 0xFFFF, 8, 9)) for kind in (0, 1)])
    assert kinds_of(got[0]) == kinds_of(got[1]) == [1, 2, 3, 4, 5, 6]


EVERYTHING = prop(0xFFFE, bytes(8)), prop(0xFFFF, bytes(8))


def test_experimenters_are_not_offered() -> None:
    alien = struct.pack("!HBBI", 0xFFFF, 2, 8, 0x4F4E4600) + struct.pack("!HBB", 0x0001, 0, 4)
    got = trim(GRANT, *EVERYTHING, prop(MATCH, alien + fields(0)), prop(APPLY[0], struct.pack("!HHI", 0xFFFF, 8, 9)))
    assert got == {MATCH: fields(0), APPLY[0]: b""}


@pytest.mark.parametrize("hides_tag", [False, True])
@pytest.mark.parametrize("pcp", ["pass", "reject"])
def test_fields(hides_tag: bool, pcp: str) -> None:
    grant = replace(GRANT, hides_tag=hides_tag, policy=Policy(pcp=pcp))
    lists = [prop(kind, fields(*range(45))) for kind in (MATCH, WILDCARDS, *SET_FIELDS)]
    got = trim(grant, *lists)
    matchable = [number for number in oxm.FIELDS if not (hides_tag and number == oxm.VLAN_PCP)]
    assert numbers_of(got[MATCH]) == numbers_of(got[WILDCARDS]) == sorted(matchable)
    unwanted = {0, 1, 2, 5, 10, 38, 39} | ({6, 7} if hides_tag else {7} if pcp == "reject" else set())
    for kind in SET_FIELDS:
        assert numbers_of(got[kind]) == sorted(oxm.FIELDS.keys() - unwanted)


def test_masks_and_what_nobody_knows_stay_as_they_are() -> None:
    got = trim(GRANT, prop(MATCH, fields(3, masked=True)), prop(99, b"\1\2\3"))
    assert got == {MATCH: fields(3, masked=True), 99: b"\1\2\3"}


@pytest.mark.parametrize(
    "bad",
    [
        struct.pack("!HH", 0, 3) + bytes(4),
        struct.pack("!HH", 0, 99) + bytes(4),
        b"\0\0",
        prop(4, struct.pack("!HH", 0, 3)),
        prop(4, struct.pack("!HH", 0, 8)),
    ],
)
def test_a_property_that_does_not_fit(bad: bytes) -> None:
    with pytest.raises(Refused) as caught:
        Trimmer(GRANT, 10).trim(record(bad))
    assert caught.value.reason is errors.BAD_LENGTH


def test_records_are_told_apart() -> None:
    both = [record(table=1), record(prop(2, b"\1"), table=2)]
    assert split_records(b"".join(both)) == both
    assert split_records(bytes(16) + both[0], 16) == both[:1]
    for bad in (both[0][:-1], struct.pack("!H", 63) + bytes(62), b"\0\x40"):
        with pytest.raises(Refused):
            split_records(bad)


# -- through the mux ---------------------------------------------------------------------------------


def tables(end: ControllerEnd, xid: int | None = None) -> dict[int, dict[int, bytes]]:
    parts = end.stats_replies(end.stats("table_features") if xid is None else xid)
    assert [flags for flags, _ in parts] == [1] * (len(parts) - 1) + [0]
    found = {}
    for _, body in parts:
        assert len(body) < 0xFFF0
        for one in split_records(body):
            found[one[2]] = read(one)
    return found


def asked(switch: SwitchEnd) -> int:
    number = of.STATS[V13]["table_features"]
    return sum(struct.unpack_from("!H", message.raw, 8)[0] == number for message in switch.log("stats_request"))


def test_a_slice_sees_its_own_tables() -> None:
    book, switch = scene(V13, ALICE, BOB, TINA, n_tables=6, policy=Policy(max_tables=3))
    alice = tables(book.at("alice"))
    assert list(alice) == [0, 1, 2]
    assert alice[0][2] == bytes((1, 2))
    assert kinds_of(alice[0][6]) == [0, 11, 12, 21, 22, 23, 24, 25]
    assert 6 in numbers_of(alice[0][14])
    assert 6 not in numbers_of(tables(book.at("tina"))[0][14])
    assert 21 not in kinds_of(tables(book.at("bob"))[0][6])
    assert asked(switch) == 0, "the answer is known since the switch came"


def test_it_is_asked_once_for_a_connection() -> None:
    book = Playbook((ALICE,))
    switch = book.switch(V13)
    tables(book.at("alice"))
    assert asked(switch) == 1
    model = switch.model
    switch.close()
    switch = book.switch(model=model)
    book.advance(2)
    tables(book.at("alice"))
    assert asked(switch) == 1


def test_setting_features_is_refused() -> None:
    book, _ = scene(V13)
    alice = book.at("alice")
    alice.error(alice.stats("table_features", record()), (13, 5))


def test_many_tables_cost_more() -> None:
    book, _ = scene(V13, with_limits(ALICE, stats_rate=4), n_tables=254)
    alice = book.at("alice")
    assert len(tables(alice)) == 254
    alice.stats("desc")
    assert alice.paused, "several fragments are several requests' worth"
    book.advance(5)
    assert len(alice.take("stats_reply")) == 1


def unanswered() -> tuple[Playbook, SwitchEnd]:
    """The switch is up and has not told its table features yet."""
    book = Playbook((ALICE, BOB), timers=Timers(request=2, audit=0))
    switch = book.dial_in(version=V13)
    proper = switch.model._on_stats_request
    switch.model.late = []  # type: ignore[attr-defined]

    def answer(message: Any) -> None:
        if struct.unpack_from("!H", message.raw, 8)[0] == of.STATS[V13]["table_features"]:
            switch.model.late.append(message)  # type: ignore[attr-defined]
        else:
            proper(message)

    switch.model._on_stats_request = answer  # type: ignore[method-assign]
    switch.send(of.hello(V13, 1, (4,)))
    for name in ("alice", "bob"):
        book.at(name).take()
    return book, switch


def tell(switch: SwitchEnd) -> None:
    """Now it does."""
    switch.does(lambda model: type(model)._on_stats_request(model, model.late.pop()))  # type: ignore[attr-defined]


def test_answers_stay_in_order_while_the_switch_is_asked() -> None:
    book, switch = unanswered()
    alice, bob = book.at("alice"), book.at("bob")
    first = alice.stats("table_features")
    alice.request("barrier_request")
    alice.stats("desc")
    bob.request("get_config_request")
    second = bob.stats("table_features")
    assert not alice.log("stats_reply")
    assert [message.name for message in bob.log()] == ["get_config_reply"]
    tell(switch)
    assert len(tables(bob, second)) == 4
    kinds = [struct.unpack_from("!H", m.raw, 8)[0] if m.name == "stats_reply" else m.name for m in alice.log()]
    assert kinds == [of.STATS[V13]["table_features"], "barrier_reply", of.STATS[V13]["desc"]]
    assert len(tables(alice, first)) == 4
    assert asked(switch) == 1


def test_a_controller_that_left_meanwhile_is_not_written_to() -> None:
    book, switch = unanswered()
    book.at("alice").stats("table_features")
    book.at("alice").close()
    tell(switch)
    assert not book.told(Kind.MALFORMED)


@pytest.mark.parametrize("how", ["error", "silence", "nonsense", "twice"])
def test_a_switch_that_does_not_tell(how: str) -> None:
    book, switch = unanswered()
    alice = book.at("alice")
    xid = alice.stats("table_features")
    question = switch.model.late[0]  # type: ignore[attr-defined]
    head = struct.pack("!HH4x", of.STATS[V13]["table_features"], 0)
    if how == "error":
        switch.error(question, 1, 2)
    elif how == "silence":
        book.advance(5)
    elif how == "twice":  # eight megabytes of such, to be looked through for everybody who asks
        switch.send(of.message(V13, "stats_reply", head + record() + record(), question.xid))
    else:
        more = struct.pack("!HH4x", of.STATS[V13]["table_features"], 1)
        switch.send(of.message(V13, "stats_reply", more + bytes(7), question.xid))
        switch.send(of.message(V13, "stats_reply", head + record(), question.xid))
    alice.error(xid, (1, 2))
    alice.error(alice.stats("table_features"), (1, 2))
    assert not alice.log("stats_reply")
    assert asked(switch) == 1


def test_a_record_nobody_can_read_is_not_passed_on() -> None:
    book, switch = unanswered()
    alice = book.at("alice")
    xid = alice.stats("table_features")
    head = struct.pack("!HH4x", of.STATS[V13]["table_features"], 0)
    question = switch.model.late[0]  # type: ignore[attr-defined]
    switch.send(of.message(V13, "stats_reply", head + record(struct.pack("!HH", 0, 99) + bytes(4)), question.xid))
    alice.error(xid, (1, 2))
