"""OpenFlow 1.0 (wire version 0x01); section numbers are of the 1.0.1 specification."""

from __future__ import annotations

from typing import Final

PORT_MOD: Final = 15
STATS_REQUEST: Final = 16
STATS_REPLY: Final = 17
BARRIER_REQUEST: Final = 18
BARRIER_REPLY: Final = 19
QUEUE_GET_CONFIG_REQUEST: Final = 20
QUEUE_GET_CONFIG_REPLY: Final = 21

# Ports (5.2.1)
MAX: Final = 0xFF00
IN_PORT: Final = 0xFFF8
TABLE: Final = 0xFFF9
NORMAL: Final = 0xFFFA
FLOOD: Final = 0xFFFB
ALL: Final = 0xFFFC
CONTROLLER: Final = 0xFFFD
LOCAL: Final = 0xFFFE
NONE: Final = 0xFFFF

# Flow-mod commands (5.3.3), the same numbers in 1.3
ADD: Final = 0
MODIFY: Final = 1
MODIFY_STRICT: Final = 2
DELETE: Final = 3
DELETE_STRICT: Final = 4

# Flow-mod flags
SEND_FLOW_REM: Final = 1
CHECK_OVERLAP: Final = 2
EMERG: Final = 4

# Statistics (5.3.5)
STATS_DESC: Final = 0
STATS_FLOW: Final = 1
STATS_AGGREGATE: Final = 2
STATS_TABLE: Final = 3
STATS_PORT: Final = 4
STATS_QUEUE: Final = 5
REPLY_MORE: Final = 1
