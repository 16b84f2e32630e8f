"""``kill -9`` of VMOC in the middle of creates, over and over: every sliver is ready or gone, and nothing strays."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from am_bridge.handlers.ansible import run_folder
from mininet_scenarios.processes import wait_until
from tests.ovs.handlers.stand import Calls, Stand
from tests.ovs.lab import Lab

KILLS = 20
SLICE = "killed"
SPEC = {"interfaces": [{"name": "eth1", "vlan": 101}]}


@pytest.fixture
def calls(namespace: None) -> Iterator[Calls]:
    with contextlib.ExitStack() as stack:
        yield Calls(stack)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_sliver_is_ready_or_gone_whenever_vmoc_dies(lab: Lab, calls: Calls, tmp_path: Path) -> None:
    moments = random.Random(20)
    stand = Stand(lab, str(tmp_path / "state.db"), controller="none")
    stand.start()
    calls("slices.RegisterSlice", slice={"slice_id": SLICE, "segments": [{"vlan_id": 101}]})
    names: list[str] = []
    runs: list[str] = []
    for number in range(KILLS):
        names.append(f"k{number}")
        wanted = {"sliver_id": names[-1], "slice_id": SLICE, "resource_type": "netns", "spec": SPEC}
        asked = calls("slivers.CreateSliver", sliver=wanted, request_id=names[-1])
        assert "name" in asked, asked
        runs.append(asked["name"].rpartition("/")[2])
        # Anywhere between the acceptance and the end of what is a run of a second or two.
        calls("operations.WaitOperation", name=asked["name"], timeout=f"{moments.uniform(0.01, 2.0):.3f}s")
        stand.vmoc.kill()
        stand.start()
        again = calls("slivers.CreateSliver", sliver=wanted, request_id=names[-1])
        assert again.get("name") == asked["name"], "what was answered is remembered"
    settle(calls)
    there = {one["sliver_id"]: one["status"] for one in calls("slivers.ListSlivers").get("slivers", [])}
    assert {status["state"] for status in there.values()} <= {"SLIVER_STATE_ACTIVE"}
    gone = [name for name in names if name not in there]
    assert gone, "some were caught half way"
    # A fresh look at each: what is said to be there is.
    for name in there:
        assert calls("slivers.ProbeSliver", sliver_id=name)["status"]["state"] == "SLIVER_STATE_ACTIVE"
    strays = [trace for trace in stand.traces(*gone, slice_id=SLICE) if trace.startswith("/")]
    assert strays == [] and len(stand.traces(slice_id=SLICE)) == len(there), "a port per sliver, and no other"
    calls("slices.UnregisterSlice", slice_id=SLICE)
    wait_until(lambda: not calls("slivers.ListSlivers").get("slivers"), "slivers to go with their slice", timeout=60)
    assert stand.traces(*names, slice_id=SLICE) == []
    assert [left for run in runs for left in run_folder().glob(f"vmoc-run-{run}-*")] == []


def settle(calls: Calls) -> None:
    def idle() -> bool:
        return not calls("operations.ListOperations", filter="done=false").get("operations")

    wait_until(idle, "every operation to end", timeout=60, every=0.2)
