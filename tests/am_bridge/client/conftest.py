"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.am_bridge.client.standin import StandIn


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A server on loopback."""
    server = StandIn()
    yield server
    server.stop()
