"""The kinds of value a configuration holds: how each is read, what is said when it is wrong, its JSON Schema.

Each kind is metadata for a field of the models of ``vmoc.config.schema``.
The messages say what is allowed and what was found, in one sentence.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from vmoc.model import SLICE_ID, VLAN_MAX, VLAN_MIN, Endpoint, parse_dpid
from vmoc.registry import LOCAL_PORT

PORT_MAX: Final = 0xFFFFFEFF
QUEUE_MAX: Final = 0xFFFFFFFE
MOST_BUFFERS: Final = 65535
OURS: Final = "vmoc"
"""The type of errors whose message is ours, complete."""


class OutOfShapeError(PydanticCustomError):
    """A value that is not allowed; the message is shown as it is."""

    def __new__(cls, text: str) -> OutOfShapeError:
        return super().__new__(cls, OURS, "{text}", {"text": text})


def found(value: object) -> str:
    """A value as it appears in a message, never long."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def near(word: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?`` when a word is close to an allowed one, else nothing."""
    by_lower = {one.lower(): one for one in allowed}
    hits = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[hits[0]]}'?" if hits else ""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Metadata for ``Annotated``: reads one value, or raises ``OutOfShapeError``."""

    read: Callable[[object], object]
    schema: JsonSchemaValue

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(self.schema)


def whole(low: int, high: int) -> Kind:
    """A whole number ``low..high``."""

    def read(value: object) -> object:
        if type(value) is not int or not low <= value <= high:
            raise OutOfShapeError(f"must be a whole number {low}..{high}, not {found(value)}")
        return value

    return Kind(read, {"type": "integer", "minimum": low, "maximum": high})


def seconds(low: float, high: float) -> Kind:
    """A time in seconds, fractions allowed."""

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OutOfShapeError(f"must be a number of seconds {low:g}..{high:g}, not {found(value)}")
        if not low <= value <= high:
            raise OutOfShapeError(f"must be {low:g}..{high:g} seconds, not {found(value)}")
        return float(value)

    return Kind(read, {"type": "number", "minimum": low, "maximum": high})


def choice(*allowed: str) -> Kind:
    """One word of ``allowed``."""
    either = " or ".join([", ".join(allowed[:-1]), allowed[-1]] if len(allowed) > 1 else allowed)

    def read(value: object) -> object:
        word = ("on" if value else "off") if isinstance(value, bool) else value
        if isinstance(word, str) and word in allowed:
            return word
        hint = near(word, allowed) if isinstance(word, str) else ""
        raise OutOfShapeError(f"must be {either}, not {found(value)}{hint}")

    return Kind(read, {"type": "string", "enum": [str(word) for word in allowed]})


def buffers() -> Kind:
    """``none`` or ``pool:N``: how many whole packets are kept per virtual datapath."""

    def read(value: object) -> object:
        if value == "none":
            return value
        word, _, size = str(value).partition(":")
        if word == "pool" and re.fullmatch("[0-9]{1,5}", size) and 1 <= int(size) <= MOST_BUFFERS:
            return f"pool:{int(size)}"
        raise OutOfShapeError(f"must be none or pool:N with N 1..{MOST_BUFFERS}, not {found(value)}")

    return Kind(read, {"type": "string", "pattern": "^(none|pool:[0-9]{1,5})$"})


def on_off() -> Kind:
    """A boolean (``on off true false yes no``)."""

    def read(value: object) -> object:
        if not isinstance(value, bool):
            raise OutOfShapeError(f"must be on or off, not {found(value)}")
        return value

    return Kind(read, {"type": "boolean"})


def _read_text(value: object) -> object:
    if not isinstance(value, str):
        quoted = f'; put it in quotes: "{value}"' if isinstance(value, (int, float)) else ""
        raise OutOfShapeError(f"must be text, not {found(value)}{quoted}")
    return value


def _read_certificate_name(value: object) -> object:
    if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable():
        return value
    raise OutOfShapeError(f"must be a name of 1 to 255 characters, as certificates have, not {found(value)}")


def _read_path(value: object) -> object:
    if not isinstance(value, str) or not value or "\0" in value:
        raise OutOfShapeError(f"must be a file name, not {found(value)}")
    return value


def _read_slice_id(value: object) -> object:
    if isinstance(value, str) and SLICE_ID.fullmatch(value):
        return value
    if isinstance(value, str) and len(value) > 128:
        raise OutOfShapeError(f"must have at most 128 characters, not {len(value)}")
    raise OutOfShapeError(f"must be 1 to 128 of A-Z a-z 0-9 . _ : + - (in quotes if only digits), not {found(value)}")


