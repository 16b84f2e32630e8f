"""The emulated switch under a controller somebody else wrote: Open vSwitch's ovs-testcontroller."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulation import E, EmulatedSwitch, free_port, wait_until
from tests.emulation import wire as of
from tests.emulation.process import is_listening

PROGRAM = shutil.which("ovs-testcontroller")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs ovs-testcontroller: run make test")


@pytest.fixture(params=[of.V10, of.V13], ids=["1.0", "1.3"])
def switch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmulatedSwitch]:
    port = free_port()
    assert PROGRAM is not None
    command = [PROGRAM, "-O", "OpenFlow10" if request.param == of.V10 else "OpenFlow13", "--no-chdir"]
    process = subprocess.Popen(
        [*command, f"--unixctl={tmp_path}/ctl", f"ptcp:{port}:127.0.0.1"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: is_listening(port), "ovs-testcontroller")
        with EmulatedSwitch(("127.0.0.1", port), version=request.param) as emulated:
            emulated.wait_connected()
            yield emulated
    finally:
        process.terminate()
        process.wait(10)


def test_it_learns(switch: EmulatedSwitch) -> None:
    one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
    if switch.version == of.V13:
        switch.wait_for(switch.flows, "the table-miss entry")
    switch.inject(1, E(src=one, dst=two))
    switch.wait_for(lambda: len(switch.transmitted) == 5, "the flood")
    switch.inject(2, E(src=two, dst=one))
    switch.wait_for(lambda: switch.transmitted[5:], "the learnt answer")
    assert switch.transmitted[5:] == [(1, E(src=two, dst=one))]
    switch.wait_for(lambda: any(e.match for e in switch.flows()), "a learnt flow")
