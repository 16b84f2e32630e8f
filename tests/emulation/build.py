"""Messages of a controller."""

from __future__ import annotations

import struct

from tests.emulation.actions import apply_actions
from tests.emulation.layout import COMMANDS, NO_BUFFER, STATS, V10, message, port_number
from tests.emulation.match import match


def flow_mod(
    version: int,
    command: str | int = "add",
    match_: bytes | None = None,
    actions: bytes = b"",
    *,
    xid: int = 0,
    cookie: int = 0x11,
    cookie_mask: int = 0,
    table: int = 0,
    priority: int = 100,
    idle: int = 0,
    hard: int = 0,
    buffer_id: int = NO_BUFFER,
    out_port: int | str = "none",
    out_group: int = 0xFFFFFFFF,
    flags: int = 0,
    instructions: bytes | None = None,
) -> bytes:
    """FLOW_MOD; in 1.3 ``actions`` become one APPLY_ACTIONS unless ``instructions`` is given."""
    number = COMMANDS[command] if isinstance(command, str) else command
    match_ = match(version) if match_ is None else match_
    out = port_number(version, out_port)
    if version == V10:
        rest = struct.pack("!QHHHHIHH", cookie, number, idle, hard, priority, buffer_id, out, flags)
        return message(version, "flow_mod", match_ + rest + actions, xid)
    head = struct.pack("!QQBBHHHIIIH2x", cookie, cookie_mask, table, number, idle, hard, priority, buffer_id, out,
                       out_group, flags)  # fmt: skip
    if instructions is None:
        instructions = apply_actions(actions) if actions else b""
    return message(version, "flow_mod", head + match_ + instructions, xid)


def packet_out(
    version: int,
    data: bytes,
    actions: bytes,
    *,
    in_port: int | str | None = None,
    buffer_id: int = NO_BUFFER,
    xid: int = 0,
) -> bytes:
    """PACKET_OUT; without ``in_port`` it is NONE in 1.0 and CONTROLLER in 1.3."""
    port = port_number(version, in_port if in_port is not None else "none" if version == V10 else "controller")
    if version == V10:
        head = struct.pack("!IHH", buffer_id, port, len(actions))
    else:
        head = struct.pack("!IIH6x", buffer_id, port, len(actions))
    return message(version, "packet_out", head + actions + data, xid)


def stats_request(version: int, kind: str | int, body: bytes = b"", *, flags: int = 0, xid: int = 0) -> bytes:
    """STATS_REQUEST or MULTIPART_REQUEST."""
    number = STATS[version][kind] if isinstance(kind, str) else kind
    head = struct.pack("!HH", number, flags) if version == V10 else struct.pack("!HH4x", number, flags)
    return message(version, "stats_request", head + body, xid)


def flow_stats_body(
    version: int, match_: bytes | None = None, *, table: int = 0xFF, out_port: int | str = "none",
    out_group: int = 0xFFFFFFFF, cookie: int = 0, cookie_mask: int = 0,
) -> bytes:  # fmt: skip
    """The body of a FLOW or AGGREGATE request."""
    match_ = match(version) if match_ is None else match_
    out = port_number(version, out_port)
    if version == V10:
        return match_ + struct.pack("!BxH", table, out)
    return struct.pack("!B3xII4xQQ", table, out, out_group, cookie, cookie_mask) + match_


def port_stats_body(version: int, port: int | str = "none") -> bytes:
    """The body of a PORT request."""
    return struct.pack("!H6x" if version == V10 else "!I4x", port_number(version, port))
