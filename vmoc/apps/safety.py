"""May os-ken be given these bytes?

os-ken's parsers trust their input: an element or entry of length 0 makes
them loop for ever, and what they do not know becomes an exception. So a
message is walked here first, by its own lengths, and passes only if every
TLV in it is one os-ken knows, of the length os-ken will assume. Layouts:
OF1.0.1 section 5, OF1.3.5 section 7.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Final

OF10: Final = 1
OF13: Final = 4

_ERROR: Final = 1
_ECHO_REQUEST: Final = 2
_ECHO_REPLY: Final = 3
_FEATURES_REPLY: Final = 6
_GET_CONFIG_REPLY: Final = 8
_PACKET_IN: Final = 10
_FLOW_REMOVED: Final = 11
_PORT_STATUS: Final = 12

# Payload length in bytes of the OpenFlow basic match fields (OF1.3.5 table 12), by field number.
_OXM_LENGTH: Final = (
    *(4, 4, 8, 6, 6, 2, 2, 1, 1, 1, 1, 4, 4, 2, 2, 2, 2, 2, 2, 1, 1, 2, 4, 4, 6, 6, 16, 16, 4, 1, 1, 16, 6, 6),
    *(4, 1, 1, 3, 8, 2),
)

# Wire length of the actions without variable part, by type; os-ken assumes these whatever the message says.
_ACTIONS_10: Final = {0: 8, 1: 8, 2: 8, 3: 8, 4: 16, 5: 16, 6: 8, 7: 8, 8: 8, 9: 8, 10: 8, 11: 16}
# fmt: off
_ACTIONS_13: Final = {
    0: 16, 11: 8, 12: 8, 15: 8, 16: 8, 17: 8, 18: 8, 19: 8, 20: 8, 21: 8, 22: 8, 23: 8, 24: 8, 26: 8, 27: 8
}
# fmt: on
_SET_FIELD: Final = 25

# Statistics replies made of entries of one size, by type: (entry size, exactly one entry).
_FIXED_STATS_10: Final = {0: (1056, True), 2: (24, True), 3: (64, False), 4: (104, False), 5: (32, False)}
_FIXED_STATS_13: Final = {
    0: (1056, True),
    2: (24, True),
    3: (24, False),
    4: (112, False),
    5: (40, False),
    8: (40, True),
    11: (16, True),
    13: (64, False),
}


def safe_for_osken(message: bytes, version: int) -> bool:
    """Whether os-ken can parse ``message`` (one whole message of a switch) without hanging or raising.

    ``version`` is the negotiated wire version. HELLO, vendor and experimenter
    messages, table features and types a switch does not send never pass.
    """
    if len(message) < 8 or message[0] != version or unpack_from("!H", message, 2)[0] != len(message):
        return False
    check = _CHECKS.get((version, message[1]))
    return check is not None and check(message)


def _at_least(size: int) -> Callable[[bytes], bool]:
    return lambda message: len(message) >= size


def _exactly(size: int) -> Callable[[bytes], bool]:
    return lambda message: len(message) == size


def _features_10(message: bytes) -> bool:
    return len(message) >= 32 and (len(message) - 32) % 48 == 0


def _error(message: bytes) -> bool:
    # Type 0xffff (experimenter) has two more fields; a HELLO_FAILED's text is decoded as ASCII.
    if len(message) < 12:
        return False
    kind = unpack_from("!H", message, 8)[0]
    if kind == 0xFFFF:
        return message[0] >= OF13 and len(message) >= 16
    return kind != 0 or message[12:].isascii()


def _packet_in_13(message: bytes) -> bool:
    return len(message) >= 34 and (end := _match(message, 24)) is not None and end + 2 <= len(message)


def _flow_removed_13(message: bytes) -> bool:
    return len(message) >= 56 and _match(message, 48) == len(message)


def _match(message: bytes, offset: int) -> int | None:
    """The offset behind an OXM match with its padding; None if it is not one os-ken reads well."""
    if len(message) - offset < 8:
        return None
    kind, length = unpack_from("!HH", message, offset)
    end: int = offset + length
    padded: int = offset + (length + 7) // 8 * 8
    if kind != 1 or length < 4 or padded > len(message):
        return None
    offset += 4
    while offset < end:
        size = _oxm(message, offset, end)
        if size is None:
            return None
        offset += size
    return padded


def _oxm(message: bytes, offset: int, end: int) -> int | None:
    """The size in bytes of one match field, header included."""
    if end - offset < 5:
        return None
    oxm_class, field, length = unpack_from("!HBB", message, offset)
    number, masked = field >> 1, field & 1
    # Other classes than the basic one would be read, if at all, as fields nobody here asked for.
    if oxm_class != 0x8000 or number >= len(_OXM_LENGTH) or length != _OXM_LENGTH[number] << masked:
        return None
    return 4 + length if offset + 4 + length <= end else None


def _actions(message: bytes, offset: int, end: int, version: int) -> bool:
    known = _ACTIONS_10 if version == OF10 else _ACTIONS_13
    while offset < end:
        if end - offset < 8:
            return False
        kind, length = unpack_from("!HH", message, offset)
        if length < 8 or offset + length > end:
            return False
        if kind == _SET_FIELD and version == OF13:
            size = _oxm(message, offset + 4, offset + length)
            if size is None or length != (4 + size + 7) // 8 * 8 or message[offset + 6] & 1:
                return False
        elif known.get(kind) != length:
            return False
        offset += length
    return offset == end


def _instructions(message: bytes, offset: int, end: int) -> bool:
    while offset < end:
        if end - offset < 8:
            return False
        kind, length = unpack_from("!HH", message, offset)
        if length < 8 or offset + length > end:
            return False
        if kind in (3, 4, 5):
            if not _actions(message, offset + 8, offset + length, OF13) or (kind == 5 and length != 8):
                return False
        elif {1: 8, 2: 24, 6: 8}.get(kind) != length:
            return False
        offset += length
    return offset == end


def _entries(message: bytes, offset: int, least: int, at: int, inner: Callable[[bytes, int, int], bool]) -> bool:
    """Walk entries whose 16 bit length stands ``at`` bytes into each; ``inner`` checks one of them."""
    while offset < len(message):
        if len(message) - offset < least:
            return False
        length = unpack_from("!H", message, offset + at)[0]
        if length < least or offset + length > len(message) or not inner(message, offset, offset + length):
            return False
        offset += length
    return True


def _flow_10(message: bytes, offset: int, end: int) -> bool:
    return _actions(message, offset + 88, end, OF10)


def _flow_13(message: bytes, offset: int, end: int) -> bool:
    behind = _match(message[:end], offset + 48)
    return behind is not None and _instructions(message, behind, end)


def _group_stats(_: bytes, offset: int, end: int) -> bool:
    return (end - offset - 40) % 16 == 0


def _group_desc(message: bytes, offset: int, end: int) -> bool:
    offset += 8
    while offset < end:
        if end - offset < 16:
            return False
        length = unpack_from("!H", message, offset)[0]
        if length < 16 or offset + length > end or not _actions(message, offset + 16, offset + length, OF13):
            return False
        offset += length
    return True


def _meter_stats(_: bytes, offset: int, end: int) -> bool:
    return (end - offset - 40) % 16 == 0


def _meter_config(message: bytes, offset: int, end: int) -> bool:
    bands = range(offset + 8, end, 16)
    return (end - offset - 8) % 16 == 0 and all(
        unpack_from("!HH", message, band) in ((1, 16), (2, 16)) for band in bands
    )


def _stats(message: bytes, body: int, fixed: dict[int, tuple[int, bool]]) -> int | None:
    """The statistics type if the body still has to be looked at, -1 if it is settled and good, None if it is bad."""
    if len(message) < body:
        return None
    kind: int = unpack_from("!H", message, 8)[0]
    if kind not in fixed:
        return kind
    size, single = fixed[kind]
    length = len(message) - body
    return -1 if (length == size if single else length % size == 0) else None


def _stats_10(message: bytes) -> bool:
    kind = _stats(message, 12, _FIXED_STATS_10)
    return kind == -1 or (kind == 1 and _entries(message, 12, 88, 0, _flow_10))


def _multipart_13(message: bytes) -> bool:
    kind = _stats(message, 16, _FIXED_STATS_13)
    if kind is None or kind == -1:
        return kind == -1
    walk = {1: (56, 0, _flow_13), 6: (40, 0, _group_stats), 7: (8, 0, _group_desc)}
    walk |= {9: (40, 4, _meter_stats), 10: (8, 0, _meter_config)}
    return kind in walk and _entries(message, 16, *walk[kind])


def _queues(message: bytes, header: int, length_at: int, kinds: tuple[int, ...]) -> bool:
    """QUEUE_GET_CONFIG_REPLY: queues of ``header`` bytes and properties of 16 bytes each."""

    def properties(text: bytes, offset: int, end: int) -> bool:
        rates = range(offset + header, end, 16)
        return (end - offset - header) % 16 == 0 and all(
            unpack_from("!HH", text, rate) in [(kind, 16) for kind in kinds] for rate in rates
        )

    return len(message) >= 16 and _entries(message, 16, header, length_at, properties)


_CHECKS: Final[dict[tuple[int, int], Callable[[bytes], bool]]] = {
    (OF10, _ERROR): _error,
    (OF10, _ECHO_REQUEST): _at_least(8),
    (OF10, _ECHO_REPLY): _at_least(8),
    (OF10, _FEATURES_REPLY): _features_10,
    (OF10, _GET_CONFIG_REPLY): _exactly(12),
    (OF10, _PACKET_IN): _at_least(18),
    (OF10, _FLOW_REMOVED): _exactly(88),
    (OF10, _PORT_STATUS): _exactly(64),
    (OF10, 17): _stats_10,
    (OF10, 19): _exactly(8),
    (OF10, 21): lambda message: _queues(message, 8, 4, (1,)),  # os-ken knows MIN_RATE only
    (OF13, _ERROR): _error,
    (OF13, _ECHO_REQUEST): _at_least(8),
    (OF13, _ECHO_REPLY): _at_least(8),
    (OF13, _FEATURES_REPLY): _exactly(32),
    (OF13, _GET_CONFIG_REPLY): _exactly(12),
    (OF13, _PACKET_IN): _packet_in_13,
    (OF13, _FLOW_REMOVED): _flow_removed_13,
    (OF13, _PORT_STATUS): _exactly(80),
    (OF13, 19): _multipart_13,
    (OF13, 21): _exactly(8),
    (OF13, 23): lambda message: _queues(message, 16, 8, (1, 2)),
    (OF13, 25): _exactly(24),
    (OF13, 27): _exactly(32),
}
