"""Whether two slices say the same, however they are written."""

from __future__ import annotations

from vmoc.model import Attachment, Segment, Slice


def same_slice(one: Slice, other: Slice) -> bool:
    """Whether they ask the same of the network; order of segments and attachments, and origin, don't matter."""
    if one is other:
        return True
    return (
        one.id == other.id
        and one.limits == other.limits
        and one.manager == other.manager
        and one.enabled == other.enabled
        and one.owner == other.owner
        and _millis(one.expire_time) == _millis(other.expire_time)
        and dict(one.labels) == dict(other.labels)
        and len(one.segments) == len(other.segments)
        and (one.segments == other.segments or _segments(one) == _segments(other))
    )


def _millis(seconds: float | None) -> int | None:
    """Protobuf's nanoseconds and a float's differ in the last digits."""
    return None if seconds is None else round(seconds * 1000)


def _segments(one: Slice) -> dict[int, tuple[object, ...]]:
    return {segment.vlan: _segment(segment) for segment in one.segments}


def _segment(segment: Segment) -> tuple[object, ...]:
    attachments = segment.attachments
    places = None if attachments is None else {one.dpid: _place(one) for one in attachments}
    return (segment.controllers, segment.presentation, segment.dpid, segment.fail_mode, places)


def _place(one: Attachment) -> tuple[object, ...]:
    return (one.ports, dict(one.queues))
