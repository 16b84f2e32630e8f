"""``python -m bench.slivers``, as root: slivers through gRPC beside the bare playbook, twenty at once, a cancelled one.

In a network namespace and with an Open vSwitch of its own; see tests/ovs/handlers/stand.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from am_bridge.handlers.ansible import TARGET, _environment
from am_bridge.handlers.catalogue_file import SHIPPED
from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec
from am_bridge.handlers.variables import to_unsafe_yaml
from bench import machine
from mininet_scenarios.namespaces import NetworkNamespace
from tests.ovs.handlers.stand import Calls, Stand
from tests.ovs.lab import Lab

SLICE = "bench"
SPEC = {"interfaces": [{"name": "eth1", "vlan": 101, "addresses": ["10.0.0.1/24"]}]}
MANY = 20


class Bench:
    """A running VMOC with two hosts."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.stand = Stand(Lab(self.folder, stack), str(self.folder / "state.db"), controller="none")
        self.stand.start()
        self.calls = Calls(stack)
        self.calls("slices.RegisterSlice", slice={"slice_id": SLICE, "segments": [{"vlan_id": 101}]})

    def ask(self, name: str) -> str:
        """Ask for a sliver; the operation's name."""
        sliver = {"sliver_id": name, "slice_id": SLICE, "resource_type": "netns", "spec": SPEC}
        return str(self.calls("slivers.CreateSliver", sliver=sliver)["name"])

    def wait(self, operation: str) -> None:
        """Wait for its end."""
        while not self.calls("operations.WaitOperation", name=operation, timeout="30s").get("done"):
            pass

    def through_api(self, name: str) -> None:
        """From the request to ready."""
        self.wait(self.ask(name))

    def bare(self, name: str) -> None:
        """The playbook, run by hand."""
        spec = encode(read_spec({"slice_id": SLICE, "sliver_id": name, "resource_type": "netns", **SPEC}))
        subject = {"verb": "create", "action": "", "parameters": {}, "spec": spec}
        (self.folder / "vars.yml").write_text(to_unsafe_yaml({"vmoc": subject}))
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        host = {**variables, **self.stand.variables(1)}
        (self.folder / "inventory.yml").write_text(yaml.safe_dump({TARGET: {"hosts": {"h1": host}}}))
        (self.folder / "ansible.cfg").touch()
        words = [sys.executable, "-I", "-B", "-m", "ansible", "playbook", "-i", str(self.folder / "inventory.yml")]
        words += ["-e", f"@{self.folder / 'vars.yml'}", str(SHIPPED / "netns.yml")]
        subprocess.run(words, env=_environment(self.folder), capture_output=True, check=True)

    def remove(self, *names: str) -> None:
        """Delete slivers; those of ``bare`` are made VMOC's first."""
        for operation in [str(self.calls("slivers.DeleteSliver", sliver_id=name)["name"]) for name in names]:
            self.wait(operation)

    def cancel(self) -> float:
        """Seconds from the answer to a cancellation, in the middle of the run, until nothing is left."""
        operation = self.ask("cancelled")
        self.calls("operations.WaitOperation", name=operation, timeout="0.9s")
        self.calls("operations.CancelOperation", name=operation)
        begin = time.monotonic()
        self.wait(operation)
        while self.stand.traces("cancelled", slice_id=SLICE):
            time.sleep(0.01)
        return time.monotonic() - begin


def measure(runs: int) -> dict[str, float]:
    """All of it; seconds."""
    with NetworkNamespace.create() as own, own.entered(), contextlib.ExitStack() as stack:
        bench = Bench(stack)
        bare, through = [], []
        for number in range(runs):
            bare.append(timed(bench.bare, f"bare{number}"))
            bench.through_api(f"bare{number}")  # it is there, and becomes VMOC's
            through.append(timed(bench.through_api, f"api{number}"))
        bench.remove(*(f"{kind}{number}" for kind in ("bare", "api") for number in range(runs)))
        begin = time.monotonic()
        for operation in [bench.ask(f"many{number}") for number in range(MANY)]:
            bench.wait(operation)
        many = time.monotonic() - begin
        bench.remove(*(f"many{number}" for number in range(MANY)))
        cancelled = max(bench.cancel() for _ in range(runs))
    alone, api = statistics.median(bare), statistics.median(through)
    return {"bare": alone, "api": api, "ratio": api / alone, "many": many, "cancel": cancelled}


def timed(call: Callable[[str], None], name: str) -> float:
    """Seconds it took."""
    begin = time.monotonic()
    call(name)
    return time.monotonic() - begin


def main() -> int:
    """Exit status: 0 measured and within bounds, 1 not."""
    parser = argparse.ArgumentParser(prog="python -m bench.slivers", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print("  ".join(f"{name}: {value}" for name, value in machine.describe().items()))
    found: dict[str, Any] = measure(arguments.runs)
    table = Table("what", "measured", "meant to be")
    table.add_row("the bare playbook, median", f"{found['bare']:.2f} s", "")
    table.add_row("a sliver through gRPC, create to ready, median", f"{found['api']:.2f} s", "")
    table.add_row("the one to the other", f"{found['ratio']:.2f}", "at most 2.5")
    table.add_row(f"{MANY} slivers of one slice", f"{found['many']:.1f} s", "under 30 s")
    table.add_row("a cancelled one leaves nothing after", f"{found['cancel']:.2f} s", "within 2 s of the answer")
    console.print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["ratio"] <= 2.5 and found["many"] < 30 else 1


if __name__ == "__main__":
    sys.exit(main())
