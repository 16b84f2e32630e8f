"""Fixtures of the client's tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.am_bridge.client.standin import StandIn


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A server on loopback."""
    server = StandIn()
    yield server
    server.stop()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens: ours, so that no other program can begin to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"
