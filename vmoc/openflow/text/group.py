"""Group-mods and meter-mods in ``ovs-ofctl`` syntax: ``group_id=1,type=all,bucket=output:1,bucket=output:2``."""

from __future__ import annotations

import re
from struct import error as StructError
from typing import Final

from vmoc.openflow import v13
from vmoc.openflow.text.actions import format_actions13, parse_actions13
from vmoc.openflow.text.values import TextError, number, port, port_text, split
from vmoc.openflow.v13 import group as g13

COMMANDS: Final = {"add": 0, "modify": 1, "delete": 2}
TYPES: Final = {"all": 0, "select": 1, "indirect": 2, "ff": 3, "fast_failover": 3}
_METER_FLAGS: Final = {"kbps": 1, "pktps": 2, "burst": 4, "stats": 8}
_METERS: Final = {"controller": g13.METER_CONTROLLER, "slowpath": g13.METER_SLOWPATH, "all": g13.METER_ALL}
_BAND_TYPES: Final = {"drop": g13.BAND_DROP, "dscp_remark": g13.BAND_DSCP_REMARK}
_BAND_KEYS: Final = {"rate": 32, "burst_size": 32, "prec_level": 8}
_BUCKETS: Final = re.compile(r"(?:^|[\s,])buckets?=")
_BANDS: Final = re.compile(r"(?:^|[\s,])bands?=")


def parse_group(text: str, xid: int = 0) -> bytes:
    """A GROUP_MOD (1.3) from ``[add|modify|delete] group_id=N,type=T[,bucket=..]..``.

    In front of a bucket's actions may stand ``weight:N`` (1 in a select group),
    ``watch_port:P`` and ``watch_group:N``.
    ``delete`` without an id, or with ``group_id=all``, means every group. Raises ``TextError``.
    """
    command, text = _command(text)
    head, *buckets = _BUCKETS.split(text)
    keys: dict[str, str] = {}
    for word in split(head):
        name, equals, value = word.partition("=")
        if name.lower() not in ("group_id", "type") or not equals:
            raise TextError(f"{word!r}: a group has group_id=, type= and bucket=")
        keys[name.lower()] = value
    wanted = keys.get("group_id", "all" if command == COMMANDS["delete"] else "")
    if not wanted:
        raise TextError("group_id= is missing")
    group = g13.GROUP_ALL if wanted.lower() == "all" else number(wanted, 32, "group_id")
    kind_text = keys.get("type", "all" if command == COMMANDS["delete"] else "")
    if kind_text.lower() not in TYPES:
        raise TextError(f"type={kind_text}: write type= and one of {', '.join(TYPES)}")
    try:
        kind = TYPES[kind_text.lower()]
        body = g13.pack_buckets([_bucket(each, _weight(kind)) for each in buckets])
        return g13.group_mod(xid, command, kind, group, body)
    except (StructError, ValueError):
        raise TextError("bucket: so many do not fit one OpenFlow message") from None


def _command(text: str) -> tuple[int, str]:
    text = text.strip()
    first, _, rest = text.partition(" ")
    return (COMMANDS[first.lower()], rest) if first.lower() in COMMANDS else (0, text)


def _weight(kind: int) -> int:
    """What a bucket weighs that does not say: nothing would ever select it at 0."""
    return 1 if kind == g13.TYPE_SELECT else 0


def _bucket(text: str, weight: int) -> g13.Bucket:
    watch_port, watch_group = v13.ANY, v13.ANY_GROUP
    actions: list[str] = []
    for word in split(text):
        name, _, value = word.replace("=", ":", 1).partition(":")
        if name == "weight":
            weight = number(value, 16, name)
        elif name == "watch_port":
            watch_port = port(value, 4, name)
        elif name == "watch_group":
            watch_group = v13.ANY_GROUP if value.lower() == "any" else number(value, 32, name)
        elif name in ("action", "actions"):
            actions.append(value)
        else:
            actions.append(word)
    return g13.Bucket(weight, watch_port, watch_group, parse_actions13(",".join(actions)))


