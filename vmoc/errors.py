"""One error tree, and the code book: why something is refused, and how each outside world is told.

Every refusal has a ``Reason``. A reason knows the OpenFlow error for 1.0 and
1.3 (type, code), the gRPC status and the exit code of the command line, so
that a controller, an aggregate manager and a shell script learn the same fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OfError = tuple[int, int]
"""(type, code) of an OFPT_ERROR (OF1.0 5.4.4, OF1.3 7.4.4)."""


class VmocError(Exception):
    """Root of everything VMOC raises on purpose."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One way to be refused. ``of10``/``of13`` are None where that version cannot meet it."""

    code: str
    of10: OfError | None
    of13: OfError | None
    summary: str
    grpc: str = "PERMISSION_DENIED"
    exit_code: int = 1

    def error(self, version: int) -> OfError:
        """The OpenFlow error for a negotiated version; BAD_REQUEST/BAD_TYPE where the book is silent."""
        found = self.of10 if version == 1 else self.of13
        return found if found is not None else (1, 1)


class Refused(VmocError):
    """A message was not understood, or understood and not allowed."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.code}: {detail or reason.summary}")
        self.reason = reason
        self.detail = detail or reason.summary


REASONS: Final[dict[str, Reason]] = {}


def _reason(code: str, of10: OfError | None, of13: OfError | None, summary: str) -> Reason:
    reason = Reason(code, of10, of13, summary)
    REASONS[code] = reason
    return reason


# Wire: the message is not well formed (vetting K-rules). Names follow the rule they serve.
BAD_VERSION = _reason("bad-version", (1, 0), (1, 0), "header version is not the negotiated one")
BAD_TYPE = _reason("bad-type", (1, 1), (1, 1), "message type unknown, or not one a controller sends")
BAD_LENGTH = _reason("bad-length", (1, 6), (1, 6), "message length does not fit its content")
ACTION_LENGTH = _reason("action-length", (2, 1), (2, 1), "action length is wrong for its type or overruns")
INSTRUCTION_LENGTH = _reason("instruction-length", None, (3, 7), "instruction length is wrong or overruns")
MATCH_TYPE = _reason("match-type", None, (4, 0), "match is not of type OXM")
MATCH_LENGTH = _reason("match-length", None, (4, 1), "match or match field overruns")
MATCH_FIELD = _reason("match-field", None, (4, 6), "match field unknown, of another class, or of wrong length")
MATCH_VALUE = _reason("match-value", None, (4, 7), "match value is outside the field's range")
MATCH_MASK = _reason("match-mask", None, (4, 8), "field cannot be masked")
MATCH_WILDCARDS = _reason("match-wildcards", None, (4, 5), "value has bits outside its mask")
MATCH_PREREQ = _reason("match-prerequisite", None, (4, 9), "a field this one needs is missing")
MATCH_DUPLICATE = _reason("match-duplicate", None, (4, 10), "field appears twice")
SET_FIELD_FORM = _reason("set-field-form", None, (2, 14), "set-field must carry one unmasked field and zero padding")
TOO_MANY_ACTIONS = _reason("too-many-actions", (2, 7), (2, 7), "too many actions or outputs")
CODEC_BUG = _reason("codec-bug", (1, 6), (1, 6), "the message could not be decoded")
HELLO_FAILED = _reason("hello-failed", (0, 0), (0, 0), "no common OpenFlow version")

# Policy: well formed, but outside what the slice may do (vetting 1.4).
FOREIGN_VLAN = _reason("foreign-vlan", (3, 2), (5, 4), "the flow names a VLAN that is not the slice's")
FOREIGN_IN_PORT = _reason("foreign-in-port", (3, 2), (5, 4), "the flow names an input port outside the slice")
PRIORITY_TAKEN = _reason(
    "priority-taken", (3, 2), (5, 4), "another flow of the slice already uses the highest priority"
)
FOREIGN_OUT_PORT = _reason("foreign-out-port", (2, 4), (2, 4), "output to a port outside the slice")
VLAN_ACTION = _reason("vlan-action", (2, 6), (2, 6), "the action would change the slice's VLAN")
ACTION_TYPE = _reason("action-type", (2, 0), (2, 0), "action type is not offered")
ACTION_EXPERIMENTER = _reason("action-experimenter", (2, 2), (2, 2), "experimenter actions are not offered")
ACTION_ARGUMENT = _reason("action-argument", (2, 5), (2, 5), "action argument is out of range")
SET_FIELD_VALUE = _reason("set-field-value", None, (2, 15), "set-field value is out of range")
SET_FIELD_TYPE = _reason("set-field-type", None, (2, 13), "field cannot be set")
FOREIGN_QUEUE = _reason("foreign-queue", (2, 8), (2, 8), "queue is not granted to the slice")
UNKNOWN_GROUP = _reason("unknown-group", None, (2, 9), "the slice has no such group")
UNKNOWN_METER = _reason("unknown-meter", None, (12, 2), "the slice has no such meter")
TABLE_ID = _reason("table-id", None, (5, 2), "table does not exist")
GOTO_TABLE = _reason("goto-table", None, (3, 2), "goto must lead to a later, existing table")
STATS_TABLE = _reason("stats-table", None, (1, 9), "table does not exist")
INSTRUCTION_TYPE = _reason("instruction-type", None, (3, 0), "instruction type unknown")
INSTRUCTION_EXPERIMENTER = _reason(
    "instruction-experimenter", None, (3, 5), "experimenter instructions are not offered"
)
INSTRUCTION_DUPLICATE = _reason("instruction-duplicate", None, (3, 1), "instruction appears twice")
METADATA = _reason("metadata", None, (3, 3), "metadata bits are not supported by the switch")
METADATA_WRITE = _reason(
    "metadata-write", None, (3, 4), "these metadata bits say whose a packet is; they are not written"
)
METADATA_MATCH = _reason(
    "metadata-match", None, (4, 8), "these metadata bits say whose a packet is; they are not matched"
)
FLOW_QUOTA = _reason("flow-quota", (3, 0), (5, 1), "the slice's flow quota on this switch is used up")
BUFFER_ID = _reason("buffer-id", (1, 8), (1, 8), "buffer ids are not offered; send the whole packet")
BUFFER_EMPTY = _reason("buffer-empty", (1, 7), (1, 7), "the buffered packet was used already")
PACKET_VLAN = _reason("packet-vlan", (1, 5), (1, 5), "the packet is not tagged with the slice's VLAN")
PACKET_SHORT = _reason("packet-short", (1, 6), (1, 12), "the packet is shorter than its headers")
PACKET_IN_PORT = _reason("packet-in-port", (1, 5), (1, 11), "the packet-out's in_port is outside the slice")
FLOW_COMMAND = _reason("flow-command", (3, 4), (5, 6), "flow-mod command unknown")
FLOW_FLAGS = _reason("flow-flags", (3, 2), (5, 7), "flow-mod flags unknown")
EMERGENCY_FLOW = _reason("emergency-flow", (3, 0), None, "emergency flows are not offered")
EMERGENCY_TIMEOUT = _reason("emergency-timeout", (3, 3), None, "emergency flows cannot time out")
SWITCH_CONFIG = _reason("switch-config", (1, 5), (10, 2), "fragment handling is switch-wide")
SWITCH_CONFIG_FLAGS = _reason("switch-config-flags", (1, 5), (10, 0), "configuration flags unknown")
PORT_UNKNOWN = _reason("port-unknown", (4, 0), (7, 0), "port is not the slice's")
PORT_ADDRESS = _reason("port-address", (4, 1), (7, 1), "hardware address is not the port's")
PORT_FORBIDDEN = _reason("port-forbidden", (1, 5), (7, 4), "the port is shared; its configuration is the operator's")
QUEUE_PORT = _reason("queue-port", (5, 0), (9, 0), "port is not the slice's")
QUEUE_UNKNOWN = _reason("queue-unknown", (5, 1), (9, 1), "queue is not granted to the slice")
STATS_TYPE = _reason("stats-type", (1, 2), (1, 2), "statistics type unknown")
STATS_MORE = _reason("stats-more", None, (1, 13), "a request in several parts is not supported")
EXPERIMENTER = _reason("experimenter", (1, 3), (1, 3), "experimenter messages are not offered")
TABLE_CONFIG = _reason("table-config", None, (8, 2), "tables are shared; their configuration is the operator's")
TABLE_CONFIG_ID = _reason("table-config-id", None, (8, 0), "table does not exist")
TABLE_FEATURES_SET = _reason(
    "table-features-set", None, (13, 5), "tables are shared; their features are the operator's"
)
GROUP_QUOTA = _reason("group-quota", None, (6, 3), "the slice's group quota on this switch is used up")
GROUP_UNKNOWN = _reason("group-unknown", None, (6, 8), "the slice has no such group")
GROUP_COMMAND = _reason("group-command", None, (6, 11), "group-mod command unknown")
GROUP_INVALID = _reason("group-invalid", None, (6, 1), "group id is reserved")
GROUP_EXISTS = _reason("group-exists", None, (6, 0), "the slice has this group already")
GROUP_TYPE = _reason("group-type", None, (6, 10), "group type unknown")
GROUP_WATCH = _reason("group-watch", None, (6, 13), "watched port or group is not the slice's")
GROUP_LOOP = _reason("group-loop", None, (6, 7), "groups would lead back to themselves")
GROUP_CHAIN = _reason("group-chain", None, (6, 5), "groups are chained too deep")
GROUP_CHAINED = _reason("group-chained", None, (6, 9), "another group still leads to this one")
BUCKET_LENGTH = _reason("bucket-length", None, (6, 12), "bucket length is wrong or overruns")
BUCKET_QUOTA = _reason("bucket-quota", None, (6, 4), "too many buckets")
METER_INVALID = _reason("meter-invalid", None, (12, 2), "meter id is reserved")
METER_EXISTS = _reason("meter-exists", None, (12, 1), "the slice has this meter already")
METER_BAND = _reason("meter-band", None, (12, 8), "meter band type unknown")
METER_QUOTA = _reason("meter-quota", None, (12, 10), "the slice's meter quota on this switch is used up")
METER_UNKNOWN = _reason("meter-unknown", None, (12, 3), "the slice has no such meter")
METER_COMMAND = _reason("meter-command", None, (12, 4), "meter-mod command unknown")
ROLE_STALE = _reason("role-stale", None, (11, 0), "generation id is older than the last one")
ROLE_UNKNOWN = _reason("role-unknown", None, (11, 2), "role unknown")
ROLE_SLAVE = _reason("role-slave", None, (1, 10), "a slave may not change the switch")
