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


def admitted(version: int = V13, **changes: Any) -> Grant:
    """Behind an admission table: its tables are 1 to 3 of the switch, nothing is guarded."""
    return tagged(version, **{"guarded": False, "n_tables": 3, "first_table": 1} | changes)


def sharing(version: int = V13, **changes: Any) -> Grant:
    """The same where a VLAN may be shared; its slot is 5."""
    return admitted(version, slot=5, **changes)


PRESENTATIONS = {"tagged": tagged, "transparent": transparent, "native": native}
