"""A slice as JSON and back: every field is written, none is guessed.

The id is not in it (it is the row's key), nor the origin (what is stored came
from the API).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from vmoc.model import (
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
    parse_dpid,
)

_endpoint: Final = lru_cache(8192)(Endpoint.parse)
_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NO_QUEUES: Final = Attachment(0).queues


def encode(one: Slice) -> str:
    """Compact JSON of everything but id and origin."""
    body = {
        "segments": [_write_segment(segment) for segment in one.segments],
        "limits": _write_limits(one.limits),
        "labels": dict(one.labels),
        "manager": one.manager,
        "enabled": one.enabled,
        "owner": one.owner,
        "expire_time": one.expire_time,
    }
    return _json(body)


def decode(slice_id: str, text: str) -> Slice:
    """The slice of that id. Raises ``ValueError``, ``TypeError`` or ``LookupError`` on foreign text."""
    body = json.loads(text)
    known = {"segments", "limits", "labels", "manager", "enabled", "owner", "expire_time"}
    if body.keys() != known:
        raise ValueError(f"keys are missing or unknown: {sorted(body.keys() ^ known)}")
    expire_time = body["expire_time"]
    return Slice(
        id=slice_id,
        segments=tuple(_read_segment(segment) for segment in body["segments"]),
        limits=_limits(tuple(body["limits"].items())),
        labels=MappingProxyType({_text(key): _text(value) for key, value in body["labels"].items()}),
        manager=_text(body["manager"]),
        origin=Origin.API,
        enabled=_truth(body["enabled"]),
        owner=_text(body["owner"]),
        expire_time=None if expire_time is None else float(expire_time),
    )


@lru_cache(1024)
def _write_limits(limits: Limits) -> dict[str, int]:
    return asdict(limits)


def _write_segment(segment: Segment) -> dict[str, Any]:
    attachments = segment.attachments
    return {
        "vlan": segment.vlan,
        "controllers": [str(controller) for controller in segment.controllers],
        "presentation": segment.presentation.value,
        "dpid": segment.dpid.value,
        "attachments": None if attachments is None else [_write_attachment(one) for one in attachments],
        "fail_mode": segment.fail_mode.value,
    }


def _write_attachment(one: Attachment) -> dict[str, Any]:
    return {
        "dpid": format_dpid(one.dpid),
        "ports": None if one.ports is None else sorted(one.ports),
        "queues": {str(port): sorted(ids) for port, ids in sorted(one.queues.items())},
    }


def _read_segment(body: dict[str, Any]) -> Segment:
    attachments = body["attachments"]
    return Segment(
        vlan=_whole(body["vlan"]),
        controllers=tuple(_endpoint(text) for text in body["controllers"]),
        presentation=Presentation(body["presentation"]),
        dpid=DpidScheme(body["dpid"]),
        attachments=None if attachments is None else tuple(_read_attachment(one) for one in attachments),
        fail_mode=FailMode(body["fail_mode"]),
    )


def _read_attachment(body: dict[str, Any]) -> Attachment:
    ports, queues = body["ports"], body["queues"]
    return Attachment(
        dpid=parse_dpid(_text(body["dpid"])),
        ports=None if ports is None else frozenset(_whole(port) for port in ports),
        queues=MappingProxyType({int(port): frozenset(map(_whole, ids)) for port, ids in queues.items()})
        if queues
        else _NO_QUEUES,
    )


@lru_cache(1024)
def _limits(items: tuple[tuple[str, int], ...]) -> Limits:
    return Limits(**{key: _whole(value) for key, value in items})


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value
