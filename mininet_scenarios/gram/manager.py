"""The aggregate manager of the rack's story: everything it does it does over gRPC, as any other would.

``python -m mininet_scenarios.gram.manager ADDRESS CONTROLLER TOKEN`` takes one step, prints
what came of it as a line of JSON, and waits for a line before the next one.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from am_bridge.channel import open_channel
from vmoc.v1 import resources_pb2, slices_pb2, slices_pb2_grpc, slivers_pb2, slivers_pb2_grpc

KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1vcmUgdGhhbiBqdXN0IGEgcGxhY2Vob2xkZXIx alice@lab",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1vcmUgdGhhbiBqdXN0IGEgcGxhY2Vob2xkZXIy alice@home",
)
SLICES = ("alice", "bob")
SUBNET = "10.10.0.0/24"  # of both, as slices may
SLIVERS = tuple(f"{name}-vm{number}" for name in SLICES for number in (1, 2))


class FailedError(Exception):
    """An operation that ended without success, in a sentence."""


class Manager:
    """The calls the story needs."""

    def __init__(self, address: str) -> None:
        channel = open_channel(address)
        self._slices: Any = slices_pb2_grpc.SliceServiceStub(channel)
        self._slivers: Any = slivers_pb2_grpc.SliverServiceStub(channel)
        self._operations: Any = operations_pb2_grpc.OperationsStub(channel)

    def allocate(self, name: str) -> dict[str, Any]:
        """A slice without anything yet."""
        wanted = resources_pb2.Slice(slice_id=name, manager="gram", owner=f"{name}@example.org")
        request = slices_pb2.RegisterSliceRequest(slice=wanted, request_id=uuid.uuid4().hex)
        return _plain(self._slices.RegisterSlice(request, timeout=30).slice)

    def create(self, slice_id: str, sliver_id: str, kind: str, host: str = "", **spec: Any) -> operations_pb2.Operation:
        """Begin to make a sliver."""
        wanted = slivers_pb2.Sliver(
            sliver_id=sliver_id, slice_id=slice_id, resource_type=kind, host=host, spec=ParseDict(spec, Struct())
        )
        return self._slivers.CreateSliver(
            slivers_pb2.CreateSliverRequest(sliver=wanted, request_id=uuid.uuid4().hex), timeout=30
        )

    def finish(self, operations: Sequence[operations_pb2.Operation]) -> list[dict[str, Any]]:
        """Wait for all of them; what they made. Raises ``FailedError``."""
        found = []
        for operation in operations:
            while not operation.done:
                request = operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=30))
                operation = self._operations.WaitOperation(request, timeout=60)
            if operation.HasField("error"):
                raise FailedError(f"{operation.name}: {operation.error.message}")
            for kind in (slivers_pb2.Sliver, slivers_pb2.PerformActionResponse, slivers_pb2.DeleteSliverResponse):
                message = kind()
                if operation.response.Unpack(message):
                    found.append(_plain(message))
        return found

    def change(self, sliver_id: str, **spec: Any) -> operations_pb2.Operation:
        """Begin to give a sliver other values of some fields of its specification."""
        wanted = slivers_pb2.Sliver(sliver_id=sliver_id, spec=ParseDict(spec, Struct()))
        request = slivers_pb2.ModifySliverRequest(
            sliver=wanted,
            update_mask=FieldMask(paths=[f"spec.{name}" for name in spec]),
            request_id=uuid.uuid4().hex,
        )
        return self._slivers.ModifySliver(request, timeout=30)

    def act(self, sliver_id: str, action: str, **parameters: Any) -> dict[str, Any]:
        """Do something to a sliver."""
        request = slivers_pb2.PerformActionRequest(
            sliver_id=sliver_id,
            action=action,
            parameters=ParseDict(parameters, Struct()),
            request_id=uuid.uuid4().hex,
        )
        return self.finish([self._slivers.PerformAction(request, timeout=30)])[0]

    def probe(self, sliver_id: str) -> dict[str, Any]:
        """How a sliver is."""
        return _plain(self._slivers.ProbeSliver(slivers_pb2.ProbeSliverRequest(sliver_id=sliver_id), timeout=60))

    def remove(self, sliver_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Delete slivers at the same time."""
        return self.finish(
            [
                self._slivers.DeleteSliver(
                    slivers_pb2.DeleteSliverRequest(sliver_id=one, request_id=uuid.uuid4().hex), timeout=30
                )
                for one in sliver_ids
            ]
        )

    def renew(self, slice_id: str, seconds: float) -> dict[str, Any]:
        """Let a slice end so many seconds from now."""
        moment = Timestamp()
        moment.FromMilliseconds(int((time.time() + seconds) * 1000))
        request = slices_pb2.RenewSliceRequest(slice_id=slice_id, expire_time=moment, request_id=uuid.uuid4().hex)
        return _plain(self._slices.RenewSlice(request, timeout=30))

    def unregister(self, slice_id: str) -> None:
        """The slice goes, and everything of it."""
        self._slices.UnregisterSlice(slices_pb2.UnregisterSliceRequest(slice_id=slice_id), timeout=60)

    def slices(self) -> list[str]:
        """Which there are."""
        return [one.slice_id for one in self._slices.ListSlices(slices_pb2.ListSlicesRequest(), timeout=30).slices]

    def slivers(self) -> list[str]:
        """Which there are."""
        return [
            one.sliver_id for one in self._slivers.ListSlivers(slivers_pb2.ListSliversRequest(), timeout=30).slivers
        ]


