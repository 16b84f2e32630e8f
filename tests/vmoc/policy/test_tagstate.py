"""``qinq: on``: what a slice may do to a frame's tags, and that no frame is ever seen outside its VLAN."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulation.actions import output, push_vlan, set_field, set_pcp, set_vlan, strip_vlan
from tests.emulation.build import packet_out
from tests.emulation.frames import E
from tests.vmoc.policy.grants import V10, V13, VERSIONS, tagged, transparent
from vmoc import errors
from vmoc.errors import Reason, Refused
from vmoc.model import Policy
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm
from vmoc.policy import actions10, actions13
from vmoc.policy.outputs import Outputs
from vmoc.policy.packetout import PacketOutPolicy, vet_packet_out
from vmoc.policy.tagstate import Tags, follow10, follow13, judge_set, tags_of
from vmoc.policy.verdict import Refusal

OWN, OTHER = 100, 200
VACT, AARG, VALUE = errors.VLAN_ACTION, errors.ACTION_ARGUMENT, errors.SET_FIELD_VALUE
QINQ = Policy(qinq=True)
PASS = None

STRIP10: a10.Action = (a10.STRIP_VLAN,)
OUT10: a10.Action = (a10.OUTPUT, 2, 0)
POP: a13.Action = (a13.POP_VLAN,)
PUSH: a13.Action = (a13.PUSH_VLAN, 0x8100)
OUT: a13.Action = (a13.OUTPUT, 2, 0)
GROUP: a13.Action = (a13.GROUP, 1)
PCP: a13.Action = (a13.SET_FIELD, oxm.VLAN_PCP, 1)
MAC: a13.Action = (a13.SET_FIELD, oxm.ETH_DST, 1)


def vid10(vid: int) -> a10.Action:
    return (a10.SET_VLAN_VID, vid)


def pcp10(pcp: int) -> a10.Action:
    return (a10.SET_VLAN_PCP, pcp)


def vid(number: int) -> a13.Action:
    return (a13.SET_FIELD, oxm.VLAN_VID, 0x1000 | number)


def reason_of(judge: Any, *arguments: Any) -> Reason | None:
    try:
        judge(OWN, *arguments)
    except Refused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], PASS),
        ([OUT10], PASS),
        ([vid10(OTHER), OUT10], VACT),
        ([vid10(OTHER), (a10.ENQUEUE, 2, 7)], VACT),
        ([vid10(OTHER), vid10(OWN), OUT10], PASS),
        ([OUT10, vid10(OTHER)], VACT),  # a table or an action set may come later
        ([pcp10(3), (a10.SET_NW_TOS, 4), OUT10], PASS),
        ([STRIP10, OUT10], VACT),
        ([STRIP10], VACT),
        ([STRIP10, STRIP10], VACT),
        ([STRIP10, vid10(OWN), OUT10], VACT),  # was a tag below, or is one added?
        ([STRIP10, pcp10(3)], VACT),
        ([vid10(0x1000)], AARG),
    ],
    ids=str,
)
def test_lists_of_10(actions: list[a10.Action], expected: Reason | None) -> None:
    assert reason_of(follow10, actions) is expected


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], PASS),
        ([OUT], PASS),
        ([MAC, OUT], PASS),
        ([PUSH, OUT], VACT),
        ([PUSH], VACT),
        ([PUSH, vid(OWN), OUT], PASS),
        ([PUSH, vid(OTHER), OUT], VACT),
        ([PUSH, vid(OTHER), PUSH, vid(OWN), OUT], PASS),
        ([vid(OTHER), PUSH, vid(OWN), OUT], PASS),  # the slice's own second tag
        ([vid(OTHER), GROUP, vid(OWN)], VACT),
        ([vid(OTHER), vid(OWN), GROUP], PASS),
        ([POP, OUT], VACT),
        ([POP], VACT),
        ([POP, POP], VACT),
        ([POP, vid(OWN)], VACT),
        ([POP, PUSH, vid(OWN), OUT], PASS),
        ([PUSH, POP, OUT], PASS),
        ([PUSH, vid(OWN), OUT, POP, OUT], PASS),
        ([(a13.PUSH_VLAN, 0x88A8), vid(OWN)], VACT),
        ([(a13.PUSH_VLAN, 0x9100), vid(OWN)], AARG),
        ([(a13.SET_FIELD, oxm.VLAN_VID, OWN)], VALUE),
        ([(a13.SET_FIELD, oxm.VLAN_VID, 0x3000 | OWN)], VALUE),
    ],
    ids=str,
)
def test_lists_of_13(actions: list[a13.Action], expected: Reason | None) -> None:
    assert reason_of(follow13, actions) is expected


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], PASS),
        ([OUT], PASS),
        ([vid(OWN)], PASS),
        ([vid(OTHER)], VACT),
        ([POP], VACT),
        ([POP, vid(OWN)], VACT),
        ([PUSH], VACT),
        ([PUSH, vid(OWN)], PASS),
        ([vid(OWN), PUSH], PASS),  # executed in the set's order, not in this one
        ([OUT, vid(OWN), PUSH, POP], PASS),
        ([PUSH, vid(OTHER)], VACT),
        ([PUSH, vid(OWN), vid(OTHER)], VACT),
        ([(a13.PUSH_VLAN, 0x88A8), vid(OWN)], VACT),
        ([(a13.PUSH_VLAN, 0x9100), vid(OWN)], AARG),
        ([(a13.SET_FIELD, oxm.VLAN_VID, OWN)], VALUE),
    ],
    ids=str,
)
def test_sets(actions: list[a13.Action], expected: Reason | None) -> None:
    assert reason_of(judge_set, actions) is expected


@pytest.mark.parametrize(
    ("frame", "tags"),
    [
        (E(), Tags((), True)),
        (E(100), Tags((100,), True)),
        (E(100, inner=200), Tags((100, 200), True)),
        (E(100)[:16] + E(200, inner=300)[12:], Tags((100, 200))),
        (E(100, tpid=0x88A8), Tags(())),
        (E(100)[:16], Tags((100,))),
        (E(100)[:15], Tags(())),
        (E(100)[:16] + b"\x88\xa8\x00\xc8" + E()[12:], Tags((100,))),
        (E(100)[:16] + b"\x91\x00\x00\xc8" + E()[12:], Tags((100,))),
    ],
    ids=["none", "one", "two", "three", "S-tag", "cut below", "cut", "S-tag below", "old Q-in-Q below"],
)
def test_the_tags_of_a_frame(frame: bytes, tags: Tags) -> None:
    assert tags_of(frame) == tags


@pytest.mark.parametrize(
    ("actions", "tags", "expected"),
    [
        ([STRIP10, vid10(OWN), OUT10], Tags((OWN,), True), PASS),  # nothing below: set adds the tag
        ([STRIP10, pcp10(1), OUT10], Tags((OWN,), True), VACT),  # adds one of VID 0
        ([STRIP10, pcp10(1), vid10(OWN), OUT10], Tags((OWN,), True), PASS),
        ([STRIP10, OUT10], Tags((OWN, OWN)), PASS),
        ([STRIP10, OUT10], Tags((OWN, OTHER)), VACT),
        ([STRIP10, vid10(OWN), OUT10], Tags((OWN, OTHER)), PASS),
        ([STRIP10, STRIP10, vid10(OWN)], Tags((OWN, OTHER)), VACT),
        ([STRIP10, STRIP10], Tags((OWN,), True), VACT),
        # A switch that sees one tag only (vlan-limit 1) puts VID 0 in front of the one below:
        ([STRIP10, pcp10(1), OUT10], Tags((OWN, OWN), True), VACT),
        ([STRIP10, vid10(OWN), pcp10(1), OUT10], Tags((OWN, OTHER), True), PASS),
        ([pcp10(1), STRIP10, OUT10], Tags((OWN, OWN), True), PASS),
        ([STRIP10, STRIP10, pcp10(1), vid10(OWN), OUT10], Tags((OWN, OWN), True), PASS),
    ],
    ids=str,
)
def test_a_packet_out_of_10_brings_its_tags(actions: list[a10.Action], tags: Tags, expected: Reason | None) -> None:
    assert reason_of(follow10, actions, tags) is expected


@pytest.mark.parametrize(
    ("actions", "tags", "expected"),
    [
        ([POP, OUT], Tags((OWN, OWN)), PASS),
        ([POP, vid(OWN), OUT], Tags((OWN, OTHER)), PASS),
        ([POP, OUT], Tags((OWN, OTHER)), VACT),
        ([POP, vid(OWN), OUT], Tags((OWN,), True), VACT),  # 1.3 adds no tag by setting a field
        ([POP, PUSH, vid(OWN), OUT], Tags((OWN,), True), PASS),
        ([POP, PCP, OUT], Tags((OWN, OWN), True), VACT),
        ([POP, PUSH, PCP, vid(OWN), OUT], Tags((OWN, OWN), True), PASS),
        ([POP, vid(OWN), PCP, OUT], Tags((OWN, OTHER), True), PASS),
        ([POP, PCP, vid(OWN), OUT], Tags((OWN,), True), VACT),  # as little as a VID
    ],
    ids=str,
)
def test_a_packet_out_of_13_brings_its_tags(actions: list[a13.Action], tags: Tags, expected: Reason | None) -> None:
    assert reason_of(follow13, actions, tags) is expected


# -- against a switch that does what it is told ------------------------------------------------------


class Frame:
    """A frame's tags, outermost first. ``copies``: push copies the outer VID, as the text has it; OVS writes 0."""

    def __init__(self, tags: list[int], copies: bool) -> None:
        self.tags = tags
        self.copies = copies
        self.seen: list[int | None] = []

    def outer(self) -> int | None:
        return self.tags[0] if self.tags else None

    def do(self, verb: str, argument: int) -> None:
        if verb == "pop" and self.tags:
            self.tags.pop(0)
        elif verb == "push":
            self.tags.insert(0, self.tags[0] if self.copies and self.tags else 0)
        elif verb == "set" and self.tags:
            self.tags[0] = argument
        elif verb in ("set or add", "pcp or add"):
            if not self.tags:
                self.tags.append(0)
            if verb == "set or add":
                self.tags[0] = argument
        elif verb == "out":
            self.seen.append(self.outer())


