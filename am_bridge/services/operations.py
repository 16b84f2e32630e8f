"""google.longrunning.Operations: what the processor works at, and what it has done in the last days."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Final

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty

from am_bridge import fields as read
from am_bridge import reasons
from am_bridge.auth import Caller
from am_bridge.call import Call
from am_bridge.handlers.catalogue import UnsupportedError
from am_bridge.handlers.handler import Verb
from am_bridge.handlers.operations import Operation
from am_bridge.handlers.processor import Processor
from am_bridge.paging import PageTokens, page_size
from am_bridge.services.sliver_access import may_know_operation
from am_bridge.services.sliver_messages import PREFIX, operation_message
from am_bridge.services.sliver_requests import operation_id_of, refusals
from am_bridge.status import ApiError
from am_bridge.violations import Violations, violation

PAGE: Final = 100
MOST_PAGE: Final = 1000
_TERM: Final = re.compile(r'(done|sliver_id|slice_id)\s*=\s*"?([A-Za-z0-9._:+-]{1,128})"?')


class Operations:
    """See the module. Callers that are held to a manager see what concerns its slivers."""

    def __init__(self, processor: Processor, tokens: PageTokens, wall: Callable[[], float] = time.time) -> None:
        self._processor = processor
        self._tokens = tokens
        self._wall = wall

    def GetOperation(self, request: operations_pb2.GetOperationRequest, call: Call) -> operations_pb2.Operation:
        """One as it is."""
        return self.message(self.own(operation_id_of(request.name), call.caller))

    def WaitOperation(self, request: operations_pb2.WaitOperationRequest, call: Call) -> operations_pb2.Operation:
        """One when it is over, or as it is when the time given is."""
        name = operation_id_of(request.name)
        self.own(name, call.caller)
        problems, seconds = Violations(), call.left
        if request.HasField("timeout"):
            seconds = min(seconds, read.read_duration(request.timeout, "timeout", problems))
        problems.check()
        with refusals():
            # The answer has to be back before the caller gives up.
            return self.message(self._processor.wait(name, max(0.0, min(seconds, call.left - 0.25))))

    def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, call: Call
    ) -> operations_pb2.ListOperationsResponse:
        """A page, newest first."""
        if request.name not in ("", "operations"):
            raise violation("name", "must be operations, or empty")
        wanted = _condition(request.filter)
        size, token = page_size(request.page_size, PAGE, MOST_PAGE), self._tokens.read(request, request.page_token)
        before: tuple[float, str] | None = None
        if token is not None:
            created, name = json.loads(token)
            before = (float(created), str(name))
        found: list[Operation] = []
        with refusals():
            while len(found) <= size:
                batch = self._processor.operations(limit=MOST_PAGE, before=before)
                found += [one for one in batch if may_know_operation(one, call.caller) and wanted(one)]
                if len(batch) < MOST_PAGE:
                    break
                before = (batch[-1].create_time, batch[-1].id)
        response = operations_pb2.ListOperationsResponse(operations=[self.message(one) for one in found[:size]])
        if len(found) > size:
            last = found[size - 1]
            response.next_page_token = self._tokens.make(request, json.dumps([last.create_time, last.id]))
        return response

    def CancelOperation(self, request: operations_pb2.CancelOperationRequest, call: Call) -> Empty:
        """Ask one to end."""
        operation = self.own(operation_id_of(request.name), call.caller)
        _audit(call, operation)
        with refusals():
            self._processor.cancel(operation.id)
        return Empty()

    def DeleteOperation(self, request: operations_pb2.DeleteOperationRequest, call: Call) -> Empty:
        """Forget one that is over."""
        operation = self.own(operation_id_of(request.name), call.caller)
        _audit(call, operation)
        with refusals({"operation": request.name}):
            self._processor.drop_operation(operation.id)
        return Empty()

    def own(self, name: str, caller: Caller) -> Operation:
        """An operation the caller may know of. Raises ``ApiError``."""
        about = {"operation": PREFIX + name}
        with refusals(about):
            operation = self._processor.operation(name)
        if not may_know_operation(operation, caller):
            raise ApiError(reasons.OPERATION_NOT_FOUND, f"there is no operation {name!r}", metadata=about)
        return operation

    def message(self, operation: Operation) -> operations_pb2.Operation:
        """As callers see it."""
        catalogue = self._processor.catalogue
        attempts = 1
        try:
            config = catalogue.find(operation.spec.resource_type, operation.spec.model)
            attempts = config.limits.tries(operation.action or operation.verb.value)
        except UnsupportedError:
            pass
        return operation_message(operation, catalogue.host("").name, attempts, self._wall())


def _audit(call: Call, operation: Operation) -> None:
    call.detail["operation"] = operation.id
    if operation.verb is not Verb.INVENTORY:
        call.slice_id = operation.sliver.slice_id
        call.detail["sliver"] = operation.sliver.sliver_id


def _condition(text: str) -> Callable[[Operation], bool]:
    """What a filter comes to: ``done=false``, ``sliver_id=X`` and ``slice_id=X``, joined by ``AND``."""
    tests: dict[str, str] = {}
    for term in text.split(" AND ") if text.strip() else ():
        found = _TERM.fullmatch(term.strip())
        if found is None or (found[1] == "done" and found[2] not in ("true", "false")):
            raise violation("filter", "must be done=true or false, sliver_id=ID and slice_id=ID, joined by AND")
        tests[found[1]] = found[2]

    def fits(one: Operation) -> bool:
        return (
            tests.get("done") in (None, "true" if one.over else "false")
            and tests.get("sliver_id") in (None, one.sliver.sliver_id)
            and tests.get("slice_id") in (None, one.sliver.slice_id)
        )

    return fits
