"""The HTTP side door: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for whoever restarts us.

It runs in threads of its own; the event loop only hands over a copy of the
numbers. At most ``CLIENTS`` requests are served at a time.
"""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

CLIENTS: Final = 8
TIMEOUT: Final = 5.0
"""Seconds a client may take to ask or to read."""


class MetricsEndpoint:
    """Serves an already listening socket until ``close``.

    ``healthy`` and ``ready`` return None, or why not, in one sentence; they
    are called in a thread and may block for a second.
    """

    def __init__(
        self,
        listening: socket.socket,
        registry: CollectorRegistry,
        *,
        healthy: Callable[[], str | None],
        ready: Callable[[], str | None],
    ) -> None:
        listening.setblocking(True)
        checks = {"/healthz": healthy, "/readyz": ready}
        handler = type("Handler", (_Handler,), {"registry": registry, "checks": checks})
        self._server = _Server(listening, handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.socket.getsockname()[1])

    def close(self) -> None:
        """Stop listening; requests under way may end by themselves."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2.0)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, handler: Any) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._places = threading.BoundedSemaphore(CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up half-way are no news, and a traceback on stderr helps nobody."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = TIMEOUT
    server_version = "vmoc"
    sys_version = ""
    registry: CollectorRegistry
    checks: dict[str, Callable[[], str | None]]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encoder(self.registry))
        elif path in self.checks:
            why_not = self.checks[path]()
            self._answer(200 if why_not is None else 503, "text/plain; charset=utf-8", f"{why_not or 'ok'}\n".encode())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"there are /metrics, /healthz and /readyz here\n")

    do_HEAD = do_GET

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: scrapes are not events."""
