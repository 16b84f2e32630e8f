"""The rules for GROUP_MOD and METER_MOD: a row per field."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation.actions import group, output, push_vlan, set_field
from tests.emulation.layout import message
from tests.vmoc.policy.grants import V13, tagged, transparent
from vmoc import errors
from vmoc.errors import Reason
from vmoc.model import Policy
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13
from vmoc.policy.grant import Grant
from vmoc.policy.groups import GROUP_RULES, GroupChange, MeterChange, vet_group_mod, vet_meter_mod
from vmoc.policy.verdict import Finding, Refusal

ANY = 0xFFFFFFFF
ADD, MODIFY, DELETE = range(3)
ALL, SELECT, INDIRECT, FAST_FAILOVER = range(4)
HIGH = 0x70001234  # ONOS and OF-DPA number groups like that
DROP = struct.pack("!HHII4x", 1, 16, 100, 0)
REMARK = struct.pack("!HHIIB3x", 2, 16, 100, 0, 1)
EXPERIMENTER_BAND = struct.pack("!HHIII", 0xFFFF, 16, 100, 0, 1)
OWN = {1: 0x00500001, HIGH: 0x00500002}
GRANT = tagged(V13, groups=OWN, meters={1: 70}, policy=Policy(max_buckets=3))
TO2 = output(V13, 2)


def bucket(actions: bytes = b"", *, weight: int = 0, watch_port: int = ANY, watch_group: int = ANY) -> bytes:
    return struct.pack("!HHII4x", 16 + len(actions), weight, watch_port, watch_group) + actions


def group_mod(buckets: bytes = b"", *, command: int = ADD, kind: int = ALL, number: int = 9) -> bytes:
    return message(V13, "group_mod", struct.pack("!HBxI", command, kind, number) + buckets, 5)


def meter_mod(bands: bytes = b"", *, command: int = ADD, flags: int = 1, number: int = 9) -> bytes:
    return message(V13, "meter_mod", struct.pack("!HHI", command, flags, number) + bands, 5)


def allowed(data: bytes, grant: Grant = GRANT) -> GroupChange:
    change = vet_group_mod(grant, data)
    assert isinstance(change, GroupChange), change
    return change


def refused(data: bytes, grant: Grant = GRANT) -> Refusal:
    refusal = vet_group_mod(grant, data)
    assert isinstance(refusal, Refusal)
    return refusal


def test_a_group_in_the_switchs_terms() -> None:
    buckets = bucket(TO2, weight=4) + bucket(group(1) + output(V13, "controller", 128), watch_group=HIGH, watch_port=3)
    change = allowed(group_mod(buckets, kind=FAST_FAILOVER, number=HIGH, command=MODIFY))
    assert (change.command, change.kind, change.group) == (MODIFY, FAST_FAILOVER, HIGH)
    assert change.refers == {1, HIGH}
    assert change.buckets == [
        g13.Bucket(4, ANY, ANY, [(a13.OUTPUT, 2, 0xFFFF)]),
        g13.Bucket(0, 3, OWN[HIGH], [(a13.GROUP, OWN[1]), (a13.OUTPUT, 0xFFFFFFFD, 0xFFFF)]),
    ]


def test_a_group_may_have_no_bucket() -> None:
    change = allowed(group_mod())
    assert (change.buckets, change.refers) == ([], frozenset())


ROWS: list[tuple[bytes, Reason, str]] = [
    (group_mod()[:12], errors.BAD_LENGTH, "decode"),
    (group_mod(bucket(TO2)[:-8]), errors.BUCKET_LENGTH, "decode"),
    (group_mod(bucket(struct.pack("!HHI", 99, 8, 0))), errors.ACTION_TYPE, "decode"),
    (group_mod(command=3), errors.GROUP_COMMAND, "command"),
    (group_mod(command=0xFFFF), errors.GROUP_COMMAND, "command"),
    (group_mod(number=0xFFFFFF01), errors.GROUP_INVALID, "group-id"),
    (group_mod(number=0xFFFFFFFC), errors.GROUP_INVALID, "group-id"),
    (group_mod(number=ANY), errors.GROUP_INVALID, "group-id"),
    (group_mod(number=HIGH), errors.GROUP_EXISTS, "group-id"),
    (group_mod(command=MODIFY), errors.GROUP_UNKNOWN, "group-id"),
    (group_mod(command=MODIFY, number=0xFFFFFFFC), errors.GROUP_UNKNOWN, "group-id"),
    (group_mod(kind=4), errors.GROUP_TYPE, "group-shape"),
    (group_mod(bucket() * 4), errors.BUCKET_QUOTA, "group-shape"),
    (group_mod(bucket(watch_port=4)), errors.GROUP_WATCH, "buckets"),
    (group_mod(bucket(watch_port=0xFFFFFFFE)), errors.GROUP_WATCH, "buckets"),
    (group_mod(bucket(watch_group=9)), errors.GROUP_WATCH, "buckets"),
    (group_mod(bucket(group(9))), errors.UNKNOWN_GROUP, "buckets"),
    (group_mod(bucket(group(OWN[1]))), errors.UNKNOWN_GROUP, "buckets"),
    (group_mod(bucket(output(V13, 4))), errors.FOREIGN_OUT_PORT, "buckets"),
    *[
        (group_mod(bucket(output(V13, port))), errors.FOREIGN_OUT_PORT, "buckets")
        for port in ("flood", "all", "normal", "table", "local")
    ],
    (group_mod(bucket(set_field("vlan_vid", 0x10C8) + TO2)), errors.VLAN_ACTION, "buckets"),
    (group_mod(bucket(TO2) + bucket(push_vlan())), errors.VLAN_ACTION, "buckets"),
]


@pytest.mark.parametrize(("data", "reason", "rule"), ROWS, ids=lambda value: getattr(value, "code", None))
def test_refused(data: bytes, reason: Reason, rule: str) -> None:
    refusal = refused(data)
    assert (refusal.reason, refusal.rule) == (reason, rule)
    assert reason.of13 is not None


def test_the_highest_id_is_an_id() -> None:
    assert allowed(group_mod(number=0xFFFFFF00)).group == 0xFFFFFF00
    assert allowed(group_mod(number=0)).group == 0


@pytest.mark.parametrize("number", [1, 9, 0xFFFFFFFC, ANY])
def test_a_delete_is_about_an_id_only(number: int) -> None:
    change = allowed(group_mod(b"junk" * 3, command=DELETE, kind=77, number=number))
    assert (change.command, change.group, change.buckets) == (DELETE, number, [])


def test_a_bucket_is_a_set() -> None:
    grant = tagged(V13, policy=Policy(qinq=True))
    own = set_field("vlan_vid", 0x1064) + push_vlan() + TO2
    assert allowed(group_mod(bucket(own)), grant).buckets[0].actions[1] == (a13.PUSH_VLAN, 0x8100)
    assert refused(group_mod(bucket(push_vlan() + TO2)), grant).reason is errors.VLAN_ACTION
    assert refused(group_mod(bucket(own)), transparent(V13, policy=Policy(qinq=True))).reason is errors.VLAN_ACTION


def test_copies_are_counted_bucket_by_bucket() -> None:
    grant = tagged(V13, policy=Policy(max_dup_outputs=2))
    assert len(allowed(group_mod(3 * bucket(2 * TO2)), grant).buckets) == 3
    assert refused(group_mod(bucket(3 * TO2)), grant).reason is errors.TOO_MANY_ACTIONS


def test_what_does_not_fit_a_message_is_refused() -> None:
    """No rewriting makes a bucket longer today; the rule stands for the day one does."""
    change = GroupChange(GRANT, b"", ADD, ALL, 9, [g13.Bucket(0, ANY, ANY, [(a13.OUTPUT, 2, 0)])] * 2100)
    size = dict(GROUP_RULES)["size"]
    with pytest.raises(errors.Refused) as caught:
        size(change)
    assert caught.value.reason is errors.TOO_MANY_ACTIONS


def test_every_rule_says_what_it_found() -> None:
    trace: list[Finding] = []
    assert isinstance(vet_group_mod(GRANT, group_mod(bucket(TO2)), trace), GroupChange)
    assert [(finding.rule, finding.text) for finding in trace] == [
        ("decode", "well formed, 1 bucket(s)"),
        ("command", "add"),
        ("group-id", "group 9"),
        ("group-shape", "type 0"),
        ("buckets", "1 bucket(s) allowed"),
        ("size", "48 bytes"),
    ]
    trace.clear()
    vet_group_mod(GRANT, group_mod(command=DELETE), trace)
    assert [finding.text for finding in trace][1:] == ["delete", "group 9", *2 * ["not looked at: a delete has none"],
                                                       "16 bytes"]  # fmt: skip


# -- meters ------------------------------------------------------------------------------------------


def vet_meter(data: bytes) -> Any:
    verdict = vet_meter_mod(GRANT, data)
    return verdict.reason if isinstance(verdict, Refusal) else verdict


def test_a_meter() -> None:
    change = vet_meter(meter_mod(DROP + REMARK, flags=5, number=7))
    assert isinstance(change, MeterChange)
    assert (change.command, change.flags, change.meter) == (ADD, 5, 7)
    assert change.bands == [g13.Band(1, 100, 0, 0), g13.Band(2, 100, 0, 1)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (meter_mod()[:12], errors.BAD_LENGTH),
        (meter_mod(DROP[:12]), errors.BAD_LENGTH),
        (meter_mod(EXPERIMENTER_BAND), errors.METER_BAND),
        (meter_mod(command=3), errors.METER_COMMAND),
        (meter_mod(number=0), errors.METER_INVALID),
        (meter_mod(number=0xFFFF0001), errors.METER_INVALID),
        *[
            (meter_mod(number=number, command=command), errors.METER_INVALID)
            for number in (0xFFFFFFFD, 0xFFFFFFFE)
            for command in (ADD, MODIFY, DELETE)
        ],
        (meter_mod(number=ANY), errors.METER_INVALID),
        (meter_mod(number=ANY, command=MODIFY), errors.METER_INVALID),
        (meter_mod(number=1), errors.METER_EXISTS),
        (meter_mod(command=MODIFY), errors.METER_UNKNOWN),
    ],
)
def test_meters_refused(data: bytes, reason: Reason) -> None:
    assert vet_meter(data) is reason


@pytest.mark.parametrize(
    "data",
    [
        meter_mod(number=0xFFFF0000),
        meter_mod(number=1, command=MODIFY),
        meter_mod(number=1, command=DELETE),
        meter_mod(number=9, command=DELETE),
        meter_mod(b"junk", number=9, command=DELETE),
        meter_mod(number=ANY, command=DELETE),
    ],
)
def test_meters_allowed(data: bytes) -> None:
    assert isinstance(vet_meter(data), MeterChange)


def test_meters_say_what_was_found() -> None:
    trace: list[Finding] = []
    vet_meter_mod(GRANT, meter_mod(DROP), trace)
    assert [(finding.rule, finding.text) for finding in trace] == [
        ("decode", "well formed, 1 band(s)"),
        ("command", "add"),
        ("meter-id", "meter 9"),
    ]