VIDS = st.sampled_from([OWN, OTHER, 7])
BELOW = st.lists(VIDS, max_size=3)
DO13 = {a13.POP_VLAN: "pop", a13.PUSH_VLAN: "push", a13.SET_FIELD: "set", a13.OUTPUT: "out"}
DO10 = {
    a10.STRIP_VLAN: "pop",
    a10.SET_VLAN_VID: "set or add",
    a10.SET_VLAN_PCP: "pcp or add",
    a10.OUTPUT: "out",
}
LISTS13 = st.lists(st.one_of(st.just(POP), st.just(PUSH), VIDS.map(vid), st.just(OUT)), max_size=7)
LISTS10 = st.lists(st.one_of(st.just(STRIP10), st.just(pcp10(1)), VIDS.map(vid10), st.just(OUT10)), max_size=6)


@given(LISTS13, BELOW, st.booleans(), st.booleans())
def test_no_allowed_list_of_13_shows_a_frame_elsewhere(
    actions: list[a13.Action], below: list[int], known: bool, copies: bool
) -> None:
    tags = Tags((OWN, *below[:1]), len(below) < 2) if known else None
    if reason_of(follow13, actions, tags) is None:
        frame = Frame([OWN, *below], copies)
        for action in actions:
            frame.do(DO13[action[0]], action[-1] & 0xFFF)
        assert {*frame.seen, frame.outer()} == {OWN}


