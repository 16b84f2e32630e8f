"""Slices to try the mux with: those of the vetting specification's test vectors, and whatever a test likes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vmoc.model import Attachment, Endpoint, Limits, Origin, Presentation, Segment, Slice
from vmoc.registry import Registry, Snapshot

DPID = 0xAA
LIMITS = Limits(10, 4, 2, 0, 0, 0, 0, 0)


def endpoint(host: str) -> Endpoint:
    return Endpoint("tcp", host, 6653)


def piece(
    name: str,
    vlan: int,
    ports: Iterable[int] | None = None,
    *,
    dpid: int | None = DPID,
    limits: Limits = LIMITS,
    presentation: Presentation = Presentation.TAGGED,
    queues: dict[int, frozenset[int]] | None = None,
    controllers: tuple[str, ...] | None = None,
    **segment: Any,
) -> Slice:
    """A slice of one segment; its controller is named after it, its attachment on every switch if ``dpid`` is None."""
    attachment = Attachment(dpid or 0, None if ports is None else frozenset(ports), queues or {})
    made = Segment(
        vlan,
        tuple(endpoint(host) for host in ((name,) if controllers is None else controllers)),
        presentation,
        attachments=None if dpid is None else (attachment,),
        **segment,
    )
    return Slice(name, (made,), limits)


def with_limits(one: Slice, **limits: int) -> Slice:
    return replace(one, limits=replace(one.limits, **limits))


def with_segment(one: Slice, **changes: Any) -> Slice:
    return replace(one, segments=(replace(one.segments[0], **changes), *one.segments[1:]))


def with_ports(one: Slice, ports: tuple[int, ...] | None, queues: dict[int, frozenset[int]] | None = None) -> Slice:
    named = None if ports is None else frozenset(ports)
    return with_segment(one, attachments=(Attachment(DPID, named, queues or {}),))


# The fixture of the vetting specification's test vectors (F.0).
ALICE = piece("alice", 100, (1, 2, 3), queues={2: frozenset((7,))})
BOB = piece("bob", 200, (2, 3, 4))
TINA = piece("tina", 300, (1, 2, 5), presentation=Presentation.TRANSPARENT)
UMA = piece("uma", 400, presentation=Presentation.TRANSPARENT)
FOUR = (ALICE, BOB, TINA, UMA)


def snapshot_of(slices: Iterable[Slice], sharing: bool = False) -> Snapshot:
    registry = Registry()
    return registry.adopt(registry.plan(slices, origin=Origin.FILE, sharing=sharing))
