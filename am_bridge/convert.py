"""Slices, from protobuf to ``vmoc.model`` and back.

Towards the model everything is checked, and everything that is wrong is told at once, with paths like
``slices[3].segments[2].vlan_id``. What is left to the caller: whether VLANs are free, times in the future, and
addresses not our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from am_bridge import fields as read
from am_bridge.violations import Violations, violation
from vmoc.model import (
    VLAN_MAX,
    VLAN_MIN,
    Attachment,
    DpidScheme,
    Endpoint,
    FailMode,
    Limits,
    Origin,
    Presentation,
    Segment,
    Slice,
    format_dpid,
)
from vmoc.v1 import resources_pb2 as pb

MOST_BATCH: Final = 1000
MOST_SYNC: Final = 50_000
MOST_SEGMENTS: Final = VLAN_MAX
MOST_LABELS: Final = 64
MOST_LABEL_KEY: Final = 63
MOST_LABEL_VALUE: Final = 256
MOST_OWNER: Final = 256
MOST_CONTROLLERS: Final = 16
MOST_ATTACHMENTS: Final = 4096
MOST_PORTS: Final = 4096
MOST_QUEUES: Final = 256
MOST_PLACES: Final = 1 << 21
"""Attachments, ports and queues of one call: a byte of a request may become a hundred in memory."""
MOST_RANGES: Final = 64
_LIMITS: Final = tuple(one.name for one in fields(Limits))

_PRESENTATIONS: Final = {
    pb.PRESENTATION_UNSPECIFIED: Presentation.TAGGED,
    pb.PRESENTATION_TAGGED: Presentation.TAGGED,
    pb.PRESENTATION_TRANSPARENT: Presentation.TRANSPARENT,
}
_SCHEMES: Final = {
    pb.DPID_SCHEME_UNSPECIFIED: DpidScheme.VLAN,
    pb.DPID_SCHEME_VLAN: DpidScheme.VLAN,
    pb.DPID_SCHEME_PHYSICAL: DpidScheme.PHYSICAL,
}
_FAIL_MODES: Final = {
    pb.FAIL_MODE_UNSPECIFIED: FailMode.SECURE,
    pb.FAIL_MODE_SECURE: FailMode.SECURE,
    pb.FAIL_MODE_STANDALONE: FailMode.STANDALONE,
    pb.FAIL_MODE_FLUSH: FailMode.FLUSH,
}
_ENABLED: Final = {
    pb.ADMIN_STATE_UNSPECIFIED: True,
    pb.ADMIN_STATE_ENABLED: True,
    pb.ADMIN_STATE_DISABLED: False,
}
_ORIGINS: Final = {Origin.FILE: pb.SLICE_ORIGIN_FILE, Origin.API: pb.SLICE_ORIGIN_API}
# The other way; of two spellings the last, which is the explicit one, counts.
_TO_PRESENTATION: Final = {value: key for key, value in _PRESENTATIONS.items()}
_TO_SCHEME: Final = {value: key for key, value in _SCHEMES.items()}
_TO_FAIL_MODE: Final = {value: key for key, value in _FAIL_MODES.items()}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which free VLANs do. ``ranges`` and ``avoided`` are (first, last), both included; no ranges means any."""

    ranges: tuple[tuple[int, int], ...] = ()
    avoided: tuple[tuple[int, int], ...] = ()
    pool: str = ""

    def allows(self, vlan: int) -> bool:
        """Whether the ranges do; what is in the pool is not known here."""
        wanted = not self.ranges or any(first <= vlan <= last for first, last in self.ranges)
        return wanted and not any(first <= vlan <= last for first, last in self.avoided)


@dataclass(frozen=True, slots=True)
class Asked:
    """A slice as it was asked for.

    Segments that take any free VLAN have ``vlan`` 0; ``choices`` says by their index which VLANs do.
    """

    slice: Slice
    choices: Mapping[int, Choice] = field(default_factory=dict)


# -- from protobuf -----------------------------------------------------------------------------------------------------


