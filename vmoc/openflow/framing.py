"""Cut a byte stream into OpenFlow messages.

The buffer holds at most one incomplete message, 65 534 bytes, because a
length is 16 bits wide. Work is linear in the bytes fed, also when they come
one at a time: an incomplete message is only looked at again when enough of it
is there.
"""

from __future__ import annotations

HEADER_LENGTH = 8


class FrameBuffer:
    """Receive side of one connection."""

    __slots__ = ("_need", "_rest", "broken")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = 0
        self.broken = False
        """True once a header stated a length below 8: the stream cannot be followed any more."""

    def __len__(self) -> int:
        return len(self._rest)

    @property
    def rest(self) -> bytes:
        """The beginning of a message whose end is not here yet."""
        return bytes(self._rest)

    @property
    def begun(self) -> int | None:
        """Type of the message of which only the beginning is here; None when less than two bytes are."""
        return self._rest[1] if len(self._rest) >= 2 else None

    def feed(self, data: bytes) -> list[bytes]:
        """Add ``data`` and return the messages it completes, in order; nothing once ``broken``."""
        if self.broken:
            return []
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._need:
                return []
            data = bytes(rest)
            rest.clear()
        messages: list[bytes] = []
        position, end = 0, len(data)
        self._need = 4
        while end - position >= 4:
            length = data[position + 2] << 8 | data[position + 3]
            if length < HEADER_LENGTH:
                self.broken = True
                return messages
            after = position + length
            if after > end:
                self._need = length
                break
            messages.append(data[position:after])
            position = after
            self._need = 4
        if position < end:
            rest += data[position:] if position else data
        return messages
