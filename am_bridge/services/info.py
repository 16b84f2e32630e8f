"""ServerService: what one talks to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from am_bridge import convert
from am_bridge.auth import Role
from am_bridge.call import Call
from am_bridge.fields import to_timestamp
from vmoc.v1 import server_pb2 as m

FEATURES: Final = ("vlan-choice", "resume-token-earliest")
_ROLES: Final = {
    Role.ADMIN: m.CALLER_ROLE_ADMIN,
    Role.AM: m.CALLER_ROLE_AM,
    Role.VIEWER: m.CALLER_ROLE_VIEWER,
}


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of what there is."""

    slices: int = 0
    segments: int = 0
    switches: int = 0
    datapaths: int = 0
    controllers: int = 0
    slivers: int = 0
    operations: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the server runs. ``start_time`` is seconds since the epoch."""

    version: str
    boot_id: str
    start_time: float
    openflow_versions: Sequence[str]
    openflow_listeners: Sequence[str]
    max_message_bytes: int


class Condition(Protocol):
    """How the server is doing."""

    def look(self, timeout: float) -> tuple[str, Tally]:
        """``starting``, ``ready``, ``degraded`` or ``draining``; and how many there are of what."""


_STATES: Final = {
    "starting": m.SERVER_STATE_STARTING,
    "ready": m.SERVER_STATE_READY,
    "degraded": m.SERVER_STATE_DEGRADED,
    "draining": m.SERVER_STATE_DRAINING,
}


class ServerService:
    """See the module."""

    def __init__(self, identity: Identity, condition: Condition, wall: Callable[[], float]) -> None:
        self._identity = identity
        self._condition = condition
        self._wall = wall

    def GetServerInfo(self, _: m.GetServerInfoRequest, call: Call) -> m.ServerInfo:
        """Everything."""
        identity, caller = self._identity, call.caller
        state, tally = self._condition.look(call.left)
        return m.ServerInfo(
            version=identity.version,
            boot_id=identity.boot_id,
            start_time=to_timestamp(identity.start_time),
            features=FEATURES,
            openflow_versions=identity.openflow_versions,
            state=_STATES[state],
            counts=m.ServerCounts(
                slice_count=tally.slices,
                segment_count=tally.segments,
                connected_switch_count=tally.switches,
                virtual_datapath_count=tally.datapaths,
                connected_controller_count=tally.controllers,
                sliver_count=tally.slivers,
                running_operation_count=tally.operations,
            ),
            caller=m.CallerIdentity(name=caller.name, role=_ROLES[caller.role], manager=caller.manager),
            request_limits=m.RequestLimits(
                max_message_bytes=identity.max_message_bytes,
                max_batch_slices=convert.MOST_BATCH,
                max_sync_slices=convert.MOST_SYNC,
                max_segments=convert.MOST_SEGMENTS,
                max_page_size=1000,
            ),
            server_time=to_timestamp(self._wall()),
            openflow_listeners=identity.openflow_listeners,
        )
