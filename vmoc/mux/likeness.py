"""Whether what a switch shows of an entry, a group or a meter is what was written to it.

A switch may put it its own way: instructions and action sets in another order,
without the parts that mean nothing where they are. What differs in no more
than that is alike, and need not be written anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmoc.errors import Refused
from vmoc.openflow import v10, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import group as g13

_BURST: Final = 1 << 2
"""The meter flag without which a band's burst size means nothing (1.3: 7.3.4.4)."""


def actions_alike(version: int, shown: bytes, wanted: bytes) -> bool:
    """Two bodies of an entry: actions of 1.0, instructions of 1.3."""
    if shown == wanted:
        return True
    try:
        return _meaning(version, shown) == _meaning(version, wanted)
    except Refused:
        return False


def group_alike(shown: bytes, kind: int, buckets: list[g13.Bucket]) -> bool:
    """A GROUP_DESC record, and a group of ``kind`` and ``buckets``: weights and watched ports count where they work."""
    try:
        found = g13.parse_buckets(shown, 8, len(shown))
    except Refused:
        return False
    if shown[2] != kind or len(found) != len(buckets):
        return False
    for one, other in zip(found, buckets, strict=True):
        if _action_set(one.actions) != _action_set(other.actions):
            return False
        if kind == g13.TYPE_SELECT and one.weight != other.weight:
            return False
        if kind == g13.TYPE_FAST_FAILOVER and one[1:3] != other[1:3]:
            return False
    return True


def meter_alike(shown: bytes, content: bytes) -> bool:
    """A METER_CONFIG record, and flags and bands as METER_MOD has them."""
    found = shown[2:4] + shown[8:]
    return found == content or _limits(found) == _limits(content)


def _meaning(version: int, body: bytes) -> object:
    if version == OF10:
        return [_plain(action, v10.CONTROLLER) for action in a10.parse(body, 0, len(body))]
    found: dict[int, object] = {}
    for kind, *arguments in a13.parse_instructions(body, 0, len(body)):
        if kind == v13.APPLY_ACTIONS:
            meant: object = [_plain(action, v13.CONTROLLER) for action in arguments[0]]
        elif kind == v13.WRITE_ACTIONS:
            meant = _action_set(arguments[0])
        elif kind == v13.WRITE_METADATA:
            meant = arguments[0] & arguments[1], arguments[1]
        else:
            meant = arguments or None
        if meant or kind == v13.CLEAR_ACTIONS:  # an empty list does nothing
            found[kind] = meant
    return found


def _plain(action: tuple[object, ...], controller: int) -> tuple[object, ...]:
    """An OUTPUT without its length, which only says how much of a packet a controller gets."""
    return action[:2] if action[0] == a13.OUTPUT and action[1] != controller else action


def _action_set(actions: Iterable[a13.Action]) -> dict[object, object]:
    """By kind, SET_FIELD by its field too: the last one counts, their order does not (1.3: 5.10)."""
    plain = (_plain(action, v13.CONTROLLER) for action in actions)
    return {action[:2] if action[0] == a13.SET_FIELD else action[0]: action for action in plain}


def _limits(content: bytes) -> tuple[int, list[bytes]]:
    flags = int.from_bytes(content[:2], "big")
    bands = [content[at : at + 16] for at in range(2, len(content), 16)]
    if not flags & _BURST:
        bands = [band[:8] + bytes(4) + band[12:] for band in bands]
    return flags, bands
