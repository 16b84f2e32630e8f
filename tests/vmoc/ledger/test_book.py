"""The book: what each change does to the registry, the store and who is told; and every way to be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.vmoc.ledger.ledgers import NOON, Ledger, at, fails, one
from vmoc.config import Vlans
from vmoc.config.ownership import OwnAddress
from vmoc.events import Kind
from vmoc.ledger import Once, Outcome, Rules
from vmoc.ledger import errors as e
from vmoc.ledger.book import KEEP_ANSWERS
from vmoc.ledger.rules import MAX_SLICES
from vmoc.model import Attachment, Origin, Segment, Slice
from vmoc.registry import ConflictKind
from vmoc.store import SqliteStore, StoredSlice, StoreError

A, B = one("a", at(1, 10)), one("b", at(2, 10))


def once(name: str, digest: bytes = b"d", caller: str = "am") -> Once:
    return Once(caller, name, digest, lambda outcome: repr([x.slice.id for x in outcome.entries]).encode())


# -- register ------------------------------------------------------------------------------------------------------


def test_what_is_registered_is_stored_adopted_and_told() -> None:
    ledger = Ledger()
    outcome = ledger.book.register([A, B])
    assert outcome.added == ("a", "b") and not outcome.changed and not outcome.removed
    assert [x.slice for x in outcome.entries] == [A, B]
    assert [row.slice for row in ledger.store.slices()] == [A, B]
    assert dict(ledger.registry.snapshot.slices) == {"a": A, "b": B}
    (plan,) = ledger.told
    assert plan.added == ("a", "b") and plan.snapshot is ledger.registry.snapshot
    assert ledger.waited == 1
    assert ledger.book.get("a") == outcome.entries[0]
    assert outcome.entries[0].create_time == outcome.entries[0].update_time == NOON


def test_the_same_again_changes_nothing() -> None:
    ledger = Ledger()
    first = ledger.book.register([A]).entries
    ledger.now += 1
    outcome = ledger.book.register([A])
    assert outcome.entries == first and not outcome.added and not outcome.changed
    assert len(ledger.told) == 1


def test_a_replacement_keeps_its_birthday_and_gets_a_new_etag() -> None:
    ledger = Ledger()
    (first,) = ledger.book.register([A]).entries
    ledger.now += 5
    (second,) = ledger.book.register([one("a", at(3, 10))], etags={"a": first.etag}).entries
    assert (second.create_time, second.update_time) == (NOON, NOON + 5) and second.etag != first.etag
    error = fails(e.EtagMismatchError, lambda: ledger.book.register([A], etags={"a": first.etag}), ledger)
    assert (error.slice, error.expected, error.found) == ("a", first.etag, second.etag)
    assert fails(e.EtagMismatchError, lambda: ledger.book.register([B], etags={"b": "1"}), ledger).found is None


def test_an_etag_does_not_come_back_with_a_slice_made_anew(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    etags = {ledger.book.register([A]).entries[0].etag}
    for _ in range(3):
        ledger.book.unregister(["a"])
        ledger = ledger.again()
        etags.add(ledger.book.register([A]).entries[0].etag)
    assert len(etags) == 4


def test_a_clash_names_both_sides_and_what_is_free() -> None:
    ledger = Ledger()
    ledger.book.register([A, B])
    error = fails(e.ConflictError, lambda: ledger.book.register([one("z", at(9)), one("c", at(1, 10))]), ledger)
    (conflict,) = error.conflicts
    assert (conflict.kind, conflict.slice, conflict.vlan) == (ConflictKind.VLAN, "c", 1)
    assert (conflict.other_slice, conflict.other_vlan, conflict.dpid) == ("a", 1, 10)
    assert error.suggestions == (3, 4, 5)
    assert "a" in str(error) and "VLAN 1 " in str(error) and "3, 4, 5" in str(error)


def test_slices_of_the_file_are_not_the_callers() -> None:
    ledger = Ledger(":memory:", A)
    for call in (
        lambda: ledger.book.register([one("a", at(7))]),
        lambda: ledger.book.edit("a", lambda s: s),
        lambda: ledger.book.unregister(["a"]),
        lambda: ledger.book.set_enabled("a", False),
        lambda: ledger.book.renew("a", NOON + 5),
        lambda: ledger.book.sync("", [one("a", at(7))]),
    ):
        assert fails(e.FileSliceError, call, ledger).slices == ("a",)
    assert fails(e.ConflictError, lambda: ledger.book.register([one("b", at(1))]), ledger).conflicts
    assert ledger.book.get("a").etag == "" and ledger.book.get("a").slice.origin is Origin.FILE


def test_managers_touch_their_own_only() -> None:
    ledger = Ledger()
    ledger.book.register([A], manager="m")
    assert ledger.book.get("a", manager="m").slice.manager == "m"
    with pytest.raises(e.SliceNotFoundError):
        ledger.book.get("a", manager="n")
    for call in (
        lambda: ledger.book.register([A], manager="n"),
        lambda: ledger.book.register([replace(B, manager="m")], manager="n"),
        lambda: ledger.book.register([replace(A, manager="m")], manager="n"),
        lambda: ledger.book.edit("a", lambda s: s, manager="n"),
        lambda: ledger.book.unregister(["a"], manager="n"),
        lambda: ledger.book.set_enabled("a", False, manager="n"),
        lambda: ledger.book.renew("a", None, manager="n"),
        lambda: ledger.book.sync("n", [A]),
    ):
        assert fails(e.NotYoursError, call, ledger).manager == "n"
    with pytest.raises(e.NotYoursError):
        ledger.book.edit("a", lambda s: replace(s, manager="n"), manager="m")
    ledger.book.edit("a", lambda s: replace(s, owner="o", id="x"), manager="m")
    ledger.book.edit("a", lambda s: replace(s, manager="n"))  # the operator may
    assert ledger.book.get("a").slice.manager == "n"
    ledger.book.unregister(["a"])


def test_a_dry_run_says_what_would_be_and_does_nothing() -> None:
    ledger = Ledger()
    ledger.book.register([A])
    stored = ledger.store.slices()
    outcome = ledger.book.register([replace(A, owner="o"), B], dry_run=True, once=once("r"))
    assert (outcome.added, outcome.changed, outcome.answer) == (("b",), ("a",), None)
    assert ledger.book.unregister(["a"], dry_run=True).removed == ("a",)
    assert ledger.store.slices() == stored and ledger.names() == ["a"] and len(ledger.told) == 1
    assert ledger.store.answer("am", "r") is None
    with pytest.raises(e.ConflictError):
        ledger.book.register([one("c", at(1))], dry_run=True)


# -- the other changes ---------------------------------------------------------------------------------------------


def test_edit_enable_and_renew() -> None:
    ledger = Ledger()
    (entry,) = ledger.book.register([A]).entries
    outcome = ledger.book.edit("a", lambda s: replace(s, owner="o"), etag=entry.etag)
    assert outcome.changed == ("a",) and outcome.entries[0].slice.owner == "o"
    ledger.book.set_enabled("a", False)
    ledger.book.renew("a", NOON + 60)
    found = ledger.book.get("a").slice
    assert (found.owner, found.enabled, found.expire_time) == ("o", False, NOON + 60)
    assert ledger.store.slices()[0].slice == found == ledger.registry.snapshot.slices["a"]
    fails(e.EtagMismatchError, lambda: ledger.book.edit("a", lambda s: s, etag=entry.etag), ledger)
    fails(e.SliceNotFoundError, lambda: ledger.book.edit("nobody", lambda s: s), ledger)
    fails(e.ExpireTimeError, lambda: ledger.book.renew("a", NOON), ledger)


def test_unregister_is_all_or_nothing() -> None:
    ledger = Ledger()
    ledger.book.register([A, B])
    assert fails(e.SliceNotFoundError, lambda: ledger.book.unregister(["a", "x"]), ledger).slices == ("x",)
    fails(e.EtagMismatchError, lambda: ledger.book.unregister(["a"], etags={"a": "no"}), ledger)
    assert ledger.book.unregister(["x", "a"], missing_ok=True).removed == ("a",)
    assert ledger.names() == ["b"] and [row.slice.id for row in ledger.store.slices()] == ["b"]
    assert ledger.told[-1].removed == ("a",)
    assert ledger.book.unregister(["x"], etags={"x": "1"}, missing_ok=True).removed == (), "it has no etag to differ"


def test_sync_removes_what_is_missing_of_that_manager_only() -> None:
    ledger = Ledger(":memory:", one("f", at(9, manager := 9)))
    assert manager
    ledger.book.register([A, B], manager="m")
    ledger.book.register([one("c", at(3, 10))], manager="n")
    # d takes the VLAN that b gives up in the same change
    outcome = ledger.book.sync("m", [A, one("d", at(2, 10))])
    assert (outcome.added, outcome.changed, outcome.removed) == (("d",), (), ("b",))
    assert [x.slice.id for x in outcome.entries] == ["a", "d"]
    assert ledger.names() == ["a", "c", "d", "f"]
    assert ledger.book.sync("m", []).removed == ("a", "d")
    assert ledger.names() == ["c", "f"]


def test_pages_go_by_id_and_miss_nothing() -> None:
    ledger = Ledger()
    ledger.book.register([one(f"s{n:03}", at(n + 1)) for n in range(100)])
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        entries, after = ledger.book.page(after, 7, lambda x: int(x.slice.id[1:]) % 2 == 0)
        assert len(entries) <= 7
        seen += [x.slice.id for x in entries]
    assert seen == [f"s{n:03}" for n in range(0, 100, 2)]
    assert ledger.book.page("", 50, lambda x: x.slice.id < "s050")[1] is None
    ledger.book.unregister(["s001"])
    ledger.book.register([one("s0005", at(500))])
    assert ledger.names()[:4] == ["s000", "s0005", "s002", "s003"]


# -- once ----------------------------------------------------------------------------------------------------------


def test_a_request_repeated_gets_the_first_answer_even_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    first = ledger.book.register([A], once=once("r1"))
    assert first.answer == b"['a']" and not first.replayed
    ledger.book.unregister(["a"], once=once("r2"))
    ledger = ledger.again()
    repeated = ledger.book.register([A], once=once("r1"))
    assert repeated == Outcome(answer=b"['a']", replayed=True)
    assert ledger.names() == []
    fails(e.RequestReusedError, lambda: ledger.book.register([B], once=once("r1", b"other")), ledger)
    assert ledger.book.register([B], once=once("r1", caller="someone else")).added == ("b",)
    ledger.now += KEEP_ANSWERS + 1
    assert ledger.book.register([A], once=once("r1", b"other")).added == ("a",)


def test_a_refused_request_may_be_repeated() -> None:
    ledger = Ledger()
    ledger.book.register([A])
    fails(e.ConflictError, lambda: ledger.book.register([one("c", at(1))], once=once("r")), ledger)
    ledger.book.unregister(["a"])
    assert ledger.book.register([one("c", at(1))], once=once("r")).added == ("c",)


def test_old_answers_are_forgotten() -> None:
    ledger = Ledger()
    ledger.book.register([A], once=once("r1"))
    ledger.book.wake()
    assert ledger.store.answer("am", "r1") is not None
    ledger.now += KEEP_ANSWERS + 1
    ledger.book.wake()
    assert ledger.store.answer("am", "r1") is None


# -- values --------------------------------------------------------------------------------------------------------


def test_own_addresses_and_reserved_vlans() -> None:
    rules = Rules(own=(OwnAddress("0.0.0.0", 6653, "openflow.listen[0]"),), vlans=Vlans(frozenset({5, 6})))
    ledger = Ledger(rules=rules)
    loop = one("a", at(1, controller="tcp:127.0.0.1:6653"))
    error = fails(e.OwnAddressError, lambda: ledger.book.register([loop]), ledger)
    assert (error.slice, error.field, error.key) == ("a", "segments[0].controllers[0]", "openflow.listen[0]")
    error = fails(e.ReservedVlanError, lambda: ledger.book.register([one("a", at(4), at(5))]), ledger)
    assert (error.field, error.vlan, error.suggestions) == ("segments[1].vlan", 5, (7, 8, 9))


def test_too_many() -> None:
    ledger = Ledger()
    with pytest.raises(e.TooManyError) as caught:
        ledger.book.register([A] * (MAX_SLICES + 1))
    assert caught.value.most == MAX_SLICES


def test_all_ports_and_queues_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmoc.ledger.vetting.MAX_PLACES", 10)
    ledger = Ledger()
    ledger.book.register([one("a", at(1, 10, 11, ports=(1, 2, 3)))])  # 2 * (1 + 3)
    error = fails(e.TooManyError, lambda: ledger.book.register([one("b", at(2, 10, ports=(1, 2)))]), ledger)
    assert (error.count, error.most) == (11, 10)
    queued = one("b", Segment(2, attachments=(Attachment(10, None, {1: frozenset((7,))}),)))
    assert fails(e.TooManyError, lambda: ledger.book.register([queued]), ledger).count == 11
    ledger.book.register([one("b", at(2, 10, ports=(1,)))])
    ledger.book.register([one("a", at(1, 10, 11, ports=(1, 2)))])  # one that shrinks makes room
    ledger.book.register([one("b", at(2, 10, ports=(1, 2)))])
    ledger.book.unregister(["a"])
    ledger.book.register([one("c", at(1, 12, ports=(1, 2, 3, 4, 5, 6)))])


def test_the_book_does_not_grow_beyond_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmoc.ledger.vetting.MAX_SLICES", 2)
    monkeypatch.setattr("vmoc.ledger.vetting.MAX_SEGMENTS", 3)
    ledger = Ledger()
    ledger.book.register([A, B])
    fails(e.TooManyError, lambda: ledger.book.register([one("c", at(3))]), ledger)
    ledger.book.register([one("b", at(2, 10), at(3))])
    fails(e.TooManyError, lambda: ledger.book.register([one("b", at(2, 10), at(3), at(4))]), ledger)
    ledger.book.register([one("b", at(2, 10), at(4))])
    ledger.book.unregister(["a"])
    ledger.book.register([one("c", at(3))])


# -- VLANs of VMOC's choice ----------------------------------------------------------------------------------------


def test_any_vlan_is_chosen_once_and_kept(tmp_path: Path) -> None:
    rules = Rules(vlans=Vlans(frozenset({11}), frozenset(range(10, 14))))
    ledger = Ledger(str(tmp_path / "db"), one("f", at(10, 10)), rules=rules)
    wanted = one("a", at(0, 10), at(0, 10))
    assert [s.vlan for s in ledger.book.register([wanted]).entries[0].slice.segments] == [12, 13]
    ledger = ledger.again(one("f", at(10, 10)))
    assert not ledger.book.register([wanted]).changed  # the same again is the same
    assert ledger.vlans("a") == [12, 13]
    error = fails(e.PoolEmptyError, lambda: ledger.book.register([one("b", at(0, 10))]), ledger)
    assert (error.slice, error.field, error.dpids) == ("b", "segments[0].vlan", (10,))
    ledger.book.register([one("b", at(0, 99))])  # another switch
    assert ledger.vlans("b") == [10]


# -- the disk ------------------------------------------------------------------------------------------------------


class Broken(SqliteStore):
    broken = False

    def commit(self, *args: Any, **more: Any) -> None:
        if self.broken:
            raise StoreError("the disk is full")
        super().commit(*args, **more)


def test_what_cannot_be_stored_has_not_happened() -> None:
    store = Broken(":memory:")
    ledger = Ledger(store=store)
    ledger.book.register([A])
    store.broken = True
    fails(StoreError, lambda: ledger.book.register([B]), ledger)
    fails(StoreError, lambda: ledger.book.unregister(["a"]), ledger)
    store.broken = False
    assert ledger.book.register([B]).added == ("b",)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    ledger.book.register([A, replace(B, labels={"k": "v"}, owner="o", expire_time=NOON + 9, enabled=False)])
    before = ledger.book.page()
    again = ledger.again()
    assert again.book.page() == before
    assert dict(again.registry.snapshot.slices) == {x.slice.id: x.slice for x in before[0]}
    assert again.book.next_deadline() == NOON + 9


# -- the file ------------------------------------------------------------------------------------------------------


def test_a_reload_leaves_the_apis_slices_alone() -> None:
    ledger = Ledger(":memory:", A)
    ledger.book.register([B])
    plan = ledger.book.reload([Slice("c", (at(3),))])
    assert (plan.added, plan.removed) == (("c",), ("a",)) and ledger.told[-1] is plan
    assert ledger.names() == ["b", "c"]
    rejected = ledger.book.reload([Slice("d", (at(2),))])
    assert [(c.slice, c.other_slice) for c in rejected.conflicts] == [("d", "b")]
    assert ledger.names() == ["b", "c"] and ledger.told[-1] is plan


def test_a_reload_may_change_the_rules() -> None:
    ledger = Ledger()
    ledger.book.register([one("a", at(5), at(6))])
    ledger.book.reload([], Rules(vlans=Vlans(frozenset({5}))))
    fails(e.ReservedVlanError, lambda: ledger.book.register([one("b", at(5, 1))]), ledger)
    assert ledger.book.edit("a", lambda s: replace(s, owner="o")).changed  # who has it keeps it


def test_a_configuration_that_contradicts_itself_opens_nothing() -> None:
    ledger = Ledger(":memory:", A, one("z", at(1)))
    assert ledger.opened.conflicts and not ledger.names() and not ledger.registry.snapshot.slices


# -- time ----------------------------------------------------------------------------------------------------------


def test_slices_end_after_a_warning() -> None:
    ledger = Ledger()
    ledger.book.register([replace(A, expire_time=NOON + 7200), B])
    told: list[tuple[Kind, str | None]] = []
    for _ in range(10):
        deadline = ledger.book.next_deadline()
        if deadline is None:
            break
        ledger.now = deadline
        ledger.book.wake()
    told = [(event.kind, event.slice) for event in ledger.events]
    assert told == [(Kind.SLICE_EXPIRING, "a"), (Kind.SLICE_EXPIRING, "a"), (Kind.SLICE_EXPIRED, "a")]
    assert "60 min" in ledger.events[0].message and "10 min" in ledger.events[1].message
    assert ledger.now == NOON + 7200 and ledger.names() == ["b"]
    assert [row.slice.id for row in ledger.store.slices()] == ["b"] and ledger.told[-1].removed == ("a",)


def test_a_renewal_in_time_saves_it_and_wakes_whoever_waits_for_the_next_end() -> None:
    ledger = Ledger()
    calls: list[int] = []
    ledger.book.on_expiry_changed(lambda: calls.append(1))
    ledger.book.register([replace(A, expire_time=NOON + 60)])
    assert len(calls) == 1
    ledger.book.renew("a", NOON + 90)
    assert len(calls) == 1  # not nearer
    ledger.now = NOON + 61
    ledger.book.wake()
    assert ledger.names() == ["a"]
    ledger.now = NOON + 91
    ledger.book.wake()
    assert ledger.names() == []


def test_one_that_cannot_be_removed_yet_is_removed_later() -> None:
    store = Broken(":memory:")
    ledger = Ledger(store=store)
    ledger.book.register([replace(A, expire_time=NOON + 60)])
    ledger.now, store.broken = NOON + 60, True
    with pytest.raises(StoreError):
        ledger.book.wake()
    assert ledger.names() == ["a"] and ledger.book.next_deadline() == NOON + 60
    store.broken = False
    ledger.book.wake()
    assert ledger.names() == []


def test_one_that_ended_while_nobody_was_there_is_removed_at_once(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "db"))
    ledger.book.register([replace(A, expire_time=NOON + 60)])
    ledger.store.close()
    late = Ledger.__new__(Ledger)
    Ledger.__init__(late, ledger.path)
    late.now = NOON + 100
    late.book.wake()
    assert late.names() == [] and not late.store.slices()


def test_stored_rows_are_what_the_book_has() -> None:
    ledger = Ledger()
    (entry,) = ledger.book.register([A]).entries
    assert ledger.store.slices() == [StoredSlice(A, NOON, NOON, int(entry.etag, 16))]