def asked_slices(messages: Sequence[pb.Slice], defaults: Limits, most: int = MOST_BATCH) -> list[Asked]:
    """The slices of a batch; raises ``ApiError`` with every violation of all of them."""
    problems = Violations()
    if len(messages) > most:
        problems.add("slices", f"must be at most {most}, not {len(messages)}")
        problems.check()
    _check_places("slices", messages)
    asked, known = [], dict[str, int]()
    for index, message in enumerate(messages):
        path = f"slices[{index}]"
        one = read_slice(message, defaults, path, problems)
        first = known.setdefault(one.slice.id, index)
        if first != index and one.slice.id:
            problems.add(f"{path}.slice_id", f"is given twice, in slices[{first}] too")
        asked.append(one)
    problems.check()
    return asked


def asked_slice(message: pb.Slice, defaults: Limits, path: str = "slice") -> Asked:
    """One slice; raises ``ApiError`` with every violation."""
    _check_places(path, [message])
    problems = Violations()
    asked = read_slice(message, defaults, path, problems)
    problems.check()
    return asked


def _check_places(path: str, messages: Iterable[pb.Slice]) -> None:
    """Before anything is made of them. Raises ``ApiError``."""
    count = 0
    for message in messages:
        for segment in message.segments:
            for one in segment.attachments:
                count += 1 + len(one.ports)
                for queues in one.queues:
                    count += 1 + len(queues.queue_ids)
    if count > MOST_PLACES:
        text = f"must have at most {MOST_PLACES} attachments, ports and queues together, not {count}"
        raise violation(path, text)


def read_slice(message: pb.Slice, defaults: Limits, path: str, problems: Violations) -> Asked:
    """One slice; what is wrong with it is added to ``problems``, and then it is not to be used."""
    choices: dict[int, Choice] = {}
    segments: tuple[Segment, ...] = ()
    if len(message.segments) > MOST_SEGMENTS:
        problems.add(f"{path}.segments", f"must be at most {MOST_SEGMENTS}, not {len(message.segments)}")
    else:
        segments = _read_segments(message.segments, f"{path}.segments", choices, problems)
    if message.admin_state not in _ENABLED:
        problems.add(f"{path}.admin_state", f"must be one of AdminState, not {message.admin_state}")
    expires = message.HasField("expire_time")
    one = Slice(
        id=read.read_name(message.slice_id, f"{path}.slice_id", problems),
        segments=segments,
        limits=read_limits(message.limits, defaults, f"{path}.limits", problems),
        labels=_read_labels(message.labels, f"{path}.labels", problems),
        manager=read.read_name(message.manager, f"{path}.manager", problems, optional=True),
        origin=Origin.API,
        enabled=_ENABLED.get(message.admin_state, False),
        owner=read.read_text(message.owner, f"{path}.owner", problems, MOST_OWNER),
        expire_time=read.read_time(message.expire_time, f"{path}.expire_time", problems) if expires else None,
    )
    return Asked(one, choices)


def read_limits(message: pb.Limits, defaults: Limits, path: str, problems: Violations) -> Limits:
    """The limits that are given, and the default for each of the others."""
    own: dict[str, int] = {}
    for name in _LIMITS:
        if message.HasField(name):
            own[name] = value = getattr(message, name)
            if value < 0:
                problems.add(f"{path}.{name}", f"must be 0 (unlimited) or more, not {value}")
    return replace(defaults, **own) if own else defaults


def _read_labels(labels: Mapping[str, str], path: str, problems: Violations) -> Mapping[str, str]:
    if len(labels) > MOST_LABELS:
        problems.add(path, f"must be at most {MOST_LABELS}, not {len(labels)}")
        return {}
    for key, value in labels.items():
        where = f"{path}[{read.shown(key)}]"
        if not 1 <= len(key) <= MOST_LABEL_KEY or not key.isprintable():
            problems.add(where, f"must have a key of 1 to {MOST_LABEL_KEY} printable characters")
        read.read_text(value, where, problems, MOST_LABEL_VALUE)
    return MappingProxyType(dict(labels))


def _read_segments(
    messages: Iterable[pb.Segment], path: str, choices: dict[int, Choice], problems: Violations
) -> tuple[Segment, ...]:
    segments = []
    known: dict[int, int] = {}
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        segment = _read_segment(message, where, problems)
        segments.append(segment)
        if message.vlan_id == 0:
            choices[index] = _read_choice(message.vlan_choice, f"{where}.vlan_choice", problems)
            continue
        if message.HasField("vlan_choice"):
            problems.add(f"{where}.vlan_choice", "must be absent if vlan_id is given")
        first = known.setdefault(message.vlan_id, index)
        if first != index:
            problems.add(f"{where}.vlan_id", f"is given twice, VLAN {message.vlan_id} is that of segments[{first}] too")
    return tuple(segments)


