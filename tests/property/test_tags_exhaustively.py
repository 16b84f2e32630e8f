"""Every short list of tag actions, in every place a controller may write one: no frame is ever seen outside its VLAN.

The policy is asked with whole messages. What it lets pass is taken from the
bytes it would send and carried out on tags by switches that differ where real
ones do. Nothing here knows the policy's rules.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Final

import pytest

from tests.emulation.actions import (
    apply_actions,
    goto_table,
    group,
    output,
    push_vlan,
    set_pcp,
    set_vlan,
    split_actions,
    strip_vlan,
    write_actions,
)
from tests.emulation.answers import split_buckets
from tests.emulation.build import flow_mod, packet_out
from tests.emulation.frames import E
from tests.emulation.layout import Message, message
from tests.emulation.read import parse_packet_out
from tests.vmoc.policy.grants import V10, V13, tagged, transparent
from vmoc.model import Policy
from vmoc.openflow.v13 import group as g13
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.groups import GroupChange, vet_group_mod
from vmoc.policy.packetout import PacketOutPolicy

OWN, OTHER = 100, 200
LONGEST = 4
Tags = tuple[int, ...]
List = tuple[bytes, ...]
BELOW: Final[tuple[Tags, ...]] = ((), (OTHER,), (OWN,), (OWN, OTHER))
"""What may be under the slice's tag when a frame arrives."""

WORDS: Final = {
    V10: (strip_vlan(V10), set_vlan(V10, OWN), set_vlan(V10, OTHER), set_pcp(V10, 3), output(V10, 2),
          output(V10, "controller")),
    V13: (strip_vlan(V13), push_vlan(), push_vlan(0x88A8), set_vlan(V13, OWN), set_vlan(V13, OTHER), set_pcp(V13, 3),
          output(V13, 2), output(V13, "controller"), group(1)),
}  # fmt: skip
GROUPS: Final = {1: 0x00500001}
QINQ: Final = Policy(qinq=True)
GRANTS: Final = {
    "qinq": lambda version: tagged(version, policy=QINQ, groups=GROUPS),
    "plain": lambda version: tagged(version, groups=GROUPS),
    "transparent": lambda version: transparent(version, policy=QINQ, groups=GROUPS),
}
FRAMES: Final = (
    E(),
    E(OTHER),
    E(OWN),
    E(OWN, inner=OTHER),
    E(OWN, inner=OWN),
    E(OWN)[:16] + E(OWN, inner=OTHER)[12:],
    E(OWN)[:16] + E(OTHER, tpid=0x88A8)[12:],
)


# -- switches ----------------------------------------------------------------------------------------


class NotTakenError(Exception):
    """The switch answers with an error: nothing happens."""


@dataclass(frozen=True)
class Build:
    """How a switch treats tags.

    ``limit``: the tags of an arriving frame it tells apart (Open vSwitch's ``vlan-limit``; None: all, and it takes
    every list). ``copies``: a pushed tag has the VID of the one below, as the specification says, else 0. ``adds``:
    setting a field of a tag that is not there adds one, which 1.0 demands; else it is an error, or does nothing.
    """

    limit: int | None
    copies: bool
    adds: bool


BUILDS: Final = [Build(*each) for each in product((1, 2, None), (False, True), (False, True))]


@dataclass(frozen=True)
class State:
    """A frame inside a switch: its tags, how many of them the switch sees, and how many it counted on beforehand."""

    tags: Tags
    seen: int
    known: int


def edited(build: Build, version: int, state: State, kind: int, body: bytes) -> State:
    """After one action other than an output; types are those of 1.3."""
    tags, seen, known = state.tags, state.seen, state.known
    if kind == 18:
        return State(tags[1:], seen - 1, max(known - 1, 0)) if seen else replace(state, known=0)
    if kind == 17:
        assert body[4:6] == b"\x81\x00"
        if build.limit is not None and known == 2:
            raise NotTakenError
        tags = (tags[0] if build.copies and seen else 0, *tags)
        if build.limit is not None and seen == 2:  # it has no room for a third
            return State(tags[:2] + tags[3:], 2, known + 1)
        return State(tags, seen + 1, known + 1)
    assert kind == 25, body.hex()
    if not seen and (build.adds or version == V10):
        tags, seen, known = (0, *tags), 1, 1
    elif not seen and build.limit is not None:
        raise NotTakenError
    if seen and body[6] >> 1 == 6:
        tags = (int.from_bytes(body[8:10], "big") & 0xFFF, *tags[1:])
    return State(tags, seen, known)


