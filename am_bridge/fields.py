"""Single fields of requests: each is read strictly, and what is out of range is noted with its path.

Every reader returns a harmless value after a violation, so that reading goes on and the rest is checked too.
"""

from __future__ import annotations

import ipaddress
import math
import re
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge.violations import Violations
from vmoc.model import SLICE_ID, VLAN_MAX, VLAN_MIN, Endpoint, parse_dpid
from vmoc.registry import LOCAL_PORT

PORT_MAX: Final = 0xFFFFFEFF
QUEUE_MAX: Final = 0xFFFFFFFE
MOST_REQUEST_ID: Final = 64
MOST_ADDRESS: Final = 300
_LAST_SECOND: Final = 253_402_300_799  # the end of the year 9999, as far as Timestamp goes
_LONGEST_SECONDS: Final = 315_576_000_000  # Duration's 10 000 years
_NANOS: Final = 1_000_000_000
_MAC: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def shown(text: str) -> str:
    """A caller's text for a sentence: quoted, and not too much of it."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def read_name(value: str, path: str, problems: Violations, *, optional: bool = False) -> str:
    """The id of a slice, sliver or manager."""
    if SLICE_ID.fullmatch(value) or (optional and not value):
        return value
    if not value:
        problems.add(path, "must be given")
    else:
        problems.add(path, f"must be 1 to 128 of A-Z a-z 0-9 . _ : + -, not {shown(value)}")
    return ""


def name_of(value: str, path: str) -> str:
    """The only field that is read of a request: the id of a slice or sliver. Raises ``ApiError``."""
    problems = Violations()
    name = read_name(value, path, problems)
    problems.check()
    return name


def read_text(value: str, path: str, problems: Violations, most: int) -> str:
    """Text for people: one line of at most ``most`` characters."""
    if len(value) > most:
        problems.add(path, f"must have at most {most} characters, not {len(value)}")
        return ""
    if not value.isprintable():
        problems.add(path, f"must be one line of printable characters, not {shown(value)}")
        return ""
    return value


def read_request_id(value: str, problems: Violations, path: str = "request_id") -> str:
    """What a caller names its request by; empty if it does not."""
    return read_text(value, path, problems, MOST_REQUEST_ID)


def read_vlan(value: int, path: str, problems: Violations, *, optional: bool = False) -> int:
    """A VLAN 1..4094; 0 too if ``optional``."""
    if VLAN_MIN <= value <= VLAN_MAX or (optional and value == 0):
        return value
    problems.add(path, f"must be a VLAN {VLAN_MIN} to {VLAN_MAX}, not {value}")
    return 0


@lru_cache(4096)
def _dpid(text: str) -> int:
    return parse_dpid(text)


def read_dpid(value: str, path: str, problems: Violations) -> int:
    """A DPID in any of its forms; 0 after a violation."""
    if not value:
        problems.add(path, "must be given")
        return 0
    try:
        return _dpid(value) if len(value) <= 64 else parse_dpid(shown(value))
    except ValueError:
        problems.add(path, f"must be a DPID, 0x and up to 16 hex digits, not {shown(value)}")
        return 0


def read_port(value: int, path: str, problems: Violations) -> int:
    """An OpenFlow port number of the switch's own, or LOCAL."""
    if 1 <= value <= PORT_MAX or value == LOCAL_PORT:
        return value
    problems.add(path, f"must be a port 1 to {PORT_MAX}, or {LOCAL_PORT} for LOCAL, not {value}")
    return 0


@lru_cache(4096)
def _endpoint(text: str) -> Endpoint:
    return Endpoint.parse(text)


def read_controller(value: str, path: str, problems: Violations) -> Endpoint | None:
    """A controller's address; None after a violation."""
    if len(value) <= MOST_ADDRESS and value.isprintable():
        try:
            return _endpoint(value)
        except ValueError:
            pass
    problems.add(path, f"must be tcp:HOST:PORT or ssl:HOST:PORT with a port 1 to 65535, not {shown(value)}")
    return None


def read_mac(value: str, path: str, problems: Violations) -> str:
    """A MAC address, in lower case."""
    if _MAC.fullmatch(value):
        return value.lower()
    problems.add(path, f"must be a MAC address of six hex bytes with colons, not {shown(value)}")
    return ""


def read_ip(value: str, path: str, problems: Violations) -> str:
    """An IPv4 or IPv6 address, in its shortest form."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        problems.add(path, f"must be an IPv4 or IPv6 address, not {shown(value)}")
        return ""


def read_time(value: Timestamp, path: str, problems: Violations) -> float:
    """A time of 1970 or later, in seconds since the epoch."""
    if 0 <= value.seconds <= _LAST_SECOND and 0 <= value.nanos < _NANOS:
        return value.seconds + value.nanos / _NANOS
    problems.add(path, "must be a time between the years 1970 and 9999 with nanos 0 to 999999999")
    return 0.0


def read_duration(value: Duration, path: str, problems: Violations) -> float:
    """A positive time span, in seconds."""
    seconds = value.seconds + value.nanos / _NANOS
    if value.seconds >= 0 and 0 <= value.nanos < _NANOS and 0 < seconds <= _LONGEST_SECONDS:
        return seconds
    problems.add(path, "must be a positive time span of at most 10000 years with nanos 0 to 999999999")
    return 0.0


def to_timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a Timestamp, to the nanosecond; what Timestamp cannot say is its nearest end."""
    whole = math.floor(min(max(seconds, 0.0), float(_LAST_SECOND)))
    nanos = round((seconds - whole) * _NANOS) if 0 <= seconds <= _LAST_SECOND else 0
    return Timestamp(seconds=whole + nanos // _NANOS, nanos=nanos % _NANOS)