@given(LISTS10, BELOW, st.booleans())
def test_no_allowed_list_of_10_shows_a_frame_elsewhere(
    actions: list[a10.Action], below: list[int], known: bool
) -> None:
    tags = Tags((OWN, *below[:1]), len(below) < 2) if known else None
    if reason_of(follow10, actions, tags) is None:
        frame = Frame([OWN, *below], copies=False)
        for action in actions:
            frame.do(DO10[action[0]], action[-1])
        assert {*frame.seen, frame.outer()} == {OWN}


@given(st.lists(st.lists(st.one_of(st.just(POP), st.just(PUSH), VIDS.map(vid)), max_size=3), max_size=4), BELOW)
def test_no_merged_set_shows_a_frame_elsewhere(sets: list[list[a13.Action]], below: list[int]) -> None:
    """Sets written by several tables: the last action of a kind stays, and the set runs pop, push, set."""
    merged: dict[int, a13.Action] = {}
    for actions in sets:
        if reason_of(judge_set, actions) is not None:
            continue
        merged |= {action[0]: action for action in actions}
    frame = Frame([OWN, *below], copies=False)
    for kind in (a13.POP_VLAN, a13.PUSH_VLAN, a13.SET_FIELD):
        if kind in merged:
            frame.do(DO13[kind], merged[kind][-1] & 0xFFF)
    assert frame.outer() == OWN


