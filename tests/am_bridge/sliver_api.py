"""The API with slivers on loopback: a real book and processor, and a handler the test conducts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from am_bridge.auth import Caller, Callers, Role
from am_bridge.handlers.catalogue import Catalogue, HandlerConfig
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.l2bridge import SCHEMA, L2Bridge, follow_cards
from am_bridge.handlers.operations import Sliver
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.queue import Limits
from am_bridge.handlers.sweeper import Sweeper
from am_bridge.server import Served
from am_bridge.services.operations import Operations
from am_bridge.services.sliver_access import acceptance, fate_of, occupants
from am_bridge.services.slivers import SliverService
from tests.am_bridge.api import Api
from tests.am_bridge.handlers.scripted import WAIT, ScriptedHandler, catalogue
from vmoc.v1 import slivers_pb2 as v
from vmoc.v1 import slivers_pb2_grpc


class SliverApi(Api):
    """The API with slivers; ``caller`` is whoever calls."""

    def __init__(self) -> None:
        self.handler = ScriptedHandler()
        self.caller: Caller | None = Caller("root", Role.ADMIN)
        callers = Callers(None)
        callers.identify = lambda peer: self.caller  # type: ignore[method-assign]
        super().__init__(callers=callers)
        self.slivers = slivers_pb2_grpc.SliverServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)

    def services(self) -> list[Served]:
        self.processor = Processor(
            with_networks(catalogue()),
            SqliteJournal(":memory:"),
            {"scripted": lambda config: self.handler, "l2bridge": lambda config: L2Bridge(config, self.book)},
            clock=lambda: self.now,
            jitter=lambda: -0.999,
            accept=acceptance(self.book),
        )
        self.processor.start()
        self.book.use_occupants(lambda: occupants(self.processor.slivers))
        self.sweeper = Sweeper(self.processor, fate_of(self.book), [self._follow], clock=lambda: self.now)
        operations = Operations(self.processor, self.tokens, wall=lambda: self.now)
        slivers = SliverService(self.processor, self.book, self.tokens, operations, wall=lambda: self.now)
        add = slivers_pb2_grpc.add_SliverServiceServicer_to_server
        return [
            *super().services(),
            Served("vmoc.v1.SliverService", add, slivers),
            Served("google.longrunning.Operations", operations_pb2_grpc.add_OperationsServicer_to_server, operations),
        ]

    def close(self) -> None:
        super().close()
        self.processor.close()

    def become(self, manager: str, name: str = "") -> None:
        self.caller = Caller(name or manager, Role.AM, manager)

    def create(self, sliver_id: str = "vm1", slice_id: str = "one", **more: Any) -> lro.Operation:
        return self.slivers.CreateSliver(v.CreateSliverRequest(sliver=sliver(sliver_id, slice_id), **more))

    def wait(self, operation: lro.Operation) -> lro.Operation:
        found = self.operations.WaitOperation(
            lro.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=int(WAIT)))
        )
        assert found.done
        return found

    def get(self, sliver_id: str = "vm1") -> v.Sliver:
        return self.slivers.GetSliver(v.GetSliverRequest(sliver_id=sliver_id))

    def known_slivers(self) -> Iterable[Sliver]:
        return self.processor.slivers()

    def _follow(self, slivers: Sequence[Sliver]) -> None:
        follow_cards(self.book, slivers)

    def settle(self) -> list[str]:
        """The slivers there are when nothing is under way any more."""
        for operation in self.processor.running():
            self.processor.wait(operation.id, WAIT)
        return [one.spec.sliver_id for one in self.processor.slivers()]


def with_networks(one: Catalogue) -> Catalogue:
    network = HandlerConfig("L2Bridge", "l2bridge", Limits({"default": 30.0}, {}), schema=SCHEMA)
    return Catalogue({**one.handlers, "L2Bridge": network}, one.hosts, one.workers, one.queue, one.stop_grace)


def spec(**values: Any) -> Struct:
    return ParseDict(values, Struct())


def sliver(sliver_id: str = "vm1", slice_id: str = "one", **values: Any) -> v.Sliver:
    values.setdefault("spec", spec(interfaces=[{"name": "eth1", "vlan": 101 if slice_id == "one" else 102}], vcpus=2))
    return v.Sliver(sliver_id=sliver_id, slice_id=slice_id, resource_type="Scripted", **values)


def result(operation: lro.Operation, kind: type[Any] = v.Sliver) -> Any:
    found = kind()
    assert operation.response.Unpack(found), operation
    return found


def metadata(operation: lro.Operation) -> v.OperationMetadata:
    found = v.OperationMetadata()
    assert operation.metadata.Unpack(found)
    return found
