"""What a slice must be before anybody is asked whether it fits: ranges, doubles, addresses, reserved VLANs.

The configuration's own slices go through ``vmoc.config.checks``, which knows
lines and columns; the rules are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Final

from vmoc.config import Settings, Vlans
from vmoc.config.checks import MAX_CONTROLLERS
from vmoc.config.ownership import OwnAddress, is_own
from vmoc.config.values import PORT_MAX, QUEUE_MAX
from vmoc.ledger.errors import ExpireTimeError, InvalidSliceError, OwnAddressError, TooManyError, Violation
from vmoc.model import DPID_MASK, SLICE_ID, VLAN_MAX, Attachment, Limits, Segment, Slice, format_dpid
from vmoc.registry import LOCAL_PORT

MAX_SLICES: Final = 65_536
MAX_SEGMENTS: Final = 262_144
"""In the whole book; a slice has at most one per VLAN."""
MAX_PLACES: Final = 1 << 22
"""Attachments, ports and queues in the whole book."""
MAX_PER_CALL: Final = MAX_SLICES
"""Slices in one call: a manager's whole state must fit."""
MAX_ATTACHMENTS: Final = 4_096
MAX_LABELS: Final = 64
MAX_TEXT: Final = 1_024
"""Characters of a label's value; of a name (label, owner, manager) a quarter."""
MAX_LIMIT: Final = 1_000_000_000
MAX_VIOLATIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says about slices."""

    own: tuple[OwnAddress, ...] = ()
    tls: bool = True
    """Whether ``ssl:`` controllers can be verified."""
    sharing: bool = False
    vlans: Vlans = Vlans()


def rules_of(settings: Settings, vlans: Vlans | None = None) -> Rules:
    """The rules that those settings make, with other ``vlans`` if given."""
    own = [
        OwnAddress(one.address, one.port, f"openflow.listen[{index}]") for index, one in enumerate(settings.listeners)
    ]
    for key, address in (("grpc.listen", settings.grpc_listen), ("metrics.listen", settings.metrics_listen)):
        if address is not None:
            own.append(OwnAddress(*address, key))
    return Rules(
        own=tuple(own),
        tls=settings.tls is not None,
        sharing=settings.policy.vlan_port_sharing,
        vlans=settings.vlans if vlans is None else vlans,
    )


def check(slices: Iterable[Slice], rules: Rules, now: float) -> None:
    """Raise the ``LedgerError`` that says what is wrong with them, if anything is. VLAN 0 means any.

    Values out of range come first, all of them together.
    """
    wanted = list(slices)
    if len(wanted) > MAX_PER_CALL:
        raise TooManyError("slices in one call", len(wanted), MAX_PER_CALL)
    violations: list[Violation] = []
    seen: set[str] = set()
    for one in wanted:
        violations += (Violation(one.id, field, text) for field, text in _violations(one, rules))
        if one.id in seen:
            violations.append(Violation(one.id, "id", "is given twice"))
        seen.add(one.id)
        if len(violations) > MAX_VIOLATIONS:
            break
    if violations:
        raise InvalidSliceError(violations[:MAX_VIOLATIONS])
    reachable: dict[object, OwnAddress | None] = {}  # looking at interfaces costs system calls
    for one in wanted:
        if one.expire_time is not None and one.expire_time <= now:
            raise ExpireTimeError(one.id, one.expire_time)
        for index, segment in enumerate(one.segments):
            for position, endpoint in enumerate(segment.controllers):
                if endpoint not in reachable:
                    hits = (own for own in rules.own if is_own(own, endpoint.host, endpoint.port))
                    reachable[endpoint] = next(hits, None)
                ours = reachable[endpoint]
                if ours is not None:
                    field = f"segments[{index}].controllers[{position}]"
                    raise OwnAddressError(one.id, field, endpoint, ours.key)


Found = Iterator[tuple[str, str]]


def _violations(one: Slice, rules: Rules) -> Found:
    if not SLICE_ID.fullmatch(one.id):
        yield "id", "must be 1 to 128 of A-Z a-z 0-9 . _ : + -"
    for name in ("owner", "manager"):
        yield from _name(name, getattr(one, name))
    if len(one.labels) > MAX_LABELS:
        yield "labels", f"holds {len(one.labels)}; at most {MAX_LABELS} are allowed"
    for key, value in one.labels.items():
        yield from _name("labels", key, empty=False)
        if len(value) > MAX_TEXT:
            yield f"labels[{key[:40]}]", f"has {len(value)} characters; at most {MAX_TEXT} are allowed"
    yield from _limits(one.limits)
    if one.expire_time is not None and not math.isfinite(one.expire_time):
        yield "expire_time", "is not a time"
    if len(one.segments) > VLAN_MAX:
        yield "segments", f"holds {len(one.segments)}; at most {VLAN_MAX} are allowed"
        return
    vlans: set[int] = set()
    for index, segment in enumerate(one.segments):
        for name, text in _segment(segment, rules):
            yield f"segments[{index}].{name}", text
        if segment.vlan and segment.vlan in vlans:
            yield f"segments[{index}].vlan", f"is VLAN {segment.vlan} again; put all attachments into one segment"
        vlans.add(segment.vlan)


def _name(field: str, text: str, *, empty: bool = True) -> Found:
    if len(text) > MAX_TEXT // 4 or not (text or empty):
        yield field, f"must have {0 if empty else 1} to {MAX_TEXT // 4} characters"
    elif not text.isprintable():
        yield field, "must not hold control characters"


@lru_cache(1024)
def _limits(limits: Limits) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"limits.{name}", f"must be 0..{MAX_LIMIT}, not {value}")
        for name, value in asdict(limits).items()
        if not 0 <= value <= MAX_LIMIT
    )


def _segment(segment: Segment, rules: Rules) -> Found:
    if not 0 <= segment.vlan <= VLAN_MAX:
        yield "vlan", f"must be 1..{VLAN_MAX}, or 0 for any, not {segment.vlan}"
    if len(segment.controllers) > MAX_CONTROLLERS:
        yield "controllers", f"lists {len(segment.controllers)}; at most {MAX_CONTROLLERS} are allowed"
    if len(set(segment.controllers)) < len(segment.controllers):
        yield "controllers", "lists one twice"
    if not rules.tls and any(endpoint.scheme == "ssl" for endpoint in segment.controllers):
        yield "controllers", "ssl: needs openflow.tls in the configuration, with the ca that verifies the controller"
    if segment.attachments is None:
        return
    if len(segment.attachments) > MAX_ATTACHMENTS:
        yield "attachments", f"lists {len(segment.attachments)}; at most {MAX_ATTACHMENTS} are allowed"
        return
    dpids: set[int] = set()
    for index, one in enumerate(segment.attachments):
        if one.dpid in dpids:
            yield (
                f"attachments[{index}].dpid",
                f"is {format_dpid(one.dpid)} again; put its ports into one attachment",
            )
        dpids.add(one.dpid)
        for name, text in _attachment(one):
            yield f"attachments[{index}].{name}", text


def _attachment(one: Attachment) -> Found:
    if not 0 <= one.dpid <= DPID_MASK:
        yield "dpid", "does not fit a DPID's 64 bits"
    for port in sorted(one.ports or ()):
        if not 1 <= port <= PORT_MAX and port != LOCAL_PORT:
            yield "ports", f"must be port numbers 1..{PORT_MAX} or LOCAL, not {port}"
    for port, queues in one.queues.items():
        if one.ports is not None and port not in one.ports:
            yield "queues", f"names port {port}, which is not in ports"
        if not all(0 <= queue <= QUEUE_MAX for queue in queues):
            yield "queues", f"must be queue ids 0..{QUEUE_MAX}"
