"""The 8-byte header, and the messages that are the same in every version: HELLO, ECHO, ERROR.

Header (OF1.0 5.1, OF1.3 7.1): version 1, type 1, length 2, xid 4, big endian.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from vmoc import errors
from vmoc.errors import OfError, Refused

OF10: Final = 1
OF13: Final = 4

HELLO: Final = 0
ERROR: Final = 1
ECHO_REQUEST: Final = 2
ECHO_REPLY: Final = 3
EXPERIMENTER: Final = 4
FEATURES_REQUEST: Final = 5
FEATURES_REPLY: Final = 6
GET_CONFIG_REQUEST: Final = 7
GET_CONFIG_REPLY: Final = 8
SET_CONFIG: Final = 9
PACKET_IN: Final = 10
FLOW_REMOVED: Final = 11
PORT_STATUS: Final = 12
PACKET_OUT: Final = 13
FLOW_MOD: Final = 14

NO_BUFFER: Final = 0xFFFFFFFF
MAX_LENGTH: Final = 0xFFFF

_HEADER: Final = Struct("!BBHI")
_ERROR: Final = Struct("!HH")
_ELEMENT: Final = Struct("!HH")
_VERSIONBITMAP: Final = 1
_BITMAP_WORDS: Final = 8


def message(version: int, kind: int, xid: int, body: bytes = b"") -> bytes:
    """A whole message around ``body``; ``ValueError`` beyond 65 535 bytes."""
    length = HEADER_SIZE + len(body)
    if length > MAX_LENGTH:
        raise ValueError(f"a message of {length} bytes does not fit OpenFlow's 16-bit length")
    return _HEADER.pack(version, kind, length, xid) + body


HEADER_SIZE: Final = _HEADER.size


def xid_of(data: bytes) -> int:
    """The transaction id, bytes 4..7."""
    return int.from_bytes(data[4:8], "big")


def with_xid(data: bytes, xid: int) -> bytes:
    """The same message under another xid."""
    return data[:4] + xid.to_bytes(4, "big") + data[8:]


def hello(version: int, versions: Iterable[int], xid: int = 0) -> bytes:
    """A HELLO. 1.0 is sent bare, because old peers choke on a body; later ones carry a version bitmap.

    Element (OF1.3 7.5.1): type 2 (1), length 2, bitmap words of 4 bytes; bit n is version n.
    """
    if version < OF13:
        return message(version, HELLO, xid)
    bitmap = sum(1 << v for v in versions)
    return message(version, HELLO, xid, _ELEMENT.pack(_VERSIONBITMAP, 8) + bitmap.to_bytes(4, "big"))


def hello_versions(data: bytes) -> frozenset[int]:
    """The versions a peer's HELLO offers; ``HELLO_FAILED`` when its elements are malformed.

    A bitmap overrides the header. Without one, version n means "n and all
    before it" (OF1.3 6.3.1), as Open vSwitch reads it.
    """
    position, end = HEADER_SIZE, len(data)
    offered: frozenset[int] | None = None
    while end - position >= _ELEMENT.size and data[0] >= OF13:
        kind, length = _ELEMENT.unpack_from(data, position)
        if length < _ELEMENT.size or position + length > end:
            raise Refused(errors.HELLO_FAILED, f"HELLO element of length {length}")
        if kind == _VERSIONBITMAP and offered is None:
            found: set[int] = set()
            # A version is one byte: words beyond the eighth name none, and are not worth the time they would take.
            words = range(position + 4, position + length - 3, 4)[:_BITMAP_WORDS]
            for word, at in enumerate(words):
                bits = int.from_bytes(data[at : at + 4], "big")
                found.update(32 * word + bit for bit in range(32) if bits >> bit & 1)
            offered = frozenset(found)
        position += (length + 7) & ~7
    return offered if offered is not None else frozenset(range(1, data[0] + 1))


def echo_reply(request: bytes) -> bytes:
    """The answer to an ECHO_REQUEST: same version, xid and payload."""
    return request[:1] + b"\x03" + request[2:]


def error(version: int, xid: int, code: OfError, data: bytes) -> bytes:
    """An ERROR carrying the first 64 bytes of ``data``, the message it answers."""
    return message(version, ERROR, xid, _ERROR.pack(*code) + data[:64])


def hello_error(version: int, xid: int, text: str) -> bytes:
    """HELLO_FAILED/INCOMPATIBLE with an ASCII explanation (OF1.3 7.4.4.1)."""
    return message(version, ERROR, xid, _ERROR.pack(0, 0) + text.encode("ascii", "replace"))


def error_code(data: bytes) -> OfError:
    """(type, code) of an ERROR; ``BAD_LENGTH`` when it is shorter than that."""
    if len(data) < HEADER_SIZE + _ERROR.size:
        raise Refused(errors.BAD_LENGTH, "ERROR shorter than 12 bytes")
    kind, code = _ERROR.unpack_from(data, HEADER_SIZE)
    return kind, code
