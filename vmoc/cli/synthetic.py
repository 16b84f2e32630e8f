"""``vmoc doctor --synthetic``: a slice with a network and two slivers that ping each other, made and removed again.

Safe on a rack in use: names of its own, a VLAN of the pool, addresses that are
for documentation (RFC 5737), and a slice that expires in ten minutes, so that
everything goes also if this is interrupted.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, Final

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import json_format, struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from vmoc.cli.findings import Finding
from vmoc.cli.progress import OperationFailedError, outcome
from vmoc.cli.server import CallFailedError, Server, changing
from vmoc.v1 import resources_pb2 as r
from vmoc.v1 import slices_pb2, slices_pb2_grpc, slivers_pb2_grpc
from vmoc.v1 import slivers_pb2 as v

LIFETIME: Final = 600
SUBNET: Final = "192.0.2.0/28"
PATIENCE: Final = 300.0
"""Seconds for one operation."""
REACH: Final = 30.0
"""Seconds in which the slivers must reach each other: a controller has to be connected first."""


class Rehearsal:
    """One run of the check; ``play`` yields what it finds."""

    def __init__(self, server: Server, resource_type: str) -> None:
        self._server = server
        self._type = resource_type
        self._slices = slices_pb2_grpc.SliceServiceStub(server.channel)
        self._slivers = slivers_pb2_grpc.SliverServiceStub(server.channel)
        self._operations = operations_pb2_grpc.OperationsStub(server.channel)
        self.name = f"vmoc-doctor-{secrets.token_hex(4)}"
        self._made: list[str] = []

    def play(self) -> Iterator[Finding]:
        """Make, ping, remove."""
        begun = False
        try:
            hosts = self._hosts()
            begun = True
            yield from self._make(hosts)
            yield self._ping()
        except (CallFailedError, OperationFailedError) as error:
            advice = f"'vmoc operation list' and 'vmoc events --slice {self.name}' show more"
            yield Finding("problem", "synthetic slice", error.format_message(), advice)
        finally:
            left = list(self._remove()) if begun else []
        yield from left

    def _hosts(self) -> list[str]:
        """Two hosts, or twice the only one."""
        types = self._server.pages(self._slivers.ListHandlers, v.ListHandlersRequest(), "handlers")
        found = {one.resource_type: [action.name for action in one.actions] for one in types}
        for kind, action in (("L2Bridge", None), (self._type, "ping")):
            if kind not in found or (action is not None and action not in found[kind]):
                need = f"a type {kind}" + (f" with the action {action}" if action else "")
                raise OperationFailedError(f"handlers.yaml needs {need} for this check")
        states = v.HostState
        hosts = [
            one.host
            for one in self._server.pages(self._slivers.ListHosts, v.ListHostsRequest(), "hosts")
            if one.state != states.HOST_STATE_UNREACHABLE and one.schedulable
        ]
        if not hosts:
            raise OperationFailedError("no host can be reached")
        return [hosts[0], hosts[1 if len(hosts) > 1 else 0]]

    def _make(self, hosts: list[str]) -> Iterator[Finding]:
        expiry = Timestamp(seconds=int(time.time()) + LIFETIME)
        one = r.Slice(slice_id=self.name, labels={"purpose": "vmoc doctor"}, expire_time=expiry)
        self._server.call(self._slices.RegisterSlice, changing(slices_pb2.RegisterSliceRequest, slice=one))
        begin = time.monotonic()
        network = self._create(f"{self.name}-lan", "L2Bridge", "", {"properties": {"subnet": SUBNET}})
        made = outcome(self._wait(network))
        assert isinstance(made, v.Sliver)
        vlan = int(json_format.MessageToDict(made.status.facts)["vlan"])
        yield Finding("ok", "synthetic network", f"VLAN {vlan}, made in {_since(begin)}")
        begin = time.monotonic()
        card = {"name": "eth1", "network": f"{self.name}-lan"}
        running = [
            self._create(f"{self.name}-{number}", self._type, host, {"interfaces": [card]})
            for number, host in enumerate(hosts, 1)
        ]
        for operation in running:
            outcome(self._wait(operation))
        where = " and ".join(dict.fromkeys(hosts))
        yield Finding("ok", "synthetic slivers", f"two of type {self._type} on {where}, made in {_since(begin)}")

    def _create(self, name: str, kind: str, host: str, spec: dict[str, Any]) -> operations_pb2.Operation:
        sliver = v.Sliver(sliver_id=name, slice_id=self.name, resource_type=kind, host=host)
        json_format.ParseDict(spec, sliver.spec)
        request = changing(v.CreateSliverRequest, sliver=sliver)
        operation: operations_pb2.Operation = self._server.call(self._slivers.CreateSliver, request)
        self._made.append(name)
        return operation

    def _wait(self, operation: operations_pb2.Operation) -> operations_pb2.Operation:
        end = time.monotonic() + PATIENCE
        while not operation.done:
            if time.monotonic() > end:
                raise OperationFailedError(f"{operation.name} has not ended after {PATIENCE:.0f} s")
            request = operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=10))
            operation = self._server.call(self._operations.WaitOperation, request)
        return operation

    def _ping(self) -> Finding:
        target = self._server.call(self._slivers.GetSliver, v.GetSliverRequest(sliver_id=f"{self.name}-2"))
        addresses = [address for card in target.status.interfaces for address in card.ip_addresses]
        if not addresses:
            return Finding("problem", "synthetic ping", "the second sliver has no address", "see its handler")
        parameters = struct_pb2.Struct()
        json_format.ParseDict({"address": addresses[0].partition("/")[0], "count": 5}, parameters)
        begin = time.monotonic()
        while True:
            request = changing(v.PerformActionRequest, sliver_id=f"{self.name}-1", action="ping", parameters=parameters)
            answer = outcome(self._wait(self._server.call(self._slivers.PerformAction, request)))
            assert isinstance(answer, v.PerformActionResponse)
            received = int(json_format.MessageToDict(answer.result)["ping"]["received"])
            if received:
                return Finding("ok", "synthetic ping", f"{received} of 5 answered, {_since(begin)} after the first try")
            if time.monotonic() - begin > REACH:
                advice = (
                    "the slice has the default controller: it must not be switched off, and what is between the hosts"
                    " must be under VMOC; 'vmoc controller list' and 'vmoc switch list' show both"
                )
                return Finding("problem", "synthetic ping", f"none of 5 answered in {REACH:.0f} s", advice)

    def _remove(self) -> Iterator[Finding]:
        begin, wrong = time.monotonic(), 0
        for name in reversed(self._made):
            request = changing(v.DeleteSliverRequest, sliver_id=name, allow_missing=True)
            try:
                outcome(self._wait(self._server.call(self._slivers.DeleteSliver, request)))
            except (CallFailedError, OperationFailedError) as error:
                wrong += 1
                yield Finding("problem", f"removal of {name}", error.format_message(), f"'vmoc sliver show {name}'")
        gone = changing(slices_pb2.UnregisterSliceRequest, slice_id=self.name, allow_missing=True)
        try:
            self._server.call(self._slices.UnregisterSlice, gone)
        except CallFailedError as error:
            wrong += 1
            advice = f"it goes by itself in {LIFETIME // 60} minutes"
            yield Finding("problem", f"removal of {self.name}", error.format_message(), advice)
        if not wrong:
            yield Finding("ok", "synthetic slice", f"removed in {_since(begin)}, nothing is left")


def _since(begin: float) -> str:
    return f"{time.monotonic() - begin:.1f} s"