def _read_segment(message: pb.Segment, path: str, problems: Violations) -> Segment:
    for name, known in (("presentation", _PRESENTATIONS), ("dpid_scheme", _SCHEMES), ("fail_mode", _FAIL_MODES)):
        value: int = getattr(message, name)
        if value not in known:
            problems.add(f"{path}.{name}", f"must be one of the values this server knows, not {value}")
    return Segment(
        vlan=read.read_vlan(message.vlan_id, f"{path}.vlan_id", problems, optional=True),
        controllers=_read_controllers(message.controllers, f"{path}.controllers", problems),
        presentation=_PRESENTATIONS.get(message.presentation, Presentation.TAGGED),
        dpid=_SCHEMES.get(message.dpid_scheme, DpidScheme.VLAN),
        attachments=_read_attachments(message, f"{path}.attachments", problems),
        fail_mode=_FAIL_MODES.get(message.fail_mode, FailMode.SECURE),
    )


def _read_controllers(addresses: Sequence[str], path: str, problems: Violations) -> tuple[Endpoint, ...]:
    if len(addresses) > MOST_CONTROLLERS:
        problems.add(path, f"must be at most {MOST_CONTROLLERS}, not {len(addresses)}")
        return ()
    controllers: dict[Endpoint, int] = {}
    for index, address in enumerate(addresses):
        controller = read.read_controller(address, f"{path}[{index}]", problems)
        if controller is None:
            continue
        first = controllers.setdefault(controller, index)
        if first != index:
            problems.add(f"{path}[{index}]", f"is given twice, in controllers[{first}] too")
    return tuple(controllers)


def _read_attachments(message: pb.Segment, path: str, problems: Violations) -> tuple[Attachment, ...] | None:
    if message.unattached:
        if message.attachments:
            problems.add(path, "must be empty if unattached is set")
        return ()
    if not message.attachments:
        return None
    if len(message.attachments) > MOST_ATTACHMENTS:
        problems.add(path, f"must be at most {MOST_ATTACHMENTS}, not {len(message.attachments)}")
        return ()
    attachments, known = [], dict[int, int]()
    for index, one in enumerate(message.attachments):
        where = f"{path}[{index}]"
        before = problems.count
        dpid = read.read_dpid(one.dpid, f"{where}.dpid", problems)
        if problems.count == before and (first := known.setdefault(dpid, index)) != index:
            problems.add(f"{where}.dpid", f"is given twice, {format_dpid(dpid)} is that of attachments[{first}] too")
        ports = _read_ports(one, f"{where}.ports", problems)
        attachments.append(Attachment(dpid, ports, _read_queues(one, ports, f"{where}.queues", problems)))
    return tuple(attachments)


def _read_ports(message: pb.Attachment, path: str, problems: Violations) -> frozenset[int] | None:
    if message.no_ports:
        if message.ports:
            problems.add(path, "must be empty if no_ports is set")
        return frozenset()
    if not message.ports:
        return None
    if len(message.ports) > MOST_PORTS:
        problems.add(path, f"must be at most {MOST_PORTS}, not {len(message.ports)}")
        return frozenset()
    ports: set[int] = set()
    for index, port in enumerate(message.ports):
        if port in ports:
            problems.add(f"{path}[{index}]", f"is given twice, port {port}")
        ports.add(port)
        read.read_port(port, f"{path}[{index}]", problems)
    return frozenset(ports)


