"""What a modify has to do: the difference between two specifications of a sliver."""

from __future__ import annotations

from typing import Any, Final

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import SliverSpec

_KEYED: Final = {"interfaces": "name", "components": "name", "users": "name", "published_ports": "port"}
_FIXED: Final = ("slice_id", "sliver_id", "resource_type", "model", "host")

Difference = dict[str, dict[str, Any]]
"""Per changed field: ``{old, new}``, or ``{added, removed, changed: [{old, new}]}`` for lists of named things."""


def find_difference(old: SliverSpec, new: SliverSpec) -> Difference:
    """What changed, by field; empty when nothing did."""
    before, after = encode(old), encode(new)
    difference: Difference = {}
    for name, now in after.items():
        if before[name] == now:
            continue
        key = _KEYED.get(name)
        difference[name] = _named(before[name], now, key) if key else {"old": before[name], "new": now}
    return difference


def find_immutable(difference: Difference) -> list[str]:
    """Fields in the difference that no modify can change: another sliver is needed."""
    return [name for name in _FIXED if name in difference]


def _named(old: list[dict[str, Any]], new: list[dict[str, Any]], key: str) -> dict[str, Any]:
    was = {one[key]: one for one in old}
    now = {one[key]: one for one in new}
    return {
        "added": [one for name, one in now.items() if name not in was],
        "removed": [one for name, one in was.items() if name not in now],
        "changed": [{"old": was[name], "new": one} for name, one in now.items() if name in was and was[name] != one],
    }
