"""Pages of lists: opaque tokens that are good for one query of this server only, and name where to go on.

A token holds the key of the last entry that was given, not a position, so that nothing is skipped or repeated for
what comes and goes between two pages.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from google.protobuf.message import Message

from am_bridge.reasons import PAGE_TOKEN_INVALID
from am_bridge.violations import violation

T = TypeVar("T")
_TAG: Final = 16
_MOST_TOKEN: Final = 4096


class PageTokens:
    """Makes tokens and reads them again; with the same ``secret`` also after a restart."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def make(self, request: Message, last: str) -> str:
        """The token that continues ``request`` after the entry with key ``last``."""
        key = last.encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(self._tag(request, key) + key).decode().rstrip("=")

    def read(self, request: Message, token: str) -> str | None:
        """The key to continue after, None for the first page; ``ApiError`` if the token is not for ``request``."""
        if not token:
            return None
        raw = b""
        if len(token) <= _MOST_TOKEN:
            with suppress(ValueError):
                raw = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        tag, key = raw[:_TAG], raw[_TAG:]
        if not hmac.compare_digest(tag, self._tag(request, key)):
            raise violation("page_token", PAGE_TOKEN_INVALID.summary, PAGE_TOKEN_INVALID)
        return key.decode("utf-8", "surrogatepass")

    def _tag(self, request: Message, key: bytes) -> bytes:
        query = type(request)()
        query.CopyFrom(request)
        query.ClearField("page_size")
        query.ClearField("page_token")
        asked = request.DESCRIPTOR.full_name.encode() + b"\0" + query.SerializeToString(deterministic=True)
        return hmac.digest(self._secret, hashlib.sha256(asked).digest() + key, "sha256")[:_TAG]


def page_size(asked: int, default: int, most: int) -> int:
    """How many entries to give: 0 is the default, more than ``most`` is ``most``, less than 0 an ``ApiError``."""
    if asked < 0:
        raise violation("page_size", f"must be 0 or more, not {asked}")
    return min(asked or default, most)


def cut_page(
    items: Sequence[T], key: Callable[[T], str], after: str | None, size: int
) -> tuple[Sequence[T], str | None]:
    """``size`` entries after the key ``after``, and the last one's key if more follow. ``items`` are sorted by key."""
    start = 0 if after is None else bisect_right(items, after, key=key)
    page = items[start : start + size]
    return page, key(page[-1]) if page and start + size < len(items) else None
