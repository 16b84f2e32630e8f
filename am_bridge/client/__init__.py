"""A client for aggregate managers: say which slices shall be, and they are, across restarts of either side.

``async with VmocClient(...)``, or ``with VmocClientSync(...)`` without asyncio. docs/am-guide.md shows both.
"""

from am_bridge.channel import ClientTlsFiles
from am_bridge.client.blocking import BlockingChange, VmocClientSync
from am_bridge.client.calls import Deadlines
from am_bridge.client.client import Change, VmocClient
from am_bridge.client.errors import (
    BusyError,
    ChangedMeanwhileError,
    ClientError,
    ClosedError,
    ConflictError,
    ExhaustedError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ServerFailedError,
    SupersededError,
    TimedOutError,
    UnreachableError,
    UnsupportedError,
)
from am_bridge.client.reconcile import OnDrift
from am_bridge.client.records import ControllerStatus, DatapathStatus, Event, Gap, ServerRecord, SliceRecord
from am_bridge.client.steps import Connected, Done, Drifted, DriftKind, Expired, Failed, Report, Trouble
from am_bridge.convert import Choice
from vmoc.model import Attachment, DpidScheme, Endpoint, FailMode, Limits, Presentation, Segment, Slice

__all__ = [
    "Attachment",
    "BlockingChange",
    "BusyError",
    "Change",
    "ChangedMeanwhileError",
    "Choice",
    "ClientError",
    "ClientTlsFiles",
    "ClosedError",
    "ConflictError",
    "Connected",
    "ControllerStatus",
    "DatapathStatus",
    "Deadlines",
    "Done",
    "DpidScheme",
    "DriftKind",
    "Drifted",
    "Endpoint",
    "Event",
    "ExhaustedError",
    "Expired",
    "FailMode",
    "Failed",
    "ForbiddenError",
    "Gap",
    "InvalidRequestError",
    "Limits",
    "NotFoundError",
    "OnDrift",
    "Presentation",
    "Report",
    "Segment",
    "ServerFailedError",
    "ServerRecord",
    "Slice",
    "SliceRecord",
    "SupersededError",
    "TimedOutError",
    "Trouble",
    "UnreachableError",
    "UnsupportedError",
    "VmocClient",
    "VmocClientSync",
]
