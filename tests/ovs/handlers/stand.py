"""``vmoc run`` with two hosts behind one switch, its commands, and a caller that makes calls in the test's namespace.

::

    h1: bridge e1 --- 1 \
                         br0, under VMOC
    h2: bridge e2 --- 2 /
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mininet_scenarios.processes import wait_until
from mininet_scenarios.vmoc import Vmoc, command
from tests.ovs.lab import Lab

API = "127.0.0.1:50051"
STATES = Path("/var/lib/vmoc/netns")


class Stand:
    """See the module. ``state`` is where VMOC keeps what survives it."""

    def __init__(self, lab: Lab, state: str = ":memory:", controller: str = "builtin") -> None:
        self.lab = lab
        self.ovs = lab.ovs
        self._state = state
        self._controller = controller
        self.ovs.add_bridge("br0", 0xA)
        for number in (1, 2):
            self.ovs.add_bridge(f"e{number}", 0x100 + number, fail_mode="standalone")
            self.ovs.add_patch("br0", number, f"e{number}", 1)
        self.vmoc: Vmoc

    def start(self) -> None:
        """Run VMOC, until the API answers."""
        folder = self.lab.directory
        hosts = {f"h{n}": {"variables": self.variables(n)} for n in (1, 2)}
        handlers = {
            "processor": {"workers": 2, "stop_grace": 1, "cpu_weight": 100},
            "playbooks": {"netns": "netns.yml"},
            "hosts": hosts,
            "handlers": {
                "netns": {"timeouts": {"default": 60}, "actions": ["ping"], "playbooks": {"inventory": "netns.yml"}},
                "L2Bridge": {"backend": "l2bridge"},
            },
        }
        (folder / "handlers.yaml").write_text(json.dumps(handlers))
        configured = {
            "state": {"path": self._state},
            "handlers": {"config": str(folder / "handlers.yaml")},
            "default_controller": {"mode": self._controller},
            "grpc": {"listen": API},
        }
        self.vmoc = self.lab.run_vmoc(**configured)
        wait_until(lambda: "the API is at" in self.vmoc.output(), "the API to listen")

    def variables(self, number: int) -> dict[str, Any]:
        uplink = f"e{number}-br0"  # as PrivateOvs.add_patch calls it
        return {"netns_bridge": f"e{number}", "netns_uplink": uplink, "netns_ovs_rundir": str(self.ovs.directory)}

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints."""
        environment = {**os.environ, "VMOC_SERVER": API}
        done = subprocess.run(
            [command(), *words], capture_output=True, text=True, timeout=200, check=False, env=environment
        )
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def document(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*words, "-o", "json"))

    def traces(self, *names: str, slice_id: str) -> list[str]:
        """Everything of those slivers that is on this machine."""
        found = []
        for number in (1, 2):
            ports = self.ovs.vsctl("list-ports", f"e{number}").split()
            found += [port for port in ports if port != f"e{number}-br0"]
        for name in names:
            instance = f"vmoc-{name}-{hashlib.sha256(f'{slice_id}/{name}'.encode()).hexdigest()[:8]}"
            places = (Path("/run/netns", instance), Path("/etc/netns", instance), STATES / instance)
            found += [str(place) for place in places if place.exists()]
        return found


class Calls:
    """A process that makes calls for us: gRPC's own threads must be born in the test's namespace."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        pipe = subprocess.PIPE
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=environment
        )
        stack.enter_context(self._process)
        stack.callback(self._process.kill)

    def __call__(self, method: str, **request: Any) -> dict[str, Any]:
        """The answer as JSON has it; ``{"error": REASON}`` for a refusal."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, request]) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def _serve() -> None:
    """The calling process: a line per call, a line per answer."""
    import grpc
    from google.longrunning import operations_pb2, operations_pb2_grpc
    from google.protobuf import json_format

    from am_bridge.status import from_rpc_error
    from vmoc.v1 import slices_pb2, slices_pb2_grpc, slivers_pb2, slivers_pb2_grpc

    options = [("grpc.min_reconnect_backoff_ms", 50), ("grpc.initial_reconnect_backoff_ms", 50)]
    with grpc.insecure_channel(API, options=[*options, ("grpc.max_reconnect_backoff_ms", 100)]) as channel:
        stubs: dict[str, Any] = {
            "slices": (slices_pb2_grpc.SliceServiceStub(channel), slices_pb2),
            "slivers": (slivers_pb2_grpc.SliverServiceStub(channel), slivers_pb2),
            "operations": (operations_pb2_grpc.OperationsStub(channel), operations_pb2),
        }
        for line in sys.stdin:
            method, request = json.loads(line)
            service, name = method.split(".")
            stub, messages = stubs[service]
            try:
                message = json_format.ParseDict(request, getattr(messages, f"{name}Request")())
                answer = getattr(stub, name)(message, timeout=40, wait_for_ready=True)
                told = json_format.MessageToDict(answer, preserving_proto_field_name=True)
            except grpc.RpcError as error:
                told = {"error": from_rpc_error(error).reason.code or str(error)}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _serve()
