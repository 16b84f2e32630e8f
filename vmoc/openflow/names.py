"""Names of messages and errors, for people: logs, events, explanations."""

from __future__ import annotations

from typing import Final

_SAME: Final = (
    "HELLO ERROR ECHO_REQUEST ECHO_REPLY EXPERIMENTER FEATURES_REQUEST FEATURES_REPLY GET_CONFIG_REQUEST "
    "GET_CONFIG_REPLY SET_CONFIG PACKET_IN FLOW_REMOVED PORT_STATUS PACKET_OUT FLOW_MOD"
).split()
_V10: Final = (
    *_SAME,
    *"PORT_MOD STATS_REQUEST STATS_REPLY BARRIER_REQUEST BARRIER_REPLY".split(),
    *"QUEUE_GET_CONFIG_REQUEST QUEUE_GET_CONFIG_REPLY".split(),
)
_V13: Final = (
    *_SAME,
    *"GROUP_MOD PORT_MOD TABLE_MOD MULTIPART_REQUEST MULTIPART_REPLY BARRIER_REQUEST BARRIER_REPLY".split(),
    *"QUEUE_GET_CONFIG_REQUEST QUEUE_GET_CONFIG_REPLY ROLE_REQUEST ROLE_REPLY".split(),
    *"GET_ASYNC_REQUEST GET_ASYNC_REPLY SET_ASYNC METER_MOD".split(),
)
MESSAGES: Final[dict[int, tuple[str, ...]]] = {1: tuple(_V10), 4: tuple(_V13)}
VERSIONS: Final[dict[int, str]] = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4", 6: "1.5"}

_ERRORS: Final[dict[int, dict[int, tuple[str, ...]]]] = {
    1: {
        0: ("HELLO_FAILED", "INCOMPATIBLE", "EPERM"),
        1: (
            "BAD_REQUEST",
            *"BAD_VERSION BAD_TYPE BAD_STAT BAD_VENDOR BAD_SUBTYPE EPERM BAD_LEN BUFFER_EMPTY BUFFER_UNKNOWN".split(),
        ),
        2: (
            "BAD_ACTION",
            *"BAD_TYPE BAD_LEN BAD_VENDOR BAD_VENDOR_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY BAD_QUEUE".split(),
        ),
        3: (
            "FLOW_MOD_FAILED",
            *"ALL_TABLES_FULL OVERLAP EPERM BAD_EMERG_TIMEOUT BAD_COMMAND UNSUPPORTED".split(),
        ),
        4: ("PORT_MOD_FAILED", "BAD_PORT", "BAD_HW_ADDR"),
        5: ("QUEUE_OP_FAILED", "BAD_PORT", "BAD_QUEUE", "EPERM"),
    },
    4: {
        0: ("HELLO_FAILED", "INCOMPATIBLE", "EPERM"),
        1: (
            "BAD_REQUEST",
            *"BAD_VERSION BAD_TYPE BAD_MULTIPART BAD_EXPERIMENTER BAD_EXP_TYPE EPERM BAD_LEN BUFFER_EMPTY".split(),
            *"BUFFER_UNKNOWN BAD_TABLE_ID IS_SLAVE BAD_PORT BAD_PACKET MULTIPART_BUFFER_OVERFLOW".split(),
        ),
        2: (
            "BAD_ACTION",
            *"BAD_TYPE BAD_LEN BAD_EXPERIMENTER BAD_EXP_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY".split(),
            *"BAD_QUEUE BAD_OUT_GROUP MATCH_INCONSISTENT UNSUPPORTED_ORDER BAD_TAG BAD_SET_TYPE BAD_SET_LEN".split(),
            "BAD_SET_ARGUMENT",
        ),
        3: (
            "BAD_INSTRUCTION",
            *"UNKNOWN_INST UNSUP_INST BAD_TABLE_ID UNSUP_METADATA UNSUP_METADATA_MASK BAD_EXPERIMENTER".split(),
            *"BAD_EXP_TYPE BAD_LEN EPERM".split(),
        ),
        4: (
            "BAD_MATCH",
            *"BAD_TYPE BAD_LEN BAD_TAG BAD_DL_ADDR_MASK BAD_NW_ADDR_MASK BAD_WILDCARDS BAD_FIELD BAD_VALUE".split(),
            *"BAD_MASK BAD_PREREQ DUP_FIELD EPERM".split(),
        ),
        5: (
            "FLOW_MOD_FAILED",
            *"UNKNOWN TABLE_FULL BAD_TABLE_ID OVERLAP EPERM BAD_TIMEOUT BAD_COMMAND BAD_FLAGS".split(),
        ),
        6: (
            "GROUP_MOD_FAILED",
            *"GROUP_EXISTS INVALID_GROUP WEIGHT_UNSUPPORTED OUT_OF_GROUPS OUT_OF_BUCKETS".split(),
            *"CHAINING_UNSUPPORTED WATCH_UNSUPPORTED LOOP UNKNOWN_GROUP CHAINED_GROUP BAD_TYPE".split(),
            *"BAD_COMMAND BAD_BUCKET BAD_WATCH EPERM".split(),
        ),
        7: ("PORT_MOD_FAILED", *"BAD_PORT BAD_HW_ADDR BAD_CONFIG BAD_ADVERTISE EPERM".split()),
        8: ("TABLE_MOD_FAILED", *"BAD_TABLE BAD_CONFIG EPERM".split()),
        9: ("QUEUE_OP_FAILED", *"BAD_PORT BAD_QUEUE EPERM".split()),
        10: ("SWITCH_CONFIG_FAILED", *"BAD_FLAGS BAD_LEN EPERM".split()),
        11: ("ROLE_REQUEST_FAILED", *"STALE UNSUP BAD_ROLE".split()),
        12: (
            "METER_MOD_FAILED",
            *"UNKNOWN METER_EXISTS INVALID_METER UNKNOWN_METER BAD_COMMAND BAD_FLAGS BAD_RATE BAD_BURST".split(),
            *"BAD_BAND BAD_BAND_VALUE OUT_OF_METERS OUT_OF_BANDS".split(),
        ),
        13: ("TABLE_FEATURES_FAILED", *"BAD_TABLE BAD_METADATA BAD_TYPE BAD_LEN BAD_ARGUMENT EPERM".split()),
    },
}


def message_name(version: int, kind: int) -> str:
    """``FLOW_MOD`` and the like; ``TYPE_99`` for a type the version does not have."""
    table = MESSAGES.get(version, _SAME)
    return table[kind] if kind < len(table) else f"TYPE_{kind}"


def error_name(version: int, kind: int, code: int) -> str:
    """``BAD_ACTION/BAD_OUT_PORT (2,4)``; numbers alone for what the version does not name."""
    names = _ERRORS.get(version, {}).get(kind)
    if names is None:
        return f"({kind},{code})"
    tail = names[code + 1] if code + 1 < len(names) else str(code)
    return f"{names[0]}/{tail} ({kind},{code})"


def version_name(version: int) -> str:
    """``1.3`` for wire version 4; the wire number in hex for anything unknown."""
    return VERSIONS.get(version, f"0x{version:02x}")
