"""What counts as a lost ping: one that is never answered, not one that is answered late."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mininet_scenarios.pings import Attempt, KeptPing
from tests.emulation.waiting import wait_until

PROGRAM = """
import time
for number in range(1, 4):
    print(f"64 bytes from 10.0.0.2: icmp_seq={number}", flush=True)
print("no answer yet for icmp_seq=4", flush=True)
time.sleep(0.3)
print(f"64 bytes from 10.0.0.2: icmp_seq=%s", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("answered", "lost"), [(4, 0), (5, 1)])
def test_a_late_answer_is_none_that_is_lost(tmp_path: Path, answered: int, lost: int) -> None:
    ping = KeptPing(Attempt("h1", "10.0.0.2", (sys.executable, "-c", PROGRAM % answered)), tmp_path)
    wait_until(lambda: ping._look()[0] == 4, "the ping that waits")
    outcome = ping.stop()
    assert (outcome.sent, outcome.lost) == (4, lost)
