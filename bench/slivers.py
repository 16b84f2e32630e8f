"""``python -m bench.slivers``: slivers made through gRPC by a running VMOC, against the bare playbook.

One network namespace at a time and twenty at once, a create that is cancelled, and what handlers that run do to the
packet-ins of two other slices. Needs root and Open vSwitch, and works in a network namespace of its own.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict

from am_bridge.channel import open_channel
from am_bridge.handlers import ansible
from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec
from am_bridge.handlers.variables import to_unsafe_yaml
from bench import report, tools
from bench.calls import Caller, Figure, table
from bench.scene import VLANS, Background, running, two_slices
from mininet_scenarios.namespaces import NetworkNamespace
from mininet_scenarios.openvswitch import PrivateOvs
from tests.emulation.process import VmocProcess
from vmoc.model import Attachment, Segment, Slice
from vmoc.v1 import slivers_pb2, slivers_pb2_grpc

VLAN, DPID, MANY = 301, 0xE0, 20
SLICE = f"bench-{os.getpid()}"
PLAYBOOK = ansible.HERE / "playbooks" / "netns.yml"


class Slivers:
    """The client: creates and deletes slivers of one slice, and waits."""

    def __init__(self, address: str) -> None:
        channel = open_channel(address)
        self._slivers: Any = slivers_pb2_grpc.SliverServiceStub(channel)
        self._operations: Any = operations_pb2_grpc.OperationsStub(channel)
        self._made: set[str] = set()

    def create(self, sliver_id: str, **more: Any) -> operations_pb2.Operation:
        """Ask for a namespace with one card."""
        sliver = ParseDict({"sliver_id": sliver_id, "slice_id": SLICE, "resource_type": "netns"}, slivers_pb2.Sliver())
        sliver.spec.update(specification(sliver_id) | more)
        request = slivers_pb2.CreateSliverRequest(sliver=sliver, request_id=uuid.uuid4().hex)
        self._made.add(sliver_id)
        answer: operations_pb2.Operation = self._slivers.CreateSliver(request, timeout=30)
        return answer

    def delete(self, sliver_id: str) -> operations_pb2.Operation:
        """Ask for its end."""
        request = slivers_pb2.DeleteSliverRequest(sliver_id=sliver_id, request_id=uuid.uuid4().hex)
        answer: operations_pb2.Operation = self._slivers.DeleteSliver(request, timeout=30)
        self._made.discard(sliver_id)
        return answer

    def sweep(self) -> None:
        """Delete what a measurement that ended early has left."""
        for sliver_id in sorted(self._made):
            with suppress(grpc.RpcError):  # it never was, or is gone by itself
                self.wait(self.delete(sliver_id), fine=False)

    def cancel(self, operation: operations_pb2.Operation) -> None:
        """Ask for the end of an operation."""
        self._operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name), timeout=30)

    def wait(self, operation: operations_pb2.Operation, *, fine: bool = True) -> None:
        """Until it is over; ``fine``: as it should be. Raises ``ToolError``."""
        while not operation.done:
            request = operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=10))
            operation = self._operations.WaitOperation(request, timeout=30)
        if fine and operation.HasField("error"):
            raise tools.ToolError(f"{operation.name} failed: {operation.error.message}")


def specification(sliver_id: str) -> dict[str, Any]:
    """One card on the slice's VLAN, one user."""
    number = int(uuid.uuid5(uuid.NAMESPACE_OID, sliver_id)) % 250 + 1
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
    card = {"name": "eth1", "vlan": VLAN, "addresses": [f"10.3.1.{number}/24"]}
    return {"interfaces": [card], "users": [{"name": "alice", "keys": [key]}]}


