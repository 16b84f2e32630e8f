"""``request_id``: which request a name was used for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from google.protobuf.message import Message

from am_bridge.auth import Caller
from am_bridge.fields import read_request_id
from am_bridge.violations import Violations
from vmoc.ledger import Once, Outcome


def once_of(request: Message, caller: Caller, encode: Callable[[Outcome], Message]) -> Once | None:
    """None if the caller does not name the request. Raises ``ApiError`` for a name out of range."""
    problems = Violations()
    request_id = read_request_id(getattr(request, "request_id", ""), problems)
    problems.check()
    if not request_id:
        return None

    return Once(
        caller.key,
        request_id,
        digest_of(request),
        lambda outcome: encode(outcome).SerializeToString(),
    )


def digest_of(request: Message) -> bytes:
    """SHA-256 of what the request says, but for its name."""
    content = type(request)()
    content.CopyFrom(request)
    content.ClearField("request_id")
    kind = request.DESCRIPTOR.full_name.encode()
    return hashlib.sha256(kind + b"\0" + content.SerializeToString(deterministic=True)).digest()
