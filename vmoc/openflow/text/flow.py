"""Whole flow-mods and packet-outs in ``ovs-ofctl`` syntax."""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import header, v10, v13
from vmoc.openflow.header import NO_BUFFER
from vmoc.openflow.text import actions as text_actions
from vmoc.openflow.text import match as text_match
from vmoc.openflow.text.values import TextError, number, port, port_text, split
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm

COMMANDS: Final = {"add": 0, "modify": 1, "modify_strict": 2, "delete": 3, "delete_strict": 4}
_FLAGS10: Final = {"send_flow_rem": 1, "check_overlap": 2}
_FLAGS13: Final = {
    "send_flow_rem": 1,
    "check_overlap": 2,
    "reset_counts": 4,
    "no_packet_counts": 8,
    "no_byte_counts": 16,
}
_OUT10: Final = Struct("!IHH")
_OUT13: Final = Struct("!IIH6x")


_KEYS: Final = frozenset(("table", "priority", "cookie", "idle_timeout", "hard_timeout", "out_port", "out_group"))
_ONLY13: Final = frozenset(("table", "out_group"))
# Of dump-flows: what a flow did, not what it is.
_COUNTED: Final = frozenset(("duration", "n_packets", "n_bytes", "idle_age", "hard_age"))
_ACTIONS: Final = re.compile(r"(?:^|[\s,])actions?=")


def parse_flow(text: str, version: int, xid: int = 0) -> bytes:
    """A FLOW_MOD from ``[add|modify|delete..] [key=value|field=value],..,actions=..``.

    Keys beside match fields: table, priority, cookie[/mask], idle_timeout,
    hard_timeout, out_port, out_group, and the flags send_flow_rem,
    check_overlap, reset_counts, no_packet_counts, no_byte_counts. Words are
    separated by commas or blanks. A line of ``dump-flows`` may be given as it
    is: its counters are skipped. Raises ``TextError``.
    """
    command, head, actions_text = _parts(text)
    keys, flags, words = _keys(head, version)
    if actions_text is None and command < v10.DELETE:
        raise TextError("actions= is missing; write actions=drop for a flow that drops")
    cookie_text, slash, mask_text = keys.get("cookie", "0").partition("/")
    cookie = number(cookie_text, 64, "cookie")
    mask = (number(mask_text, 64, "cookie mask") if mask_text != "-1" else (1 << 64) - 1) if slash else 0
    if slash and version == 1:
        raise TextError(f"cookie={keys['cookie']}: OpenFlow 1.0 has no mask for it")
    idle, hard = (number(keys.get(name, "0"), 16, name) for name in ("idle_timeout", "hard_timeout"))
    priority = number(keys.get("priority", "32768"), 16, "priority")
    out_port = port(keys.get("out_port", "ANY"), version, "out_port")
    if version == 1:
        body = a10.pack(text_actions.parse10(actions_text or ""))
        return _whole(
            lambda: f10.flow_mod(
                xid,
                text_match.parse10(words),
                command,
                cookie=cookie,
                idle=idle,
                hard=hard,
                priority=priority,
                out_port=out_port,
                flags=flags,
                actions=body,
            )
        )
    every = command >= v10.DELETE
    table = number(keys.get("table", "255" if every else "0"), 8, "table")
    instructions = text_actions.parse13(actions_text or "")
    return _whole(
        lambda: f13.flow_mod(
            xid,
            oxm.pack(text_match.parse13(words)),
            command,
            table=table,
            cookie=cookie,
            cookie_mask=mask,
            idle=idle,
            hard=hard,
            priority=priority,
            out_port=out_port,
            out_group=number(keys.get("out_group", "0xffffffff"), 32, "out_group"),
            flags=flags,
            instructions=a13.pack_instructions(instructions),
        )
    )


def _whole(build: Callable[[], bytes]) -> bytes:
    """What ``build`` packs; a length that does not fit its 16 bits is the text's fault."""
    try:
        return build()
    except (StructError, ValueError):
        raise TextError("actions: so many do not fit one OpenFlow message") from None


def _parts(text: str) -> tuple[int, str, str | None]:
    """Command, everything before ``actions=``, and the actions, if there are any."""
    text = text.strip()
    first, *rest = text.split(None, 1)[:2] or [""]
    command = COMMANDS.get(first.lower())
    if command is not None:
        text = rest[0] if rest else ""
    return command or 0, *cut_actions(text)


def _keys(head: str, version: int) -> tuple[dict[str, str], int, list[str]]:
    """What is no match field: keys and flags; and the words of the match."""
    words: list[str] = []
    keys: dict[str, str] = {}
    flags = 0
    known_flags = _FLAGS10 if version == 1 else _FLAGS13
    for word in split(head):
        name, equals, value = word.partition("=")
        name = name.lower()
        if not equals and name in known_flags:
            flags |= known_flags[name]
        elif not equals and name in _FLAGS13:
            raise TextError(f"{name}: not a flag of OpenFlow 1.0")
        elif version == 1 and name in _ONLY13 and equals and (name, value) != ("table", "0"):
            raise TextError(f"{name}: OpenFlow 1.0 has none; leave it out, or judge the flow as OpenFlow 1.3")
        elif name in _KEYS and equals:
            if keys.setdefault(name, value) != value:
                raise TextError(f"{name}: said twice, and differently")
        elif not (name in _COUNTED and equals):
            words.append(word)
    return keys, flags, words


