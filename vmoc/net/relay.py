"""Bytes carried between two connections as they are, in both directions, at the slower one's pace.

For a switch that speaks TLS and is served by another process: a TLS session
cannot be handed over, so it ends here, and the plain bytes go on.
"""

from __future__ import annotations

import asyncio
from typing import cast


class Relay(asyncio.Protocol):
    """One half; ``join`` makes a pair of two."""

    def __init__(self, transport: asyncio.Transport | None = None) -> None:
        self.transport = transport
        self._other: Relay | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        other = self._other
        if other is not None and other.transport is not None:
            other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other, self._other = self._other, None
        if other is not None and other.transport is not None:
            other._other = None
            other.transport.close()  # what was written to it still goes out

    @staticmethod
    def join(one: Relay, two: Relay) -> None:
        """From now on what one reads the other writes. Both must be connected."""
        one._other, two._other = two, one
        for half in (one, two):
            assert half.transport is not None, "both are connected"
            if half.transport.is_closing():
                half.connection_lost(None)
                return
            half.transport.resume_reading()