# -- where it is asked -------------------------------------------------------------------------------


def test_the_policy_asks_only_where_tags_are_seen_and_qinq_is_on() -> None:
    actions = [PUSH, vid(OWN), OUT]
    grant = tagged(V13, policy=QINQ)
    assert actions13.narrow(grant, actions, Outputs(grant, None)) == actions
    assert actions13.narrow(grant, actions, Outputs(grant, None), in_set=True) == actions
    for other in (tagged(V13), transparent(V13, policy=QINQ)):
        with pytest.raises(Refused) as refused:
            actions13.narrow(other, actions, Outputs(other, None))
        assert refused.value.reason is VACT
    actions10_ = [vid10(OTHER), vid10(OWN), OUT10]
    grant = tagged(V10, policy=QINQ)
    assert actions10.narrow(grant, actions10_, Outputs(grant, None)) == actions10_
    with pytest.raises(Refused):
        actions10.narrow(tagged(V10), actions10_, Outputs(grant, None))
    grant = transparent(V10, policy=QINQ)
    assert actions10.narrow(grant, [STRIP10, OUT10], Outputs(grant, None)) == [OUT10]  # elided as ever


def test_stripping_what_was_pushed_reaches_the_switch() -> None:
    grant = tagged(V10, policy=QINQ)
    actions = [STRIP10, vid10(OWN), OUT10]
    assert actions10.narrow(grant, actions, Outputs(grant, None), Tags((OWN,), True)) == actions


@pytest.mark.parametrize("version", VERSIONS)
def test_a_packet_out_is_judged_by_its_own_frame_every_time(version: int) -> None:
    strip = strip_vlan(version)
    policy = PacketOutPolicy(tagged(version, policy=QINQ))
    fine = packet_out(version, E(100, inner=100), strip + output(version, 2))
    bad = packet_out(version, E(100, inner=200), strip + output(version, 2))
    for _ in range(2):
        assert policy.vet(fine, 9) == fine[:4] + b"\0\0\0\x09" + fine[8:]
        refusal = policy.vet(bad, 9)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is VACT
    for actions in (set_vlan(version, OWN), set_pcp(version, 3)):
        verdict = vet_packet_out(tagged(version, policy=QINQ), packet_out(version, E(100), actions))
        assert not isinstance(verdict, Refusal)
        assert verdict.once
        verdict = vet_packet_out(tagged(version), packet_out(version, E(100), actions))
        assert not isinstance(verdict, Refusal)
        assert not verdict.once


def test_a_packet_out_of_13_may_push() -> None:
    grant = tagged(V13, policy=QINQ)
    data = packet_out(V13, E(100), push_vlan() + set_field("vlan_vid", 0x1064) + output(V13, 2))
    assert not isinstance(vet_packet_out(grant, data), Refusal)