def cut_actions(text: str) -> tuple[str, str | None]:
    """The text before ``actions=`` and the one behind it, None when there is no such word."""
    found = _ACTIONS.search(text)
    return (text, None) if found is None else (text[: found.start()], text[found.end() :])


def parse_packet_out(text: str, version: int, xid: int = 0) -> bytes:
    """A PACKET_OUT from ``in_port=P,packet=HEX,actions=..``, the first two optional. Raises ``TextError``."""
    head, actions_text = cut_actions(text.strip())
    if actions_text is None:
        raise TextError("actions= is missing; write actions=drop for a packet that goes nowhere")
    in_port, frame = "CONTROLLER", b""
    for word in split(head):
        name, _, value = word.partition("=")
        if name.lower() == "in_port":
            in_port = value
        elif name.lower() == "packet":
            try:
                frame = bytes.fromhex(value)
            except ValueError:
                raise TextError(f"packet: {value[:16]!r}... is not hexadecimal") from None
        else:
            raise TextError(f"{word!r}: a packet-out has in_port=, packet= and actions=")
    where = port(in_port, version, "in_port")
    if version == 1:
        actions, fixed = a10.pack(text_actions.parse10(actions_text)), _OUT10
    else:
        actions, fixed = a13.pack(text_actions.parse_actions13(actions_text)), _OUT13
    return _whole(
        lambda: header.message(
            version, header.PACKET_OUT, xid, fixed.pack(NO_BUFFER, where, len(actions)) + actions + frame
        )
    )


def format_flow(data: bytes) -> str:
    """A FLOW_MOD as one line; ``Refused`` when it is not well formed."""
    return _format10(data) if data[0] == 1 else _format13(data)


def _format10(data: bytes) -> str:
    mod = f10.parse_flow_mod(data)
    words = _common(mod.command, mod.cookie, 0, mod.priority, mod.idle_timeout, mod.hard_timeout)
    words += [name for name, bit in _FLAGS10.items() if mod.flags & bit]
    if mod.out_port != v10.NONE:
        words.append(f"out_port={port_text(mod.out_port, 1)}")
    words += text_match.format10(mod.match.to_bytes(m10.LENGTH, "big"))
    return _line(mod.command, words, text_actions.format10(mod.actions))


def _format13(data: bytes) -> str:
    mod = f13.parse_flow_mod(data)
    words = [f"table={mod.table}"]
    words += _common(mod.command, mod.cookie, mod.cookie_mask, mod.priority, mod.idle_timeout, mod.hard_timeout)
    words += [name for name, bit in _FLAGS13.items() if mod.flags & bit]
    if mod.out_port != v13.ANY:
        words.append(f"out_port={port_text(mod.out_port, 4)}")
    if mod.out_group != v13.ANY_GROUP:
        words.append(f"out_group={mod.out_group}")
    words += text_match.format13(mod.match)
    return _line(mod.command, words, text_actions.format13(mod.instructions))


def _common(command: int, cookie: int, mask: int, priority: int, idle: int, hard: int) -> list[str]:
    words = []
    if cookie or mask:
        words.append(f"cookie={cookie:#x}" + (f"/{mask:#x}" if mask else ""))
    if priority != 0x8000 or command in (v10.MODIFY_STRICT, v10.DELETE_STRICT):
        words.append(f"priority={priority}")
    if idle:
        words.append(f"idle_timeout={idle}")
    if hard:
        words.append(f"hard_timeout={hard}")
    return words


def _line(command: int, words: list[str], actions: str) -> str:
    name = next((name for name, each in COMMANDS.items() if each == command), f"command_{command}")
    tail = [] if command in (v10.DELETE, v10.DELETE_STRICT) and actions == "drop" else [f"actions={actions}"]
    return f"{name} " + ",".join(words + tail)


def format_packet_out(data: bytes) -> str:
    """A PACKET_OUT as one line, with the frame in hexadecimal.

    Raises ``Refused``: ``BAD_LENGTH`` when the message is shorter than its actions, and what their ``parse`` raises.
    """
    fixed, start = (_OUT10, 16) if data[0] == 1 else (_OUT13, 24)
    if len(data) < start:
        raise Refused(errors.BAD_LENGTH, f"PACKET_OUT of {len(data)} bytes")
    _, in_port, length = fixed.unpack_from(data, 8)
    at = start + length
    if at > len(data):
        raise Refused(errors.BAD_LENGTH, f"actions_len {length} is more than the message holds")
    if data[0] == 1:
        actions = text_actions.format10(a10.parse(data, start, at))
    else:
        actions = text_actions.format_actions13(a13.parse(data, start, at)) or "drop"
    return f"in_port={port_text(in_port, data[0])},packet={data[at:].hex()},actions={actions}"
