"""Which host gets a sliver that names none: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from am_bridge.handlers.handler import Host
from am_bridge.handlers.operations import Sliver


def choose_host(hosts: Mapping[str, Host], slivers: Iterable[Sliver]) -> str:
    """The one with the fewest slivers; of those, the first."""
    first = next(iter(hosts))
    count = Counter(one.spec.host or first for one in slivers)
    return min(hosts, key=lambda name: count[name])
