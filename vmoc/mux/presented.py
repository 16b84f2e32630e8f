"""Who shows which DPID to which controller. One link does; others that would wait (vetting A.2)."""

from __future__ import annotations

from vmoc.model import Endpoint
from vmoc.mux.link import Link

Key = tuple[Endpoint, int]


class Presented:
    """Claims on (controller, presented DPID). Every operation is O(1)."""

    __slots__ = ("_holders", "_waiting")

    def __init__(self) -> None:
        self._holders: dict[Key, Link] = {}
        self._waiting: dict[Key, dict[int, Link]] = {}

    def claim(self, link: Link) -> Link | None:
        """None when ``link`` may show its DPID; else the link that does, and ``link`` waits for it."""
        key = link.endpoint, link.datapath.dpid
        holder = self._holders.setdefault(key, link)
        if holder is link:
            return None
        self._waiting.setdefault(key, {})[link.number] = link
        return holder

    def release(self, link: Link) -> Link | None:
        """``link`` shows nothing any more; returns the one whose turn it is, now the holder."""
        key = link.endpoint, link.datapath.dpid
        waiting = self._waiting.get(key, {})
        waiting.pop(link.number, None)
        successor = None
        if self._holders.get(key) is link:
            del self._holders[key]
            if waiting:
                successor = waiting.pop(next(iter(waiting)))
                self._holders[key] = successor
        if not waiting:
            self._waiting.pop(key, None)
        return successor
