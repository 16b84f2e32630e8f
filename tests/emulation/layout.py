"""Names and numbers of OpenFlow 1.0 (0x01) and 1.3 (0x04), and the 8-byte header. ``struct`` only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

V10: Final = 1
V13: Final = 4
NO_BUFFER: Final = 0xFFFFFFFF

_COMMON = [
    "hello",
    "error",
    "echo_request",
    "echo_reply",
    "experimenter",
    "features_request",
    "features_reply",
    "get_config_request",
    "get_config_reply",
    "set_config",
    "packet_in",
    "flow_removed",
    "port_status",
    "packet_out",
    "flow_mod",
]
NAMES: Final = {
    V10: (
        *_COMMON,
        *["port_mod", "stats_request", "stats_reply", "barrier_request", "barrier_reply"],
        *["queue_config_request", "queue_config_reply"],
    ),
    V13: (
        *_COMMON,
        *["group_mod", "port_mod", "table_mod", "stats_request", "stats_reply", "barrier_request", "barrier_reply"],
        *["queue_config_request", "queue_config_reply", "role_request", "role_reply"],
        *["get_async_request", "get_async_reply", "set_async", "meter_mod"],
    ),
}
STATS: Final = {
    V10: {"desc": 0, "flow": 1, "aggregate": 2, "table": 3, "port": 4, "queue": 5, "vendor": 0xFFFF},
    V13: {
        name: number
        for number, name in enumerate(
            [
                "desc",
                "flow",
                "aggregate",
                "table",
                "port",
                "queue",
                "group",
                "group_desc",
                "group_features",
                "meter",
                "meter_config",
                "meter_features",
                "table_features",
                "port_desc",
            ]
        )
    }
    | {"vendor": 0xFFFF},
}
_PORTS10 = {
    "max": 0xFF00,
    "in_port": 0xFFF8,
    "table": 0xFFF9,
    "normal": 0xFFFA,
    "flood": 0xFFFB,
    "all": 0xFFFC,
    "controller": 0xFFFD,
    "local": 0xFFFE,
    "none": 0xFFFF,
}
PORTS: Final = {V10: _PORTS10, V13: {name: 0xFFFF0000 | number for name, number in _PORTS10.items()}}
COMMANDS: Final = {"add": 0, "modify": 1, "modify_strict": 2, "delete": 3, "delete_strict": 4}


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message as received; ``at`` is monotonic seconds, ``seq`` counts from 0 per connection."""

    raw: bytes
    at: float = 0.0
    seq: int = 0

    @property
    def version(self) -> int:
        return self.raw[0]

    @property
    def type(self) -> int:
        return self.raw[1]

    @property
    def xid(self) -> int:
        return int(struct.unpack_from("!I", self.raw, 4)[0])

    @property
    def body(self) -> bytes:
        return self.raw[8:]

    @property
    def name(self) -> str:
        names = NAMES.get(self.version, _COMMON)
        return names[self.type] if self.type < len(names) else f"type{self.type}"

    def __repr__(self) -> str:
        extra = f" {struct.unpack_from('!HH', self.raw, 8)}" if self.name == "error" else ""
        return f"<{self.name}{extra} v{self.version} xid {self.xid:#x} {len(self.raw)} B>"


def message(version: int, name: str | int, body: bytes = b"", xid: int = 0) -> bytes:
    """A whole message."""
    number = name if isinstance(name, int) else NAMES[version].index(name)
    return struct.pack("!BBHI", version, number, 8 + len(body), xid) + body


def hello(version: int, xid: int = 0, versions: tuple[int, ...] | None = None) -> bytes:
    """HELLO, with a version bitmap when ``versions`` is given (1.3.5 section 7.5.1)."""
    body = b""
    if versions is not None:
        body = struct.pack("!HHI", 1, 8, sum(1 << v for v in versions))
    return struct.pack("!BBHI", version, 0, 8 + len(body), xid) + body


def port_number(version: int, port: int | str) -> int:
    """A port number from a number or one of the reserved names."""
    return PORTS[version][port] if isinstance(port, str) else port