def bare(folder: Path, variables: dict[str, Any], verb: str, sliver_id: str) -> float:
    """Seconds of ``ansible-playbook`` alone, with the files that a handler would give it."""
    document = {"slice_id": SLICE, "sliver_id": sliver_id, "resource_type": "netns", **specification(sliver_id)}
    told = {"verb": verb, "action": "", "parameters": {}, "spec": encode(read_spec(document)), "installation": "bare"}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "vars.yml").write_text(to_unsafe_yaml({"vmoc": told}))
    (folder / "inventory.yml").write_text(yaml.safe_dump({ansible.TARGET: {"hosts": {"here": local | variables}}}))
    places = {"ANSIBLE_LIBRARY": "library", "ANSIBLE_MODULE_UTILS": "module_utils"}
    environment = {name: str(PLAYBOOK.parent / place) for name, place in places.items()}
    files = ["-i", str(folder / "inventory.yml"), "-e", f"@{folder / 'vars.yml'}", str(PLAYBOOK)]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *files],
        env=os.environ | environment | {"ANSIBLE_PIPELINING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise tools.ToolError(f"the bare playbook failed: {done.stdout.strip()[-500:]}")
    return time.perf_counter() - begun


@contextmanager
def service(
    folder: Path, ports: Sequence[int], processor: dict[str, int]
) -> Iterator[tuple[VmocProcess, Slivers, dict[str, Any]]]:
    """A VMOC with two loaded slices, one for slivers, and an Open vSwitch bridge for their cards; and its variables."""
    with PrivateOvs() as ovs:
        ovs.add_bridge("br-int", DPID, fail_mode="standalone")
        variables = {"netns_bridge": "br-int", "netns_ovs_rundir": str(ovs.directory), "netns_commands": True}
        handlers = {
            "playbooks": {"netns": "netns.yml"},
            "hosts": {"here": {"variables": variables}},
            "handlers": {"netns": {"timeouts": {"default": 300}}},
            "processor": processor,
        }
        (folder / "handlers.yaml").write_text(yaml.safe_dump(handlers))
        configured = {"config": str(folder / "handlers.yaml")}
        with running(two_slices(ports, [1]), "1.3", folder=folder, handlers=configured) as vmoc:
            caller = Caller(vmoc)
            caller.wait_ready()
            caller.one(Slice(SLICE, (Segment(VLAN, (), attachments=(Attachment(DPID),)),), manager="bench"))
            caller.close()
            slivers = Slivers(vmoc.config["grpc"]["listen"])
            try:
                yield vmoc, slivers, variables
            finally:
                slivers.sweep()


def one_at_a_time(slivers: Slivers, folder: Path, variables: dict[str, Any], runs: int) -> Iterator[Figure]:
    """In turn, so that both see the same machine."""
    alone, through, removals = [], [], []
    for number in range(runs):
        alone.append(bare(folder, variables, "create", f"bare-{number}"))
        bare(folder, variables, "delete", f"bare-{number}")
        begun = time.perf_counter()
        slivers.wait(slivers.create(f"one-{number}"))
        through.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        slivers.wait(slivers.delete(f"one-{number}"))
        removals.append(time.perf_counter() - begun)
    yield Figure(f"the bare playbook, create, median of {runs}", statistics.median(alone), "s")
    yield Figure("through gRPC, CreateSliver to ready", statistics.median(through), "s")
    yield Figure(
        "the same over the bare playbook", statistics.median(through) / statistics.median(alone), "x", most=2.5
    )
    yield Figure("through gRPC, DeleteSliver to gone", statistics.median(removals), "s")


def many(slivers: Slivers) -> Iterator[Figure]:
    """All asked for at once."""
    begun = time.perf_counter()
    for operation in [slivers.create(f"many-{number}") for number in range(MANY)]:
        slivers.wait(operation)
    yield Figure(f"{MANY} slivers of one slice, asked for at once", time.perf_counter() - begun, "s", most=30)
    begun = time.perf_counter()
    for operation in [slivers.delete(f"many-{number}") for number in range(MANY)]:
        slivers.wait(operation)
    yield Figure("their deletion", time.perf_counter() - begun, "s")


def cancelled(slivers: Slivers, folder: Path, runs: int) -> Iterator[Figure]:
    """From the answer of the cancellation until nothing is there any more of a create in the middle of its work."""
    answers, ends = [], []
    for number in range(runs):
        began = folder / f"began-{number}"
        operation = slivers.create(f"hang-{number}", commands=[f"touch {began}; sleep 600 & sleep 600"])
        wait_until(began.exists)
        begun = time.perf_counter()
        slivers.cancel(operation)
        answered = time.perf_counter()
        wait_until(lambda: not traces(f"hang-{number}"))  # noqa: B023  # it is over before the next turn
        ends.append(time.perf_counter() - answered)
        answers.append(answered - begun)
        slivers.wait(operation, fine=False)
    yield Figure("CancelOperation of a create that hangs, until its answer", max(answers), "s")
    yield Figure("then until nothing of it is there, worst", max(ends), "s", most=2)


def traces(sliver_id: str) -> bool:
    """Whether there is a namespace of that sliver, files, or a process in it."""
    name = f"vmoc-{sliver_id}-"
    folders = (Path("/run/netns"), Path("/etc/netns"), Path("/var/lib/vmoc/netns"))
    return any(one.name.startswith(name) for folder in folders if folder.exists() for one in folder.iterdir())


def wait_until(true: Callable[[], bool]) -> None:
    """Poll; raises ``ToolError`` after five minutes."""
    end = time.monotonic() + 300
    while not true():
        if time.monotonic() > end:
            raise tools.ToolError("VMOC did not get there in 5 minutes.")
        time.sleep(0.005)


def beside(slivers: Slivers, load: Callable[[], Background]) -> Iterator[Figure]:
    """Packet-ins with and without handlers at work."""
    quiet = load().wait()
    busy = load()
    made, stop = [0], threading.Event()

    def work(line: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"busy-{line}-{number}"
            slivers.wait(slivers.create(name))
            slivers.wait(slivers.delete(name))
            made[0] += 1
            number += 1

    workers = [threading.Thread(target=work, args=(line,)) for line in range(2)]
    for one in workers:
        one.start()
    figures = busy.wait()
    stop.set()
    for one in workers:
        one.join()
    if figures["cross"] or quiet["cross"]:
        raise tools.ToolError("packet-ins or answers crossed VLANs: isolation is broken.")
    yield Figure("packet-in to flow-mod, quiet: p99", quiet["p99_us"], "us")
    yield Figure("the same while two handlers run: p99", figures["p99_us"], "us")
    yield Figure("p99 over quiet p99", figures["p99_us"] / quiet["p99_us"], "x", most=2)
    yield Figure("packet-ins without an answer", figures["lost"], "")
    yield Figure("slivers made and removed meanwhile", made[0], "")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 measured; 1 could not measure. Figures that aren't held say so."""
    parser = report.parser(__doc__, seconds=10.0, runs=5)
    parser.add_argument("--workers", metavar="N", help="as of vmoc run (auto)")
    parser.add_argument("--rate", type=float, default=2000, help="packet-ins per second (2000)")
    parser.add_argument("--cpu-weight", type=int, help="of all runs together, of 100 (as VMOC)")
    parser.add_argument("--only", choices=["one", "many", "cancelled", "beside"], action="append", help="repeatable")
    options = parser.parse_args(arguments)
    if options.workers:
        os.environ["VMOC_WORKERS"] = options.workers
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processor = {} if options.cpu_weight is None else {"cpu_weight": options.cpu_weight}

    def measure() -> Iterator[Figure]:
        tools.build()
        with (
            tempfile.TemporaryDirectory(prefix="vmoc-bench-") as name,
            NetworkNamespace.create() as own,
            own.entered(),
            tools.Controllers(VLANS) as controllers,
            service(folder := Path(name), controllers.ports, processor) as (vmoc, slivers, variables),
        ):
            parts: dict[str, Callable[[], Iterator[Figure]]] = {
                "one": lambda: one_at_a_time(slivers, folder, variables, options.runs),
                "many": lambda: many(slivers),
                "cancelled": lambda: cancelled(slivers, folder, options.runs),
                "beside": lambda: beside(
                    slivers, lambda: Background(vmoc, controllers, seconds=options.seconds, rate=options.rate)
                ),
            }
            for part, figures in parts.items():
                if not options.only or part in options.only:
                    yield from figures()

    if os.geteuid() != 0:
        print("Slivers are network namespaces, which need root; run it with sudo.")
        return 1
    return 1 if report.measured(measure, table, options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
