"""Asking the loop from other threads: in small pieces, each within a deadline; and what can come of it.

No call is for the loop's own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from time import monotonic
from typing import Final, Generic, TypeVar

from vmoc.errors import VmocError
from vmoc.model import format_dpid
from vmoc.mux.core import Mux
from vmoc.mux.view import Key
from vmoc.net.edge import Edge

TIMEOUT: Final = 5.0
PIECE: Final = 16
"""Virtual datapaths, switches or connections of one visit to the loop: well below a millisecond."""
MOST: Final = 10_000
T = TypeVar("T")


class RackTimeoutError(VmocError):
    """The loop, or a switch, did not answer in time."""


class NotKnownError(VmocError):
    """There is no such switch or slice."""


class SwitchAwayError(VmocError):
    """The switch cannot be asked."""


class BusyError(VmocError):
    """The switch has been asked too often; ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class PageTokenError(VmocError, ValueError):
    """A page token is not one of ours."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; ``next`` is the token of the following part, empty at the end."""

    items: tuple[T, ...]
    next: str = ""


class Loop:
    """The loop's thread, as others ask it. Deadlines are on the monotonic clock."""

    def __init__(self, edge: Edge, core: Mux) -> None:
        self.edge = edge
        self.core = core

    def ask(self, what: Callable[[], T], deadline: float) -> T:
        """What ``what`` returns, called there. Raises ``RackTimeoutError``."""
        return result(self.edge.ask(what), deadline, "VMOC is too busy to answer; try again")

    def key(self, dpid: int, native_vlan: int | None, deadline: float) -> Key:
        """A switch by its DPID; without ``native_vlan`` the first that has it. Raises ``NotKnownError``."""
        if native_vlan is not None:
            return dpid, native_vlan
        keys = self.ask(self.core.view.switch_keys, deadline)
        found = [key for key in keys if key[0] == dpid]
        if not found:
            raise NotKnownError(no_switch(dpid))
        return found[0]


def result(future: Future[T], deadline: float, text: str) -> T:
    """The future's, or ``RackTimeoutError`` with ``text``."""
    try:
        return future.result(max(0.0, deadline - monotonic()))
    except (TimeoutError, FutureTimeout):
        future.cancel()
        raise RackTimeoutError(text) from None


def sane(size: int) -> int:
    """A page size within bounds."""
    return min(max(size, 1), MOST)


def no_switch(dpid: int) -> str:
    """What is said of one that is not known."""
    return f"there is no switch {format_dpid(dpid)}; it has never been connected since VMOC started"


def bad_token() -> PageTokenError:
    """To raise."""
    return PageTokenError("the page token is not one of VMOC's; leave it out to begin anew")
