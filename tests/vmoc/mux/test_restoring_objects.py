"""After a restart of VMOC: groups and meters."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.table import FlowError
from tests.vmoc.mux.ends import V13
from tests.vmoc.mux.groupwire import bucket, group_desc, group_mod, meter_mod, meters, out
from tests.vmoc.mux.restarting import objects, restarted, shown, stage, unguarded


def test_groups_and_meters_are_a_slices_own_again() -> None:
    book, switch = stage(V13)
    objects(book)
    groups, configured = dict(switch.model.groups), dict(switch.model.meters)
    again = restarted(book, switch)
    assert (again.model.groups, again.model.meters) == (groups, configured)
    assert not again.take("group_mod") and not again.take("meter_mod") and not unguarded(again)
    alice = book.at("alice")
    assert group_desc(alice).keys() == meters(alice).keys() == {1, 2}
    group_mod(alice, 3, bucket(out(2)))
    meter_mod(alice, 2, b"", command=2)
    meter_mod(alice, 3)
    assert not alice.errors()
    assert len(again.model.groups) == len(groups) + 1 and len(again.model.meters) == len(configured)
    group_mod(alice, 2, command=2)
    assert shown(alice) == [], "it went with its group"
    assert shown(book.at("bob")) == [(0, 100, 7)]


@pytest.mark.parametrize("when", ["after", "during"])
def test_an_id_of_a_group_that_went_after_a_restart_does_not_come_again(when: str) -> None:
    book, switch = stage(V13)
    slices = book.slices
    objects(book)
    used = {physical >> 20 for physical in switch.model.groups}
    again = restarted(book, switch, *(slices if when == "after" else slices[1:]))
    book.adopt(*slices[1:])
    book.advance(2)
    book.adopt(*slices)
    book.advance(3)
    left = set(again.model.groups)
    group_mod(book.at("alice"), 1, bucket(out(2)))
    (fresh,) = set(again.model.groups) - left
    assert fresh >> 20 not in used


def test_groups_and_meters_the_switch_lost_are_not_the_slices_any_more() -> None:
    book, switch = stage(V13)
    objects(book)
    mine = {e.cookie >> 48 for e in switch.flows(100)}
    switch.model.table.entries = [e for e in switch.model.table.entries if e.cookie >> 48 not in mine]
    gone = sorted(switch.model.groups)[:2]  # alice came first
    switch.model.groups = {k: v for k, v in switch.model.groups.items() if k not in gone}
    switch.model.meters = {k: v for k, v in switch.model.meters.items() if k > 2}
    restarted(book, switch)
    assert group_desc(book.at("alice")) == meters(book.at("alice")) == {}
    assert group_desc(book.at("bob")).keys() == meters(book.at("bob")).keys() == {1, 2}
    group_mod(book.at("alice"), 1, bucket(out(2)))
    meter_mod(book.at("alice"), 1)
    assert not book.at("alice").errors()


def test_groups_and_meters_that_are_otherwise_are_written_anew() -> None:
    book, switch = stage(V13)
    objects(book)
    groups, configured = dict(switch.model.groups), dict(switch.model.meters)
    first = min(groups)
    switch.model.groups[first] = (groups[first][0], bucket(out(6)))
    switch.model.meters[1] = (1, struct.pack("!HHII4x", 1, 16, 1, 0))
    again = restarted(book, switch)
    assert (again.model.groups, again.model.meters) == (groups, configured)
    assert len(again.take("group_mod")) == len(again.take("meter_mod")) == 1


def test_a_group_the_switch_does_not_take_is_deleted_with_what_leads_there() -> None:
    book, switch = stage(V13)
    objects(book)
    first = min(switch.model.groups)
    switch.model.groups[first] = (0, bucket(out(6)))
    book.restart()
    again = book.dial_in(model=switch.model)
    plain = again.model._on_group_mod

    def group_mod_(message: Any) -> None:
        if message.raw[8:10] == b"\0\1":
            raise FlowError(6, 1)
        plain(message)

    again.model._on_group_mod = group_mod_  # type: ignore[method-assign]
    again.send(of.hello(V13, 1, switch.model.versions))
    book.advance(3)
    assert first not in again.model.groups and len(again.model.groups) == 2
    assert again.flows(100) == [] and len(again.flows(200)) == 1
    assert group_desc(book.at("alice")) == {} and group_desc(book.at("bob")).keys() == {1, 2}
    assert shown(book.at("alice")) == [] or (book.advance(70) is None and shown(book.at("alice")) == [])