@cache
def carried_out(build: Build, version: int, state: State, actions: bytes) -> tuple[State | None, frozenset[int | None]]:
    """The frame after a list, None if the switch would not take the list; the outer VIDs it was seen with.

    It is seen at outputs, in groups, and at the end, where the next table or nobody is.
    """
    witnessed: set[int | None] = set()
    try:
        for kind, body in split_actions(actions):
            if version == V10 and kind in (1, 2, 3):
                body = (b"", set_vlan(V13, int.from_bytes(body[4:6], "big")), set_pcp(V13, 0), strip_vlan(V13))[kind]
                kind = int.from_bytes(body[:2], "big")
            if kind in (0, 22):
                witnessed.add(state.tags[0] if state.tags else None)
            else:
                state = edited(build, version, state, kind, body)
    except NotTakenError:
        return None, frozenset()
    witnessed.add(state.tags[0] if state.tags else None)
    return state, frozenset(witnessed)


def as_set(*lists: bytes) -> bytes:
    """The action set after these were written to it, in the order in which it is executed (1.3, 5.10)."""
    written: dict[tuple[int, int], bytes] = {}
    for actions in lists:
        for kind, body in split_actions(actions):
            written[kind, body[6] >> 1 if kind == 25 else 0] = body
    order = {18: 0, 17: 1, 25: 2, 22: 3, 0: 4}
    return b"".join(body for _, body in sorted(written.items(), key=lambda item: order[item[0][0]]))


def assert_confined(version: int, starts: Sequence[Tags], *lists: bytes, known: int = 1) -> None:
    """Whatever the switch, these lists, one after the other, show a frame in its VLAN only.

    ``known``: the tags it counts on when it checks the list; a flow's match has one, a packet-out brings its own.
    """
    for build in BUILDS:
        for start in starts:
            seen = len(start) if build.limit is None else min(build.limit, len(start))
            state: State | None = State(start, seen, min(known, seen))
            for actions in lists:
                assert state is not None
                state, witnessed = carried_out(build, version, replace(state, known=min(state.known, known)), actions)
                if state is None:
                    break
                assert witnessed == {OWN}, (build, start, [each.hex(" ", 8) for each in lists])


# -- what the policy lets pass ------------------------------------------------------------------------


def longest_for(how: str) -> int:
    """Without ``qinq`` no list may do much, and shorter ones show it."""
    return LONGEST if how == "qinq" else LONGEST - 1


def lists_of(version: int, longest: int = LONGEST) -> Iterator[List]:
    """Every list of at most so many actions."""
    for length in range(longest + 1):
        yield from product(WORDS[version], repeat=length)


def allowed_flow(grant: Grant, body: bytes, table: int = 0) -> dict[int, bytes] | None:
    """The action lists the switch would get, by kind of instruction (1.0: 4), or None."""
    if grant.version == V10:
        data = flow_mod(V10, actions=body)
    else:
        data = flow_mod(V13, instructions=body, table=table)
    change = vet_flow_mod(grant, data)
    if not isinstance(change, FlowChange):
        return None
    if grant.version == V10:
        return {4: change.body}
    return {kind: each[8:] for kind, each in split_actions(change.body) if kind in (3, 4)}


STARTS: Final = [(OWN, *below) for below in BELOW]


@pytest.mark.parametrize("how", GRANTS)
def test_flows_of_1_0(how: str) -> None:
    grant = GRANTS[how](V10)
    some = 0
    for each in lists_of(V10):
        found = allowed_flow(grant, b"".join(each))
        if found is not None:
            assert_confined(V10, STARTS, found[4])
            some += 1
    assert some > 50


Where = dict[int, list[bytes]]
"""What passed in one place: physical lists by the length of what was asked for."""


def passed(grant: Grant, longest: int, kind: int, table: int, further: bytes = b"") -> Where:
    """Every list in a flow's apply-actions (4) or write-actions (3)."""
    found: Where = {}
    for each in lists_of(V13, longest):
        wrap = apply_actions if kind == 4 else write_actions
        lists = allowed_flow(grant, wrap(b"".join(each)) + further, table)
        if lists is not None:
            found.setdefault(len(each), []).append(lists[kind])
    return found


def pairs(longest: int, first: Where, then: Where) -> Iterator[tuple[bytes, bytes]]:
    """Two lists that are not longer than one may be."""
    for size, several in first.items():
        for rest in range(longest + 1 - size):
            yield from product(several, then.get(rest, ()))


