"""The chain of rules a group-mod or meter-mod passes (vetting A.8).

Which groups and meters a slice has is the grant's ``groups`` and ``meters``;
whether chains of groups loop or run too deep needs the groups themselves and
is ``vmoc.mux.groups``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v10, v13
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13
from vmoc.policy import actions13
from vmoc.policy.grant import Grant
from vmoc.policy.outputs import Outputs
from vmoc.policy.verdict import Finding, Refusal, Rule, run

DELETE: Final = 2


@dataclass(slots=True)
class GroupChange:
    """A GROUP_MOD on its way through the rules; ``buckets`` become the physical ones."""

    grant: Grant
    data: bytes
    command: int = 0
    kind: int = 0
    group: int = 0
    buckets: list[g13.Bucket] = field(default_factory=list)
    refers: frozenset[int] = frozenset()
    """Virtual ids of the groups its buckets lead to."""


def vet_group_mod(grant: Grant, data: bytes, trace: list[Finding] | None = None) -> GroupChange | Refusal:
    """The verdict on one whole GROUP_MOD."""
    change = GroupChange(grant, data)
    refusal = run(GROUP_RULES, change, trace)
    return change if refusal is None else refusal


def _decode_group(change: GroupChange) -> str:
    # What a delete carries besides the id does not matter and is not sent.
    deletes = len(change.data) >= 10 and change.data[8:10] == b"\x00\x02"
    mod = g13.parse_group_mod(change.data, with_buckets=not deletes)
    change.command, change.kind, change.group, change.buckets = mod
    return f"well formed, {len(mod.buckets)} bucket(s)"


def _group_command(change: GroupChange) -> str:
    if change.command > DELETE:
        raise Refused(errors.GROUP_COMMAND, f"command {change.command}")
    return ("add", "modify", "delete")[change.command]


def _group_id(change: GroupChange) -> str:
    if change.command == v10.ADD and change.group > g13.GROUP_MAX:
        raise Refused(errors.GROUP_INVALID, f"group {change.group:#x}")
    if change.command == v10.ADD and change.group in change.grant.groups:
        raise Refused(errors.GROUP_EXISTS, f"group {change.group}")
    if change.command == v10.MODIFY and change.group not in change.grant.groups:
        raise Refused(errors.GROUP_UNKNOWN, f"group {change.group}")
    return f"group {change.group}"


def _group_shape(change: GroupChange) -> str:
    if change.command == DELETE:
        return "not looked at: a delete has none"
    if change.kind > g13.TYPE_FAST_FAILOVER:
        raise Refused(errors.GROUP_TYPE, f"type {change.kind}")
    if len(change.buckets) > change.grant.policy.max_buckets:
        raise Refused(errors.BUCKET_QUOTA, f"{len(change.buckets)} buckets, {change.grant.policy.max_buckets} allowed")
    return f"type {change.kind}"


def _buckets(change: GroupChange) -> str:
    if change.command == DELETE:
        return "not looked at: a delete has none"
    grant = change.grant
    physical, refers = [], set()
    for bucket in change.buckets:
        if bucket.watch_port != v13.ANY and bucket.watch_port not in grant.ports:
            raise Refused(errors.GROUP_WATCH, f"watch_port {bucket.watch_port:#x}")
        watch_group = bucket.watch_group
        if watch_group != v13.ANY_GROUP:
            known = grant.groups.get(watch_group)
            if known is None:
                raise Refused(errors.GROUP_WATCH, f"watch_group {watch_group}")
            refers.add(watch_group)
            watch_group = known
        refers.update(action[1] for action in bucket.actions if action[0] == a13.GROUP)
        actions = actions13.narrow(grant, bucket.actions, Outputs(grant, None, in_set=True), in_bucket=True)
        physical.append(g13.Bucket(bucket.weight, bucket.watch_port, watch_group, actions))
    change.buckets, change.refers = physical, frozenset(refers)
    return f"{len(physical)} bucket(s) allowed"


def _group_size(change: GroupChange) -> str:
    size = 16 + len(g13.pack_buckets(change.buckets)) if change.command != DELETE else 16
    if size > 0xFFFF:
        raise Refused(errors.TOO_MANY_ACTIONS)
    return f"{size} bytes"


GROUP_RULES: Final[Sequence[Rule[GroupChange]]] = (
    ("decode", _decode_group),
    ("command", _group_command),
    ("group-id", _group_id),
    ("group-shape", _group_shape),
    ("buckets", _buckets),
    ("size", _group_size),
)


@dataclass(slots=True)
class MeterChange:
    """A METER_MOD on its way through the rules."""

    grant: Grant
    data: bytes
    command: int = 0
    flags: int = 0
    meter: int = 0
    bands: list[g13.Band] = field(default_factory=list)


def vet_meter_mod(grant: Grant, data: bytes, trace: list[Finding] | None = None) -> MeterChange | Refusal:
    """The verdict on one whole METER_MOD."""
    change = MeterChange(grant, data)
    refusal = run(METER_RULES, change, trace)
    return change if refusal is None else refusal


def _decode_meter(change: MeterChange) -> str:
    deletes = len(change.data) >= 10 and change.data[8:10] == b"\x00\x02"
    mod = g13.parse_meter_mod(change.data, with_bands=not deletes)
    change.command, change.flags, change.meter, change.bands = mod
    return f"well formed, {len(mod.bands)} band(s)"


def _meter_command(change: MeterChange) -> str:
    if change.command > DELETE:
        raise Refused(errors.METER_COMMAND, f"command {change.command}")
    return ("add", "modify", "delete")[change.command]


def _meter_id(change: MeterChange) -> str:
    every = change.command == DELETE and change.meter == g13.METER_ALL
    if not every and not 1 <= change.meter <= g13.METER_MAX:
        raise Refused(errors.METER_INVALID, f"meter {change.meter:#x}")
    if change.command == v10.ADD and change.meter in change.grant.meters:
        raise Refused(errors.METER_EXISTS, f"meter {change.meter}")
    if change.command == v10.MODIFY and change.meter not in change.grant.meters:
        raise Refused(errors.METER_UNKNOWN, f"meter {change.meter}")
    return f"meter {change.meter}"


METER_RULES: Final[Sequence[Rule[MeterChange]]] = (
    ("decode", _decode_meter),
    ("command", _meter_command),
    ("meter-id", _meter_id),
)
