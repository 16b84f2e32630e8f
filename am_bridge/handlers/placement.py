"""Which host gets a sliver, and whether there is room for it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from am_bridge.handlers.handler import Host
from am_bridge.handlers.operations import Sliver
from am_bridge.handlers.spec import SliverSpec

RESOURCES: Final = ("slivers", "vcpus", "memory_mib", "disk_gib")
"""What hosts have some of; ``Host.capacity`` may limit each."""


class NoRoomError(Exception):
    """No host has room for it."""


def needs(spec: SliverSpec) -> dict[str, int]:
    """What a sliver takes of each of ``RESOURCES``."""
    return {"slivers": 1, "vcpus": spec.vcpus, "memory_mib": spec.memory_mib, "disk_gib": spec.disk_gib}


def grows(old: SliverSpec, new: SliverSpec) -> bool:
    """Whether it takes more of something than before."""
    before = needs(old)
    return any(amount > before[name] for name, amount in needs(new).items())


def used(slivers: Iterable[Sliver]) -> dict[str, int]:
    """What they take together."""
    total = dict.fromkeys(RESOURCES, 0)
    for one in slivers:
        for name, amount in needs(one.spec).items():
            total[name] += amount
    return total


def check_room(host: Host, spec: SliverSpec, slivers: Iterable[Sliver]) -> None:
    """Whether the host has room for it beside its ``slivers``; another version of it is replaced. ``NoRoomError``."""
    have = used(one for one in slivers if one.key != spec.key)
    for name, amount in needs(spec).items():
        most = host.capacity.get(name)
        if most is not None and have[name] + amount > most:
            raise NoRoomError(f"host {host.name} has {name} for {most}, of which {have[name]} are in use")


def choose_host(hosts: Mapping[str, Host], spec: SliverSpec, slivers: Iterable[Sliver]) -> str:
    """Of the hosts with room the one with the fewest slivers; of those, the first. Raises ``NoRoomError``."""
    first = next(iter(hosts))
    there: dict[str, list[Sliver]] = {name: [] for name in hosts}
    for one in slivers:
        there.setdefault(one.spec.host or first, []).append(one)
    reasons = []
    for name in sorted(hosts, key=lambda name: len(there[name])):  # stable: the first of equals
        try:
            check_room(hosts[name], spec, there[name])
        except NoRoomError as error:
            reasons.append(str(error))
        else:
            return name
    more = f" (and {len(reasons) - 1} other hosts)" if len(reasons) > 1 else ""
    raise NoRoomError(reasons[0] + more)
