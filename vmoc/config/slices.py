"""Reads the slices of a configuration, one segment at a time, and turns them into the model's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType

from vmoc.config.reader import Reader
from vmoc.config.schema import AttachmentSection, SegmentSection, SliceSection
from vmoc.model import Attachment, DpidScheme, FailMode, Limits, Presentation, Segment, Slice


@dataclass(frozen=True, slots=True)
class SliceRead:
    """What could be read of ``slices[index]``: None and missing segments are noted as problems already."""

    index: int
    section: SliceSection | None
    segments: dict[int, SegmentSection] = field(default_factory=dict)


def read_slices(reader: Reader) -> list[SliceRead]:
    """Every slice of the file, each as far as it can be read."""
    slices = []
    for index in reader.items(("slices",)):
        path = ("slices", index)
        section = reader.section(SliceSection, path, without="segments")
        read = SliceRead(index, section)
        if isinstance(reader.get(path), dict):
            for position in reader.items((*path, "segments")):
                segment = reader.section(SegmentSection, (*path, "segments", position))
                if segment is not None:
                    read.segments[position] = segment
        slices.append(read)
    return slices


def to_slice(read: SliceRead, section: SliceSection, defaults: Limits) -> Slice:
    """The model's form. Of what is given twice (a problem noted elsewhere) the first counts."""
    segments: dict[int, Segment] = {}
    for segment in read.segments.values():
        segments.setdefault(segment.vlan, _segment(segment))
    own = section.limits.model_dump(exclude_unset=True)
    return Slice(
        id=section.id,
        segments=tuple(segments.values()),
        limits=replace(defaults, **own) if own else defaults,
        labels=MappingProxyType(dict(section.labels)),
    )


def _segment(section: SegmentSection) -> Segment:
    attachments: tuple[Attachment, ...] | None = None
    if section.attachments is not None:
        by_dpid: dict[int, Attachment] = {}
        for one in section.attachments:
            by_dpid.setdefault(one.dpid, _attachment(one))
        attachments = tuple(by_dpid.values())
    return Segment(
        vlan=section.vlan,
        controllers=tuple(section.controllers),
        presentation=Presentation(section.presentation),
        dpid=DpidScheme(section.dpid),
        attachments=attachments,
        fail_mode=FailMode(section.fail_mode),
    )


def _attachment(section: AttachmentSection) -> Attachment:
    return Attachment(
        dpid=section.dpid,
        ports=None if section.ports is None else frozenset(section.ports),
        queues=MappingProxyType({port: frozenset(ids) for port, ids in section.queues.items()}),
    )
