"""What callers ask of slivers, read strictly; and what handlers refuse, as the API tells it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from am_bridge import reasons
from am_bridge.auth import Caller
from am_bridge.fields import read_request_id
from am_bridge.handlers.catalogue import UnsupportedError
from am_bridge.handlers.journal import JournalError
from am_bridge.handlers.operations import Request
from am_bridge.handlers.processor import (
    ClosedError,
    EtagError,
    ExistsError,
    MissingError,
    NoRoomError,
    ReusedError,
    StateError,
)
from am_bridge.handlers.queue import BusyError, FullError
from am_bridge.handlers.spec import SpecError
from am_bridge.once import digest_of
from am_bridge.services.sliver_messages import IN_MESSAGE, PREFIX
from am_bridge.status import ApiError, RetryAfter
from am_bridge.violations import Violations
from vmoc.v1 import slivers_pb2 as v

MOST_DEPTH: Final = 24
MOST_VALUES: Final = 20_000
_HOST_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_UNSUPPORTED: Final = {
    "type": reasons.HANDLER_NOT_FOUND,
    "host": reasons.HOST_NOT_FOUND,
    "action": reasons.ACTION_UNSUPPORTED,
}
_MISSING: Final = {"sliver": reasons.SLIVER_NOT_FOUND, "operation": reasons.OPERATION_NOT_FOUND}
_OPERATION: Final = re.compile(r"operations/([0-9a-f]{1,64})")


def request_of(message: Message, caller: Caller, manager: str = "") -> Request:
    """Who asks and by what name; ``manager`` is whose sliver it is about. Raises ``ApiError``."""
    problems = Violations()
    name = read_request_id(getattr(message, "request_id", ""), problems)
    problems.check()
    return Request(
        by=caller.key,
        id=name,
        digest=digest_of(message).hex() if name else "",
        name=caller.name,
        manager=manager,
    )


def operation_id_of(name: str) -> str:
    """The id in ``operations/ID``. Raises ``ApiError``."""
    found = _OPERATION.fullmatch(name)
    if found is None:
        if name.startswith(PREFIX):
            raise ApiError(reasons.OPERATION_NOT_FOUND, metadata={"operation": name[:128]})
        raise ApiError(
            reasons.FIELD_INVALID, "name must be operations/ID", violations=[("name", "must be operations/ID")]
        )
    return found[1]


def document_of(sliver: v.Sliver) -> dict[str, Any]:
    """The specification in a message, not yet checked but for what a Struct can say and a spec cannot."""
    problems = Violations()
    document = plain_struct(sliver.spec, "sliver.spec", problems)
    for name in sorted(IN_MESSAGE & document.keys()):
        problems.add(f"sliver.spec.{name}", f"belongs into sliver.{name}")
    problems.check()
    document["slice_id"] = sliver.slice_id
    document["sliver_id"] = sliver.sliver_id
    document["resource_type"] = sliver.resource_type
    if sliver.host:
        document["host"] = sliver.host
    if not document.get("hostname") and not (len(sliver.sliver_id) <= 63 and _HOST_NAME.fullmatch(sliver.sliver_id)):
        found = re.sub(r"[^a-z0-9]+", "-", sliver.sliver_id.lower()).strip("-")[:63].strip("-")
        document["hostname"] = found or "sliver"
    return document


def plain_struct(struct: Struct, path: str, problems: Violations) -> dict[str, Any]:
    """As JSON would have it: whole numbers are whole."""
    left = [MOST_VALUES]

    def plain(value: Value, path: str, depth: int) -> Any:
        left[0] -= 1
        if depth > MOST_DEPTH or left[0] < 0:
            if depth > MOST_DEPTH or left[0] == -1:  # once is enough
                problems.add(path, f"must hold at most {MOST_VALUES} values, nested at most {MOST_DEPTH} deep")
            return None
        match value.WhichOneof("kind"):
            case "number_value":
                number = value.number_value
                if not math.isfinite(number):
                    problems.add(path, "must be a finite number")
                    return 0
                return int(number) if number.is_integer() and abs(number) < 2**53 else number
            case "string_value":
                return value.string_value
            case "bool_value":
                return value.bool_value
            case "struct_value":
                fields = value.struct_value.fields
                return (
                    {} if left[0] < 0 else {key: plain(one, f"{path}.{key}", depth + 1) for key, one in fields.items()}
                )
            case "list_value":
                values = value.list_value.values
                return [plain(one, f"{path}[{index}]", depth + 1) for index, one in enumerate(values) if left[0] >= 0]
        return None

    return {key: plain(one, f"{path}.{key}", 1) for key, one in struct.fields.items()}


def spec_error(error: SpecError) -> ApiError:
    """Each problem at its place in the request."""
    found = [(_place(path), text) for path, text in error.problems]
    schema = any(path.startswith("properties") for path, _ in error.problems)
    reason = reasons.SCHEMA_VIOLATION if schema else reasons.FIELD_INVALID
    return ApiError(reason, f"{found[0][0]} {found[0][1]}", violations=found)


def _place(path: str) -> str:
    return f"sliver.{path}" if path in IN_MESSAGE else f"sliver.spec.{path}" if path else "sliver.spec"


@contextmanager
def refusals(metadata: Mapping[str, str] | None = None, stale: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turns what the processor raises into an ``ApiError``; ``stale`` gives the present etag."""
    about = dict(metadata or {})
    try:
        yield
    except SpecError as error:
        raise spec_error(error) from error
    except UnsupportedError as error:
        raise ApiError(_UNSUPPORTED[error.what], str(error), metadata=about) from error
    except ExistsError as error:
        raise ApiError(reasons.NAME_TAKEN, str(error), metadata=about) from error
    except MissingError as error:
        raise ApiError(_MISSING[error.what], str(error), metadata=about) from error
    except EtagError as error:
        raise ApiError(reasons.ETAG_MISMATCH, str(error), metadata={**about, "etag": stale()}) from error
    except StateError as error:
        raise ApiError(reasons.WRONG_STATE, str(error), metadata=about) from error
    except ReusedError as error:
        raise ApiError(reasons.REQUEST_ID_REUSED, str(error), metadata=about) from error
    except BusyError as error:
        about["operation"] = PREFIX + error.operation
        raise ApiError(reasons.OPERATION_IN_PROGRESS, str(error), metadata=about, retry=RetryAfter(1.0)) from error
    except NoRoomError as error:
        raise ApiError(reasons.NO_CAPACITY, str(error), metadata=about) from error
    except FullError as error:
        raise ApiError(reasons.TOO_MANY_CALLS, str(error), retry=RetryAfter(5.0)) from error
    except JournalError as error:
        raise ApiError(reasons.STORE_FAILED, f"{error}; nothing was changed", retry=RetryAfter(5.0)) from error
    except ClosedError as error:
        raise ApiError(reasons.SERVER_DRAINING, str(error), retry=RetryAfter(2.0)) from error
