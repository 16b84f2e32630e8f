"""A refused message in one line."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from vmoc.telemetry.summary import SUMMARY, summarise


@pytest.mark.parametrize("version", [1, 4])
def test_a_refused_message_in_one_line(version: int) -> None:
    flow = of.flow_mod(version, "add", of.match(version, in_port=1), of.output(version, 9), xid=1, priority=5)
    line = summarise(flow)
    assert line.startswith("flow-mod add ") and "priority=5" in line and line.endswith("actions=output:9")
    out = of.packet_out(version, bytes(600), of.output(version, 2), xid=1)
    assert summarise(out).startswith("packet-out in_port=") and len(summarise(out)) == SUMMARY
    assert summarise(flow[:8]) == f"FLOW_MOD of {len(flow)} bytes"
    broken = flow[:2] + (12).to_bytes(2, "big") + flow[4:12]
    assert summarise(broken) == "FLOW_MOD of 12 bytes"
    assert summarise(of.message(version, "barrier_request", b"", 1)) == "BARRIER_REQUEST of 8 bytes"
    assert summarise(b"") == ""
