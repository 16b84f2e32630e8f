"""Loop lag."""

from __future__ import annotations

import asyncio
import time

from tests.vmoc.net.stage import until
from vmoc.telemetry.lag import BUCKETS, LoopLag


def test_samples_fall_into_cumulative_buckets() -> None:
    lag = LoopLag()
    for seconds in (-1.0, 0.0005, 0.003, 100.0):
        lag.observe(seconds)
    found = dict(lag.cumulative())
    assert found["0.0005"] == 2
    assert found["0.0025"] == 2
    assert found["0.005"] == 3
    assert found[str(BUCKETS[-1])] == 3
    assert found["+Inf"] == 4
    assert lag.total == 100.0035


def test_a_blocked_loop_shows() -> None:
    async def scene() -> None:
        lag = LoopLag(interval=0.005)
        lag.start(asyncio.get_running_loop())
        busy_until = time.monotonic() + 0.06
        while time.monotonic() < busy_until:
            pass  # a loop that is held up is the very thing to be measured
        await until(lambda: dict(lag.cumulative())["+Inf"], "a sample")
        assert lag.total >= 0.04
        lag.stop()
        lag.stop()

    asyncio.run(scene())
