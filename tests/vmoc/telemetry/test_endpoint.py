"""The HTTP endpoint."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from tests.emulation.waiting import wait_until
from vmoc.telemetry import endpoint
from vmoc.telemetry.endpoint import MetricsEndpoint


class World:
    def __init__(self) -> None:
        self.ill: str | None = None
        self.unready: str | None = "starting or draining"
        registry = CollectorRegistry()
        Gauge("answer", "The answer.", registry=registry).set(42)
        self.endpoint = MetricsEndpoint(
            socket.create_server(("127.0.0.1", 0)), registry, healthy=lambda: self.ill, ready=lambda: self.unready
        )

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.endpoint.close()


def test_metrics(world: World) -> None:
    status, text = world.get("/metrics?x=1")
    assert status == 200
    assert "answer 42.0" in text
    assert world.get("/metrics", "HEAD") == (200, "")


def test_health_and_readiness(world: World) -> None:
    assert world.get("/healthz") == (200, "ok\n")
    assert world.get("/readyz") == (503, "starting or draining\n")
    world.ill, world.unready = "the event loop has not answered for 2 s", None
    assert world.get("/healthz")[0] == 503
    assert world.get("/readyz") == (200, "ok\n")


def test_other_paths_and_garbage(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert world.get("/")[0] == 404
    with socket.create_connection(("127.0.0.1", world.endpoint.port)) as rude:
        rude.sendall(b"\x04\x00\x00\x08\x00\x00\x00\x01\r\n\r\n")
        rude.settimeout(5)
        while rude.recv(4096):
            pass
    assert world.get("/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_too_many_clients_are_turned_away_and_the_rest_served(world: World) -> None:
    idle = [socket.create_connection(("127.0.0.1", world.endpoint.port)) for _ in range(endpoint.CLIENTS)]
    turned_away = socket.create_connection(("127.0.0.1", world.endpoint.port))
    turned_away.settimeout(5)
    assert turned_away.recv(1) == b""
    for client in [*idle, turned_away]:
        client.close()

    def served() -> bool:
        try:
            return world.get("/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    wait_until(served, "a place to be free again")
