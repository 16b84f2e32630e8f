"""Settings as a document again, every default written out; reading it back gives the same settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vmoc.config.settings import Address, Settings
from vmoc.model import Attachment, Limits, Segment, Slice, format_dpid, format_runs
from vmoc.registry import LOCAL_PORT

_VERSIONS = {1: "1.0", 4: "1.3"}


def to_document(settings: Settings) -> dict[str, Any]:
    """The configuration file that means exactly ``settings``, as plain lists and mappings."""
    openflow: dict[str, Any] = {
        "listen": [_given(asdict(one)) for one in settings.listeners],
        "versions": [_VERSIONS[version] for version in sorted(settings.versions)],
    }
    if settings.tls is not None:
        openflow["tls"] = _files(asdict(settings.tls))
    grpc: dict[str, Any] = {"listen": _address(settings.grpc_listen)}
    if settings.grpc_tls is not None:
        grpc["tls"] = _files(asdict(settings.grpc_tls))
    if settings.grpc_roles:
        grpc["roles"] = [{key: value for key, value in asdict(one).items() if value} for one in settings.grpc_roles]
    if settings.grpc_insecure:
        grpc["insecure"] = True
    default = settings.default_controller
    document: dict[str, Any] = {
        "openflow": openflow,
        "grpc": grpc,
        "metrics": {"listen": _address(settings.metrics_listen)},
        "state": {"path": settings.state_path},
        "default_controller": {"mode": default.mode, **({"url": str(default.url)} if default.url else {})},
        "policy": asdict(settings.policy),
        "limits": asdict(settings.limits),
        "timers": asdict(settings.timers),
    }
    vlans = settings.vlans
    document["vlans"] = {"reserved": _ranges(vlans.reserved), "pool": _ranges(vlans.pool)}
    if settings.handlers is not None:
        document["handlers"] = {"config": str(settings.handlers)}
    document["slices"] = [_slice(one, settings.limits) for one in settings.slices]
    return document


def _slice(one: Slice, defaults: Limits) -> dict[str, Any]:
    document: dict[str, Any] = {"id": one.id}
    if one.labels:
        document["labels"] = dict(one.labels)
    usual = asdict(defaults)
    own = {key: value for key, value in asdict(one.limits).items() if value != usual[key]}
    if own:
        document["limits"] = own
    document["segments"] = [_segment(segment) for segment in one.segments]
    return document


def _segment(segment: Segment) -> dict[str, Any]:
    document: dict[str, Any] = {
        "vlan": segment.vlan,
        "controllers": [str(controller) for controller in segment.controllers],
        "presentation": segment.presentation.value,
        "dpid": segment.dpid.value,
        "fail_mode": segment.fail_mode.value,
    }
    if segment.attachments is not None:
        document["attachments"] = [_attachment(one) for one in segment.attachments]
    return document


def _attachment(one: Attachment) -> dict[str, Any]:
    document: dict[str, Any] = {"dpid": format_dpid(one.dpid)}
    if one.ports is not None:
        document["ports"] = [_port(port) for port in sorted(one.ports)]
    if one.queues:
        document["queues"] = {_port(port): sorted(ids) for port, ids in sorted(one.queues.items())}
    return document


def _ranges(vlans: frozenset[int]) -> list[int | str]:
    return [int(text) if text.isdecimal() else text for text in format_runs(sorted(vlans))]


def _port(port: int) -> int | str:
    return "LOCAL" if port == LOCAL_PORT else port


def _address(address: Address | None) -> str:
    if address is None:
        return "none"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _files(values: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in _given(values).items()}
