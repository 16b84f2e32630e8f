"""The grants these tests use, one per way a slice may see its frames."""

from __future__ import annotations

from typing import Any

from vmoc.policy.grant import Grant

V10, V13 = 1, 4
VERSIONS = (V10, V13)
LOCAL = {V10: 0xFFFE, V13: 0xFFFFFFFE}


def tagged(version: int, **changes: Any) -> Grant:
    """VLAN 100 on ports 1, 2, 3; queue 7 on port 2."""
    fields: dict[str, Any] = {
        "version": version,
        "vlan": 100,
        "ports": frozenset((1, 2, 3)),
        "guarded": True,
        "n_tables": 1 if version == V10 else 4,
        "queues": {2: frozenset((7,))},
    }
    return Grant(**fields | changes)


def transparent(version: int, **changes: Any) -> Grant:
    """The same, seen untagged."""
    return tagged(version, hides_tag=True, **changes)


def native(version: int, **changes: Any) -> Grant:
    """The same on a per-VLAN listener: the wire is untagged too."""
    return tagged(version, hides_tag=True, native=True, **changes)


PRESENTATIONS = {"tagged": tagged, "transparent": transparent, "native": native}