def _read_dpid(value: object) -> object:
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise OutOfShapeError(f'must be a DPID like "0x0000000000000001", not {found(value)}')
    try:
        return parse_dpid(value)
    except ValueError as error:
        raise OutOfShapeError(str(error)) from None


def read_port(value: object) -> int:
    """A switch port: 1..0xfffffeff, or the word LOCAL."""
    if isinstance(value, str) and value.upper() == "LOCAL":
        return LOCAL_PORT
    if type(value) is not int or not 1 <= value <= PORT_MAX:
        raise OutOfShapeError(f"must be a port number 1..{PORT_MAX} or LOCAL, not {found(value)}")
    return value


def _read_queue_port(value: object) -> object:
    return read_port(int(value) if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,9}", value) else value)


@lru_cache(4096)
def _endpoint(text: str) -> Endpoint:
    return Endpoint.parse(text)


def _read_endpoint(value: object) -> object:
    if not isinstance(value, str):
        raise OutOfShapeError(f"must be tcp:HOST:PORT or ssl:HOST:PORT, not {found(value)}")
    try:
        return _endpoint(value)
    except ValueError as error:
        raise OutOfShapeError(str(error)) from None


def _read_host(value: object) -> object:
    if isinstance(value, str):
        bare = value.strip("[]")
        try:
            return str(ipaddress.ip_address(bare))
        except ValueError:
            if re.fullmatch(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", value) and not re.fullmatch(
                r"[0-9.]+", value
            ):
                return value
    raise OutOfShapeError(f"must be an IP address or a host name of this machine, not {found(value)}")


def _read_address(value: object) -> object:
    """``HOST:PORT``, or off (also none) for not listening at all."""
    if value is False or value == "none":
        return None
    if not isinstance(value, str) or not (parts := re.fullmatch(r"(\[[^\]]+\]|[^:]+):([0-9]{1,5})", value)):
        raise OutOfShapeError(f"must be HOST:PORT or off, not {found(value)}")
    if int(parts[2]) > 65535:
        raise OutOfShapeError(f"must have a port 0..65535, not {parts[2]}")
    return _read_host(parts[1]), int(parts[2])


def _read_version(value: object) -> object:
    versions = {"1.0": 1, "1.3": 4}
    if isinstance(value, (str, float)) and str(value) in versions:
        return versions[str(value)]
    raise OutOfShapeError(f"must be 1.0 or 1.3, not {found(value)}")


def _read_vlans(value: object) -> object:
    """A VLAN, or ``FIRST-LAST``."""
    text = str(value) if type(value) is int else value
    match = re.fullmatch(r"([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?", text) if isinstance(text, str) else None
    if match is None:
        raise OutOfShapeError(f"must be a VLAN or a range like 100-199, not {found(value)}")
    first, last = int(match[1]), int(match[2] or match[1])
    if not VLAN_MIN <= first <= last <= VLAN_MAX:
        raise OutOfShapeError(f"must be within {VLAN_MIN}..{VLAN_MAX}, the lower VLAN first, not {found(value)}")
    return frozenset(range(first, last + 1))


TEXT: Final = Kind(_read_text, {"type": "string"})
CERTIFICATE_NAME: Final = Kind(_read_certificate_name, {"type": "string", "minLength": 1, "maxLength": 255})
FILE_NAME: Final = Kind(_read_path, {"type": "string"})
SLICE_NAME: Final = Kind(_read_slice_id, {"type": "string", "pattern": f"^{SLICE_ID.pattern}$"})
DPID: Final = Kind(_read_dpid, {"type": ["string", "integer"]})
PORT: Final = Kind(
    read_port, {"anyOf": [{"type": "integer", "minimum": 1, "maximum": PORT_MAX}, {"type": "string", "const": "LOCAL"}]}
)
QUEUE_PORT: Final = Kind(_read_queue_port, {"type": "string", "pattern": "^([1-9][0-9]*|LOCAL)$"})
QUEUE: Final = whole(0, QUEUE_MAX)
CONTROLLER: Final = Kind(_read_endpoint, {"type": "string", "pattern": r"^(tcp|ssl):.+:[0-9]{1,5}$"})
HOST: Final = Kind(_read_host, {"type": "string"})
HOST_PORT: Final = Kind(
    _read_address, {"anyOf": [{"type": "string", "pattern": "^.+:[0-9]{1,5}$"}, {"enum": [False, "none"]}]}
)
VLANS: Final = Kind(
    _read_vlans,
    {
        "anyOf": [
            {"type": "integer", "minimum": VLAN_MIN, "maximum": VLAN_MAX},
            {"type": "string", "pattern": "^[0-9]{1,4}( *- *[0-9]{1,4})?$"},
        ]
    },
)
VERSION: Final = Kind(_read_version, {"enum": [1.0, 1.3, "1.0", "1.3"]})