def _read_queues(
    message: pb.Attachment, ports: frozenset[int] | None, path: str, problems: Violations
) -> Mapping[int, frozenset[int]]:
    if len(message.queues) > MOST_PORTS:
        problems.add(path, f"must be at most {MOST_PORTS}, not {len(message.queues)}")
        return {}
    queues: dict[int, frozenset[int]] = {}
    for index, one in enumerate(message.queues):
        where = f"{path}[{index}]"
        read.read_port(one.port, f"{where}.port", problems)
        if one.port in queues:
            problems.add(f"{where}.port", f"is given twice, port {one.port}")
        elif ports is not None and one.port not in ports:
            problems.add(f"{where}.port", f"must be one of the attachment's ports, not {one.port}")
        if len(one.queue_ids) > MOST_QUEUES:
            problems.add(f"{where}.queue_ids", f"must be at most {MOST_QUEUES}, not {len(one.queue_ids)}")
            continue
        ids = frozenset(one.queue_ids)
        if ids and max(ids) > read.QUEUE_MAX:
            problems.add(f"{where}.queue_ids", f"must be 0 to {read.QUEUE_MAX}, not {max(ids)}")
        queues[one.port] = ids
    return MappingProxyType(queues)


def _read_choice(message: pb.VlanChoice, path: str, problems: Violations) -> Choice:
    return Choice(
        ranges=read_ranges(message.ranges, f"{path}.ranges", problems),
        avoided=read_ranges(message.avoided_ranges, f"{path}.avoided_ranges", problems),
        pool=read.read_text(message.pool, f"{path}.pool", problems, 128),
    )


def read_ranges(messages: Sequence[pb.VlanRange], path: str, problems: Violations) -> tuple[tuple[int, int], ...]:
    """VLAN ranges as (first, last)."""
    if len(messages) > MOST_RANGES:
        problems.add(path, f"must be at most {MOST_RANGES}, not {len(messages)}")
        return ()
    ranges = []
    for index, one in enumerate(messages):
        where = f"{path}[{index}]"
        if VLAN_MIN <= one.first <= one.last <= VLAN_MAX:
            ranges.append((one.first, one.last))
            continue
        before = problems.count
        read.read_vlan(one.first, f"{where}.first", problems)
        read.read_vlan(one.last, f"{where}.last", problems)
        if problems.count == before:
            problems.add(f"{where}.last", f"must not be below first, {one.first}; it is {one.last}")
    return tuple(ranges)


# -- to protobuf -------------------------------------------------------------------------------------------------------


def slice_message(
    one: Slice, *, etag: str = "", create_time: float | None = None, update_time: float | None = None
) -> pb.Slice:
    """A slice as answers have it, without status. Times are in seconds since the epoch."""
    message = pb.Slice(
        slice_id=one.id,
        manager=one.manager,
        owner=one.owner,
        labels=one.labels,
        segments=[segment_message(segment) for segment in one.segments],
        limits=_limits(one.limits),
        admin_state=pb.ADMIN_STATE_ENABLED if one.enabled else pb.ADMIN_STATE_DISABLED,
        etag=etag,
        origin=_ORIGINS[one.origin],
    )
    for name, seconds in (
        ("expire_time", one.expire_time),
        ("create_time", create_time),
        ("update_time", update_time),
    ):
        if seconds is not None:
            getattr(message, name).CopyFrom(read.to_timestamp(seconds))
    return message


def origin_of(one: Slice) -> pb.SliceOrigin:
    """Who made it, in the API's words."""
    return _ORIGINS[one.origin]


def segment_message(segment: Segment) -> pb.Segment:
    """A segment as answers have it."""
    return pb.Segment(
        vlan_id=segment.vlan,
        controllers=[str(controller) for controller in segment.controllers],
        presentation=_TO_PRESENTATION[segment.presentation],
        dpid_scheme=_TO_SCHEME[segment.dpid],
        attachments=[_attachment_message(one) for one in segment.attachments or ()],
        fail_mode=_TO_FAIL_MODE[segment.fail_mode],
        unattached=segment.attachments == (),
    )


def _attachment_message(attachment: Attachment) -> pb.Attachment:
    return pb.Attachment(
        dpid=format_dpid(attachment.dpid),
        ports=sorted(attachment.ports or ()),
        queues=[pb.PortQueues(port=port, queue_ids=sorted(ids)) for port, ids in sorted(attachment.queues.items())],
        no_ports=attachment.ports is not None and not attachment.ports,
    )


def limits_message(limits: Limits) -> pb.Limits:
    """Every limit, given or default."""
    return pb.Limits(**{name: getattr(limits, name) for name in _LIMITS})


_limits: Final = lru_cache(1024)(limits_message)
"""Most slices have the same ones. What it returns is copied, never changed."""