def steps(am: Manager, controller: str, token: str) -> Iterator[Any]:
    """The story, step by step; what each yields is for whoever checks it. ``token`` ends the names of its slices."""
    alice, bob = (f"{name}.{token}" for name in SLICES)
    am.allocate(alice)
    am.allocate(bob)
    own = {"controllers": [controller]}
    networks = am.finish(
        [
            am.create(alice, "alice-lan", "L2Bridge", properties={**own, "subnet": SUBNET}),
            am.create(bob, "bob-lan", "L2Bridge", properties={"subnet": SUBNET}),
        ]
    )
    yield {one["sliver_id"]: int(one["status"]["facts"]["vlan"]) for one in networks}

    begun = time.monotonic()
    made = am.finish(
        [
            am.create(
                f"{name}.{token}", f"{name}-vm{number}", kind, f"compute{number}",
                interfaces=[{"name": "eth1", "network": f"{name}-lan"}],
                users=[{"name": name, "keys": [KEYS[0]]}],
                published_ports=[{"port": 80}],
            )
            for name, kind in (("alice", "container"), ("bob", "netns"))
            for number in (1, 2)
        ]
    )  # fmt: skip
    yield {"seconds": round(time.monotonic() - begun, 1), "slivers": made}

    (backbone,) = am.finish([am.create(alice, "alice-lan2", "L2Bridge", properties={"subnet": "10.20.0.0/24"})])
    cards = [{"name": "eth1", "network": "alice-lan"}, {"name": "eth2", "network": "alice-lan2"}]
    other = [{"name": "alice", "keys": [KEYS[1]]}]
    changed = am.finish(
        [am.change("alice-vm1", interfaces=cards, users=other), am.change("alice-vm2", interfaces=cards)]
    )
    yield {"vlan": int(backbone["status"]["facts"]["vlan"]), "slivers": changed}

    yield am.act("alice-vm1", "reboot")
    with ThreadPoolExecutor() as together:
        yield list(together.map(am.probe, SLIVERS))
    yield am.renew(bob, 3600)
    am.remove(["alice-vm1", "alice-vm2"])
    am.remove(["alice-lan", "alice-lan2"])
    am.unregister(alice)
    yield {"slices": am.slices(), "slivers": am.slivers()}
    am.renew(bob, 2)
    while am.slices() or am.slivers():
        time.sleep(0.2)
    yield {"slices": am.slices(), "slivers": am.slivers()}


def _plain(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def main() -> int:
    """Take the steps; 0 after the last one."""
    address, controller, token = sys.argv[1:]
    for outcome in steps(Manager(address), controller, token):
        print(json.dumps(outcome))
        if not sys.stdin.readline():
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
