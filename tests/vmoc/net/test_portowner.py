"""Finding who holds a port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from vmoc.net import portowner


def test_a_listening_process_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        found = portowner.holder(mine.getsockname()[1])
    assert found == f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"


def test_ipv6_listeners_count() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as mine:
        found = portowner.holder(mine.getsockname()[1])
    assert found is not None
    assert found.startswith(f"process {os.getpid()} ")


def test_a_connection_from_that_port_is_not_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert portowner.holder(client.getsockname()[1]) is None
