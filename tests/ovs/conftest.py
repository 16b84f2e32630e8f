"""A lab per test, and proof that nothing is left of it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.processes import descendants, wait_until
from tests.ovs.lab import Lab


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test runs in a network namespace of its own; at the end no process of it is left."""
    token = secrets.token_hex(8)
    monkeypatch.setenv("VMOC_TEST", token)
    with NetworkNamespace.create() as own:
        with own.entered():
            yield
        gone = "every process of the test to be gone"
        wait_until(lambda: not descendants(f"VMOC_TEST={token}") and not own.occupants(), gone, timeout=5)


@pytest.fixture
def lab(namespace: None, tmp_path: Path) -> Iterator[Lab]:
    """Open vSwitch runs, VMOC does not yet. Afterwards VMOC's log must hold no traceback."""
    with contextlib.ExitStack() as stack:
        one = Lab(tmp_path, stack)
        yield one
    for log in tmp_path.glob("vmoc*.log"):
        text = log.read_text(errors="replace")
        complaints = [line for line in text.splitlines() if "Traceback" in line or "internal error" in line]
        assert not complaints, f"{complaints}\n{text[-4000:]}"
    assert not one.ovs.directory.exists()
