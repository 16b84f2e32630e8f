"""The facts the core reports. What becomes of one (log line, metric, stream) is telemetry's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

_NONE: Final[Mapping[str, object]] = MappingProxyType({})


class Kind(StrEnum):
    """What happened; stable names, documented in docs/events.md."""

    SWITCH_CONNECTED = "switch-connected"  # TCP is up, nothing said yet
    SWITCH_UP = "switch-up"  # handshake and reconcile are done
    SWITCH_DOWN = "switch-down"
    SWITCH_REFUSED = "switch-refused"  # duplicate DPID, no common version, bad handshake
    PIPELINE = "pipeline"  # a switch cannot do what policy.pipeline or vlan_port_sharing asks for
    PORT_CHANGED = "port-changed"
    DATAPATH_STATE = "datapath-state"  # a virtual datapath: pending, flushing, connecting, active, failed, draining
    CONTROLLER_CONNECTED = "controller-connected"  # OpenFlow handshake done
    CONTROLLER_LOST = "controller-lost"
    CONTROLLER_FAILED = "controller-failed"  # an attempt failed; next one is scheduled
    VERSION_MISMATCH = "version-mismatch"
    DPID_COLLISION = "dpid-collision"
    REFUSED = "refused"  # a controller's message was refused by the policy
    MALFORMED = "malformed"  # a peer sent what is not OpenFlow
    SWITCH_ERROR = "switch-error"  # the switch answered one of our own messages with an error
    QUOTA = "quota"
    RATE_LIMITED = "rate-limited"
    DROPPED = "dropped"  # packet-ins dropped for a slow controller or over the rate
    TAINTED = "tainted"  # a VLAN could not be proven clean
    FOREIGN_FLOW = "foreign-flow"
    SLICE_ADDED = "slice-added"
    SLICE_CHANGED = "slice-changed"
    SLICE_REMOVED = "slice-removed"
    SLICE_EXPIRING = "slice-expiring"  # its expire_time is near
    SLICE_EXPIRED = "slice-expired"  # it was removed because its expire_time has come
    SLICE_HELD = "slice-held"  # a stored slice clashes with the configuration and has no effect
    OPERATION_GOES_ON = "operation-goes-on"  # an operation on a sliver was asked for, or entered another phase
    OPERATION_ENDED = "operation-ended"
    CONFIG_RELOADED = "config-reloaded"
    CONFIG_REJECTED = "config-rejected"
    CALL = "call"  # somebody asked, through the API, to change something
    SERVER_STARTED = "server-started"
    SERVER_STOPPING = "server-stopping"
    WORKER_LOST = "worker-lost"  # a worker process has ended, and is started again


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. ``detail`` holds plain values (str, int, float, bool) only.

    ``raw``: the message a refusal is about, or its header if it is long.
    """

    kind: Kind
    slice: str | None = None
    vlan: int | None = None
    dpid: int | None = None
    controller: str | None = None
    reason: str | None = None
    message: str = ""
    detail: Mapping[str, object] = field(default_factory=lambda: _NONE, hash=False)
    raw: bytes = field(default=b"", repr=False)
