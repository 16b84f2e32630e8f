"""The journal's records: what was written is what is read, in whatever order and however often it is written anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from vmoc.mux.journal import FLOW, FLOW_KIND, GONE, Journal, JournalError, Kept, Notes, replay


def kept(handle: int = 1, **changes: object) -> Kept:
    """All fields different, so that none can take the place of another."""
    one = Kept(handle, 0xAABB, 7, 100, 0x1234, 4, True, 0x64_0000AABB, 99, 5, 17, 0xABC, "alice")
    return replace(one, **changes)  # type: ignore[arg-type]


FULL = kept(
    flows={3: (b"identity 3", b"flow-mod 3", False), 99: (b"identity 99", b"flow-mod 99", True)},
    groups={0x500010: (2, b""), 0x500011: (1, b"group-mod")},
    meters={8: (1, b"flags and bands")},
    no_flood=frozenset((1, 0xFFFE)),
    no_packet_in=frozenset((0xFFFFFFFE,)),
    disowned=True,
)


class Writer:
    """A journal that is on, and everything it has written."""

    def __init__(self) -> None:
        self.journal = Journal(on=True)
        self.written = b""

    def take(self) -> bytes:
        batch = b"".join(self.journal.records)
        self.journal.records.clear()
        self.written += batch
        return batch

    def read(self) -> dict[int, Kept]:
        self.take()
        return {one.handle: one for one in replay([self.written])}

    def begin(self, one: Kept) -> Notes:
        """A virtual datapath that answers for itself with ``one``."""
        notes = self.journal.notes()
        assert notes is not None
        one.handle = notes.handle
        self.journal.hold(notes.handle, one)
        return notes


@pytest.mark.parametrize("one", [kept(), FULL, kept(owner="ünï-1", hides_tag=False, no_flood=frozenset((3,)))])
def test_all_of_a_virtual_datapath_is_read_back(one: Kept) -> None:
    data = b"".join(one.records())
    assert replay([data]) == [one]
    assert replay([b"", data, b""]) == [one], "a batch may be empty"


def test_group_ids_are_counted_on_from_the_last_one() -> None:
    one = kept(number=3, groups={0x500011: (1, b"")})
    (found,) = replay([b"".join(one.records())])
    assert found.number == 0x11


def test_changes_are_read_in_order() -> None:
    writer = Writer()
    notes = writer.begin(kept(flows={1: (b"one", b"first", False), 2: (b"two", b"second", True)}))
    notes.actions(1, True, b"other actions")
    notes.actions(77, True, b"of an entry that is gone")
    notes.forget(2)
    notes.forget(2, 7)
    notes.slot(9)
    notes.group(0x900001, 5, b"five")
    notes.group(0x900002, 6, b"six")
    notes.no_group(0x900001)
    notes.no_group(0x900001)
    notes.meter(3, 1, b"three")
    notes.meter(4, 2, b"four")
    notes.no_meter(3)
    notes.ports(frozenset((4, 2)), frozenset())
    (found,) = writer.read().values()
    assert found.flows == {1: (b"one", b"other actions", True)}
    assert (found.slot, found.number) == (9, 2)
    assert (found.groups, found.meters) == ({0x900002: (6, b"six")}, {4: (2, b"four")})
    assert (found.no_flood, found.no_packet_in) == ({2, 4}, frozenset())
    notes.empty()
    notes.ports(frozenset(), frozenset((9,)))
    (found,) = writer.read().values()
    assert (found.flows, found.no_flood, found.no_packet_in) == ({}, frozenset(), {9})
    assert found.serial == 99, "no serial is given out twice"


def test_handles_are_not_mixed_up() -> None:
    writer = Writer()
    first, second = writer.begin(kept(owner="first")), writer.begin(kept(owner="second"))
    assert first.handle != second.handle
    second.slot(1)
    first.slot(2)
    assert [(one.owner, one.slot) for one in writer.read().values()] == [("first", 2), ("second", 1)]
    writer.journal.gone(first.handle)
    first.slot(3)  # too late
    assert [(one.owner, one.slot) for one in writer.read().values()] == [("second", 1)]
    again = writer.begin(kept(owner="again"))
    assert again.handle not in (first.handle, second.handle)


def test_a_journal_that_is_off_writes_nothing() -> None:
    journal = Journal()
    assert journal.notes() is None
    journal.disown(1)
    journal.gone(1)
    assert not journal.records


def test_what_is_disowned_has_no_flows_to_look_for_and_stays_until_it_is_gone() -> None:
    writer = Writer()
    one = replace(FULL, disowned=False)
    handle = writer.begin(one).handle
    assert writer.journal.left(one.key) == []
    writer.journal.disown(handle)
    expected = replace(FULL, handle=handle, flows={})
    assert writer.read() == {handle: expected}
    assert writer.journal.left(one.key) == [expected]
    assert writer.journal.left((one.dpid, 0)) == [], "another switch's"
    writer.journal.disown(handle)
    assert writer.take() == b"", "once is enough"
    writer.journal.gone(handle)
    writer.journal.gone(handle)
    assert writer.read() == {} and writer.journal.left(one.key) == []


def test_it_goes_on_where_the_one_before_ended() -> None:
    journal = Journal(on=True)
    journal.restore([kept(4), kept(9), kept(2)])
    assert not journal.records, "they are in the file"
    notes = journal.notes()
    assert notes is not None and notes.handle == 10
    claimed = journal.notes(9)
    assert claimed is not None and claimed.handle == 9
    journal.hold(9, kept(9, owner="claimed"), write=False)
    assert not journal.records
    journal.rewrite()
    while journal.rewrite_some():
        pass
    found = replay([b"".join(journal.records)])
    assert [(one.handle, one.owner) for one in found] == [(4, "alice"), (9, "claimed"), (2, "alice")]


class Datapath:
    """Something that changes all the time and always writes down how."""

    def __init__(self, writer: Writer, random_: random.Random, owner: str) -> None:
        self.now = kept(owner=owner)
        self.random = random_
        self.notes = writer.begin(self.now)
        writer.journal.hold(self.notes.handle, self, write=False)

    def kept(self) -> Kept:
        return replace(self.now, flows=dict(self.now.flows), groups=dict(self.now.groups), meters=dict(self.now.meters))

    def change(self) -> None:
        now, notes, choose = self.now, self.notes, self.random
        serial, physical = choose.randrange(1, 6), choose.randrange(1, 4)
        what = choose.randrange(8)
        data = choose.randbytes(choose.randrange(6))
        if what == 0:
            floods = choose.random() < 0.5
            if serial in now.flows:
                now.flows[serial] = (now.flows[serial][0], data, floods)
                notes.actions(serial, floods, data)
            else:
                now.flows[serial] = (b"identity", data, floods)
                notes.extend((FLOW.pack(FLOW_KIND, notes.handle, serial, floods, 8, len(data)), b"identity", data))
        elif what == 1:
            now.flows.pop(serial, None)
            notes.forget(serial)
        elif what == 2:
            now.groups[now.slot << 20 | physical] = (serial, data)
            now.number = physical
            notes.group(now.slot << 20 | physical, serial, data)
        elif what == 3:
            now.groups.pop(now.slot << 20 | physical, None)
            notes.no_group(now.slot << 20 | physical)
        elif what == 4:
            now.meters[physical] = (serial, data)
            notes.meter(physical, serial, data)
        elif what == 5:
            now.meters.pop(physical, None)
            notes.no_meter(physical)
        elif what == 6:
            now.no_flood, now.no_packet_in = frozenset((serial,)), frozenset((physical,))
            notes.ports(now.no_flood, now.no_packet_in)
        else:
            now.flows.clear()
            notes.empty()


@pytest.mark.parametrize("seed", range(30))
def test_written_anew_while_it_is_written_it_says_the_same(seed: int) -> None:
    """The new part alone, read after the rewriting has ended, and both parts at any time."""
    choose = random.Random(seed)
    writer = Writer()
    living = [Datapath(writer, choose, f"s{number}") for number in range(4)]

    def some_changes() -> None:
        for _ in range(choose.randrange(12)):
            choose.choice(living).change()
        if choose.random() < 0.3:
            living.append(Datapath(writer, choose, f"s{len(living)}"))
        if choose.random() < 0.3:
            ended = living.pop(choose.randrange(len(living)))
            writer.journal.gone(ended.notes.handle)

    def truth() -> dict[int, Kept]:
        return {one.notes.handle: replace(one.now, number=0) for one in living}

    def told(data: bytes) -> dict[int, Kept]:
        return {one.handle: replace(one, number=0) for one in replay([data])}

    some_changes()
    writer.take()
    before, writer.written = writer.written, b""
    writer.journal.rewrite()
    while writer.journal.rewrite_some():
        writer.take()
        some_changes()
        writer.take()
        assert told(before + writer.written) == truth()
    assert told(writer.written) == truth(), "the old part is not needed any more"
    assert not writer.journal.rewrite_some()


# -- what is not a journal -----------------------------------------------------------------------------


RECORDS: dict[str, Callable[[Notes], None]] = {
    "actions": lambda notes: notes.actions(3, True, b"data"),
    "forget": lambda notes: notes.forget(3),
    "forget several": lambda notes: notes.forget(3, 1 << 47, 5),
    "empty": lambda notes: notes.empty(),
    "slot": lambda notes: notes.slot(3),
    "group": lambda notes: notes.group(1, 2, b"data"),
    "no_group": lambda notes: notes.no_group(1),
    "meter": lambda notes: notes.meter(1, 2, b"data"),
    "no_meter": lambda notes: notes.no_meter(1),
    "ports": lambda notes: notes.ports(frozenset((1,)), frozenset((2, 3))),
}


def record(name: str) -> bytes:
    pieces: list[bytes] = []
    RECORDS[name](Notes(1, pieces.extend))
    return b"".join(pieces)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_cut_short_is_noticed(name: str) -> None:
    """A batch is whole or not there, by its checksum; one that ends within a record was not written by us."""
    whole = b"".join(FULL.records()) + record(name)
    assert replay([whole])
    start = len(b"".join(FULL.records()))
    for length in range(start + 1, len(whole)):
        with pytest.raises(JournalError):
            replay([whole[:length]])


def test_a_virtual_datapath_that_is_cut_short_is_noticed() -> None:
    for length in range(1, len(b"".join(kept().records()))):
        with pytest.raises(JournalError):
            replay([b"".join(kept().records())[:length]])


@pytest.mark.parametrize("kind", [0, GONE + 1, 255])
def test_a_kind_nobody_writes_is_noticed(kind: int) -> None:
    with pytest.raises(JournalError, match=f"a record is of kind {kind}"):
        replay([bytes((kind, 0, 0, 0, 1))])


def test_a_name_that_is_no_text_is_noticed() -> None:
    data = b"".join(kept(owner="alice").records()).replace(b"alice", b"\xff\xfe\xff\xfe\xff")
    with pytest.raises(JournalError, match="not as it should be"):
        replay([data])


def test_anything_at_all_is_read_or_refused() -> None:
    choose = random.Random(7)
    whole = b"".join(FULL.records()) + b"".join(record(name) for name in RECORDS)
    refused = 0
    for _ in range(3000):
        data = bytearray(whole if choose.random() < 0.7 else choose.randbytes(choose.randrange(200)))
        for _ in range(choose.randrange(1, 4)):
            if data:
                data[choose.randrange(len(data))] = choose.randrange(256)
        try:
            replay([bytes(data)])
        except JournalError:
            refused += 1
    assert refused > 300


def test_records_without_their_virtual_datapath_are_of_one_that_is_gone() -> None:
    assert replay([b"".join(record(name) for name in RECORDS)]) == []