@pytest.mark.parametrize("how", GRANTS)
def test_flows_of_1_3(how: str) -> None:
    """Lists applied and written, in the last table or with another behind a goto."""
    grant = GRANTS[how](V13)
    longest = longest_for(how)
    places = [(0, b""), (0, goto_table(1)), (1, b"")]
    applied, applied_before, applied_after = (passed(grant, longest, 4, *at) for at in places)
    written, written_before, written_after = (passed(grant, longest, 3, *at) for at in places)
    for several in applied.values():
        for actions in several:
            assert_confined(V13, STARTS, actions)
    for several in written.values():
        for actions in several:
            assert_confined(V13, STARTS, as_set(actions))
    for first, then in pairs(longest, applied_before, applied_after):
        assert_confined(V13, STARTS, first, then)
    for first, then in pairs(longest, applied_before, written_after):
        assert_confined(V13, STARTS, first, as_set(then))
    for first, then in pairs(longest, written_before, applied_after):
        assert_confined(V13, STARTS, then, as_set(first))
    for first, then in pairs(longest, written_before, written_after):
        assert_confined(V13, STARTS, as_set(first, then))
    for each in (applied, written, applied_before, written_before):
        assert sum(map(len, each.values())) > 30


@pytest.mark.parametrize("how", GRANTS)
def test_flows_of_1_3_that_apply_and_write(how: str) -> None:
    grant = GRANTS[how](V13)
    some = 0
    for each in lists_of(V13, LONGEST - 1):
        for cut in range(len(each) + 1):
            body = apply_actions(b"".join(each[:cut])) + write_actions(b"".join(each[cut:]))
            lists = allowed_flow(grant, body)
            if lists is not None:
                assert_confined(V13, STARTS, lists[4], as_set(lists[3]))
                some += 1
    assert some > 100


@pytest.mark.parametrize("how", GRANTS)
def test_buckets(how: str) -> None:
    """A frame comes to a group in its VLAN (the other tests see to that), whatever it has below."""
    grant = GRANTS[how](V13)
    some = 0
    for each in lists_of(V13):
        actions = b"".join(each)
        bucket = struct.pack("!HHII4x", 16 + len(actions), 0, 0xFFFFFFFF, 0xFFFFFFFF) + actions
        change = vet_group_mod(grant, message(V13, "group_mod", struct.pack("!HBxI", 0, 0, 9) + bucket, 5))
        if isinstance(change, GroupChange):
            (physical,) = split_buckets(g13.pack_buckets(change.buckets))
            assert_confined(V13, STARTS, as_set(physical[16:]))
            some += 1
    assert some > 100


def stack_of(frame: bytes) -> Tags:
    """The VIDs of a frame's tags."""
    at, found = 12, []
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        found.append(int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF)
        at += 4
    return tuple(found)


@pytest.mark.parametrize("version", [V10, V13], ids=["1.0", "1.3"])
@pytest.mark.parametrize("how", GRANTS)
def test_packet_outs(how: str, version: int) -> None:
    """With no tag, one, two or three; one policy for all, so that none is let pass because another was."""
    policy = PacketOutPolicy(GRANTS[how](version))
    some = 0
    for each in lists_of(version, longest_for(how)):
        for frame in FRAMES:
            verdict = policy.vet(packet_out(version, frame, b"".join(each)), 5)
            if isinstance(verdict, bytes):
                sent = parse_packet_out(Message(verdict))
                tags = stack_of(sent.data)
                assert_confined(version, [tags], sent.actions, known=len(tags))
                some += 1
    assert some > 100


def test_the_switches_differ_as_open_vswitch_does() -> None:
    """Seen on Open vSwitch 3.1 with vlan-limit 1 and 2, which push VID 0."""
    push, pop, pcp, own = push_vlan(), strip_vlan(V10), set_pcp(V10, 3), set_vlan(V10, OWN)
    one, two = Build(1, False, False), Build(2, False, False)

    def after(build: Build, version: int, tags: Tags, actions: bytes) -> Tags | None:
        seen = min(len(tags), build.limit or 9)
        state, _ = carried_out(build, version, State(tags, seen, seen), actions)
        return state.tags if state else None

    assert after(one, V10, (OWN, OWN), pop + pcp) == (0, OWN)
    assert after(two, V10, (OWN, OWN), pop + pcp) == (OWN,)
    assert after(one, V10, (OWN, OTHER), pop + pop + own) == (OWN, OTHER)
    assert after(two, V10, (OWN, OTHER), pop + pop + own) == (OWN,)
    assert after(one, V13, (OWN, OTHER), push) == (0, OWN, OTHER)
    assert after(two, V13, (OWN, OTHER), push) is None