def parse_meter(text: str, xid: int = 0) -> bytes:
    """A METER_MOD (1.3) from ``[add|modify|delete] meter=N,kbps|pktps[,burst][,stats][,band=type=drop,rate=N]..``.

    ``delete`` without an id, or with ``meter=all``, means every meter. Raises ``TextError``.
    """
    command, text = _command(text)
    head, *bands_texts = _BANDS.split(text)
    wanted = "all" if command == COMMANDS["delete"] else ""
    flags = 0
    for word in split(head):
        name, equals, value = word.partition("=")
        if name.lower() == "meter" and equals:
            wanted = value
        elif word.lower() in _METER_FLAGS:
            flags |= _METER_FLAGS[word.lower()]
        else:
            raise TextError(f"{word!r}: a meter has meter=, band= and {', '.join(_METER_FLAGS)}")
    if not wanted:
        raise TextError("meter= is missing")
    meter = _METERS[wanted.lower()] if wanted.lower() in _METERS else number(wanted, 32, "meter")
    bands = [band for each in bands_texts for band in _bands(each)]
    try:
        return g13.meter_mod(xid, command, flags, meter, bands)
    except ValueError:
        raise TextError("band: so many do not fit one OpenFlow message") from None


def _bands(text: str) -> list[g13.Band]:
    """The bands of one ``band=``; a further ``type=`` begins a further band."""
    bands: list[g13.Band] = []
    for word in split(text):
        name, _, value = word.partition("=")
        if name == "type":
            if value not in _BAND_TYPES:
                raise TextError(f"{word}: a band's type is one of {', '.join(_BAND_TYPES)}")
            bands.append(g13.Band(_BAND_TYPES[value], 0, 0, 0))
        elif name not in _BAND_KEYS or not bands:
            raise TextError(f"{word!r}: a band has type= first, then {', '.join(key + '=' for key in _BAND_KEYS)}")
        else:
            field = {"burst_size": "burst", "prec_level": "extra"}.get(name, name)
            bands[-1] = bands[-1]._replace(**{field: number(value, _BAND_KEYS[name], name)})
    return bands


def format_group(data: bytes) -> str:
    """A well-formed GROUP_MOD as one line."""
    mod = g13.parse_group_mod(data)
    name = _name(COMMANDS, mod.command)
    group = "all" if mod.group == g13.GROUP_ALL else str(mod.group)
    words = [f"group_id={group}"]
    if mod.command != COMMANDS["delete"]:
        words.append(f"type={_name(TYPES, mod.kind)}")
    for bucket in mod.buckets:
        parts = [f"weight:{bucket.weight}"] if bucket.weight != _weight(mod.kind) else []
        if bucket.watch_port != v13.ANY:
            parts.append(f"watch_port:{port_text(bucket.watch_port, 4)}")
        if bucket.watch_group != v13.ANY_GROUP:
            parts.append(f"watch_group:{bucket.watch_group}")
        parts.append(f"actions={format_actions13(bucket.actions) or 'drop'}")
        words.append("bucket=" + ",".join(parts))
    return f"{name} " + ",".join(words)


def format_meter(data: bytes) -> str:
    """A well-formed METER_MOD as one line."""
    mod = g13.parse_meter_mod(data)
    meter = next((name for name, each in _METERS.items() if each == mod.meter), str(mod.meter))
    words = [f"meter={meter}"] + [name for name, bit in _METER_FLAGS.items() if mod.flags & bit]
    for band in mod.bands:
        level = f",prec_level={band.extra}" if band.kind == g13.BAND_DSCP_REMARK else ""
        size = f",burst_size={band.burst}" if band.burst else ""
        words.append(f"band=type={_name(_BAND_TYPES, band.kind)},rate={band.rate}{size}{level}")
    return f"{_name(COMMANDS, mod.command)} " + ",".join(words)


def _name(names: dict[str, int], value: int) -> str:
    return next((name for name, each in names.items() if each == value), str(value))
