"""A gRPC server that answers what a test says; requests are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.protobuf.symbol_database import Default
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


class Refusal(Exception):
    """Raised by an answer: the call fails with this status."""

    def __init__(self, code: grpc.StatusCode, text: str, *details: Message) -> None:
        super().__init__(text)
        status = status_pb2.Status(code=code.value[0], message=text)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        self.status = rpc_status.to_status(status)


def info(reason: str, **metadata: str) -> Message:
    return error_details_pb2.ErrorInfo(domain="vmoc", reason=reason, metadata=metadata)


class FakeServer(grpc.GenericRpcHandler):
    """``on("SliceService/GetSlice", answer)``: ``answer`` is a message, a list of them (a stream), or makes either."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self._answers: dict[str, Any] = {}
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def on(self, method: str, answer: Message | list[Any] | Callable[[Any], Any]) -> None:
        self._answers[method if method.startswith("/google") else f"/vmoc.v1.{method}"] = answer

    def stop(self) -> None:
        self._server.stop(None).wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        if path not in self._answers:
            return None
        service, method = path[1:].split("/")
        database = Default()
        described = database.pool.FindServiceByName(service).methods_by_name[method]
        request = database.pool.FindMessageTypeByName(described.input_type.full_name)
        kind: Any = database.GetPrototype(request) if hasattr(database, "GetPrototype") else request._concrete_class
        if described.server_streaming:
            return grpc.unary_stream_rpc_method_handler(
                lambda asked, context: self._stream(path, asked, context), kind.FromString, _serialise
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda asked, context: self._answer(path, asked, context), kind.FromString, _serialise
        )

    def _answer(self, path: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        answer = self._answers[path]
        try:
            return answer(request) if callable(answer) else answer
        except Refusal as refusal:
            context.abort_with_status(refusal.status)

    def _stream(self, path: str, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for item in self._answer(path, request, context):
            if isinstance(item, Refusal):
                context.abort_with_status(item.status)
            yield item


def _serialise(message: Message) -> bytes:
    return message.SerializeToString()
