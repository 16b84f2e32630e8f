"""OpenFlow 1.3 (wire version 0x04); section numbers are of the 1.3.5 specification."""

from __future__ import annotations

from typing import Final

GROUP_MOD: Final = 15
PORT_MOD: Final = 16
TABLE_MOD: Final = 17
MULTIPART_REQUEST: Final = 18
MULTIPART_REPLY: Final = 19
BARRIER_REQUEST: Final = 20
BARRIER_REPLY: Final = 21
QUEUE_GET_CONFIG_REQUEST: Final = 22
QUEUE_GET_CONFIG_REPLY: Final = 23
ROLE_REQUEST: Final = 24
ROLE_REPLY: Final = 25
GET_ASYNC_REQUEST: Final = 26
GET_ASYNC_REPLY: Final = 27
SET_ASYNC: Final = 28
METER_MOD: Final = 29

# Ports (7.2.1)
MAX: Final = 0xFFFFFF00
IN_PORT: Final = 0xFFFFFFF8
TABLE: Final = 0xFFFFFFF9
NORMAL: Final = 0xFFFFFFFA
FLOOD: Final = 0xFFFFFFFB
ALL: Final = 0xFFFFFFFC
CONTROLLER: Final = 0xFFFFFFFD
LOCAL: Final = 0xFFFFFFFE
ANY: Final = 0xFFFFFFFF

ALL_TABLES: Final = 0xFF
ANY_GROUP: Final = 0xFFFFFFFF

# Flow-mod flags (7.3.4.1)
SEND_FLOW_REM: Final = 1
CHECK_OVERLAP: Final = 2
RESET_COUNTS: Final = 4
NO_PKT_COUNTS: Final = 8
NO_BYT_COUNTS: Final = 16
KNOWN_FLAGS: Final = 31

# Instructions (7.2.4)
GOTO_TABLE: Final = 1
WRITE_METADATA: Final = 2
WRITE_ACTIONS: Final = 3
APPLY_ACTIONS: Final = 4
CLEAR_ACTIONS: Final = 5
METER: Final = 6

# Multipart (7.3.5)
MP_DESC: Final = 0
MP_FLOW: Final = 1
MP_AGGREGATE: Final = 2
MP_TABLE: Final = 3
MP_PORT_STATS: Final = 4
MP_QUEUE: Final = 5
MP_GROUP: Final = 6
MP_GROUP_DESC: Final = 7
MP_GROUP_FEATURES: Final = 8
MP_METER: Final = 9
MP_METER_CONFIG: Final = 10
MP_METER_FEATURES: Final = 11
MP_TABLE_FEATURES: Final = 12
MP_PORT_DESC: Final = 13
MP_MORE: Final = 1

# Packet-in reasons (7.4.1)
REASON_NO_MATCH: Final = 0
REASON_ACTION: Final = 1
