"""Actions and instructions in ``ovs-ofctl`` syntax: ``mod_dl_dst:02:..,output:2``, ``goto_table:1``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from vmoc.openflow import v10, v13
from vmoc.openflow.text.match import ALIASES13, NUMBERS13, WRITTEN13
from vmoc.openflow.text.values import (
    PORT_NAMES,
    TextError,
    address,
    ipv4,
    mac,
    mac_text,
    number,
    port,
    port_text,
    split,
    value_text,
)
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm

_NUMBERS10: Final = {
    "mod_vlan_vid": (a10.SET_VLAN_VID, 16),
    "mod_vlan_pcp": (a10.SET_VLAN_PCP, 8),
    "mod_nw_tos": (a10.SET_NW_TOS, 8),
    "mod_tp_src": (a10.SET_TP_SRC, 16),
    "mod_tp_dst": (a10.SET_TP_DST, 16),
}
_BARE13: Final = {
    "pop_vlan": a13.POP_VLAN,
    "strip_vlan": a13.POP_VLAN,
    "dec_ttl": a13.DEC_NW_TTL,
    "dec_mpls_ttl": a13.DEC_MPLS_TTL,
    "copy_ttl_in": a13.COPY_TTL_IN,
    "copy_ttl_out": a13.COPY_TTL_OUT,
    "pop_pbb": a13.POP_PBB,
}
_NUMBERS13: Final = {
    "push_vlan": (a13.PUSH_VLAN, 16),
    "push_mpls": (a13.PUSH_MPLS, 16),
    "pop_mpls": (a13.POP_MPLS, 16),
    "push_pbb": (a13.PUSH_PBB, 16),
    "set_queue": (a13.SET_QUEUE, 32),
    "group": (a13.GROUP, 32),
    "mod_nw_ttl": (a13.SET_NW_TTL, 8),
    "set_mpls_ttl": (a13.SET_MPLS_TTL, 8),
}
_SET_FIELDS13: Final = {
    "mod_dl_src": "eth_src",
    "mod_dl_dst": "eth_dst",
    "mod_nw_src": "ipv4_src",
    "mod_nw_dst": "ipv4_dst",
    "mod_vlan_pcp": "vlan_pcp",
    "mod_nw_ecn": "ip_ecn",
}
_ALIASES_SET13: Final = ALIASES13 | {
    "nw_src": "ipv4_src",
    "nw_dst": "ipv4_dst",
    "nw_proto": "ip_proto",
    "icmp_type": "icmpv4_type",
    "icmp_code": "icmpv4_code",
}
_ORDER13: Final = (
    v13.METER,
    v13.APPLY_ACTIONS,
    v13.CLEAR_ACTIONS,
    v13.WRITE_ACTIONS,
    v13.WRITE_METADATA,
    v13.GOTO_TABLE,
)
"""As a switch executes them, whatever the order in the message (7.2.4)."""


def _output(word: str, argument: str | None, version: int) -> tuple[Any, ...] | None:
    """An output in any of its forms: ``output:2``, ``2``, ``FLOOD``, ``CONTROLLER:128``."""
    upper = word.upper()
    if word == "output":
        return 0, port(_need(argument, word), version, word), 0
    if upper == "CONTROLLER":
        room = (argument or "65535").removeprefix("max_len=")
        return 0, port("CONTROLLER", version, word), number(room, 16, word)
    if upper in PORT_NAMES and argument is None:
        return 0, port(word, version, word), 0
    if word.isdigit() and argument is None:
        return 0, port(word, version, "output"), 0
    return None


def _words(text: str) -> Iterable[tuple[str, str | None]]:
    """Name and argument of each action; nothing for ``drop``, which stands alone."""
    words = split(text)
    if [word.lower() for word in words] == ["drop"]:
        return
    for word in words:
        if word.lower() == "drop":
            raise TextError("drop: a flow that drops does nothing else; leave drop out or the rest")
        bracket, colon_at = word.find("("), word.find(":")
        if word.endswith(")") and bracket > 0 and (colon_at < 0 or bracket < colon_at):
            name, found, argument = word[:-1].partition("(")
        else:
            name, found, argument = word.partition(":")
        yield name.lower(), argument if found else None


def _need(argument: str | None, name: str) -> str:
    if not argument:
        raise TextError(f"{name} needs an argument")
    return argument


def parse10(text: str) -> list[a10.Action]:
    """1.0 actions; ``drop`` is the empty list."""
    actions: list[a10.Action] = []
    for name, argument in _words(text):
        output = _output(name, argument, 1)
        if output is not None:
            actions.append(output)
        elif name == "strip_vlan":
            actions.append((a10.STRIP_VLAN,))
        elif name in ("mod_dl_src", "mod_dl_dst"):
            kind = a10.SET_DL_SRC if name == "mod_dl_src" else a10.SET_DL_DST
            actions.append((kind, mac(_need(argument, name), name).to_bytes(6, "big")))
        elif name in ("mod_nw_src", "mod_nw_dst"):
            kind = a10.SET_NW_SRC if name == "mod_nw_src" else a10.SET_NW_DST
            actions.append((kind, ipv4(_need(argument, name), name)))
        elif name in _NUMBERS10:
            kind, bits = _NUMBERS10[name]
            actions.append((kind, number(_need(argument, name), bits, name)))
        elif name == "enqueue":
            where, colon, queue = _need(argument, name).replace(",", ":").partition(":")
            if not colon:
                raise TextError(f"{name}:{argument}: write enqueue:PORT:QUEUE")
            actions.append((a10.ENQUEUE, port(where, 1, name), number(queue, 32, name)))
        else:
            raise TextError(f"{name!r} is not an action of OpenFlow 1.0")
    return actions


def parse13(text: str) -> list[a13.Instruction]:
    """1.3 instructions; bare actions are apply-actions; ``drop`` is none at all."""
    applied: list[a13.Action] = []
    instructions: list[a13.Instruction] = []
    for name, argument in _words(text):
        if name == "goto_table":
            instructions.append((v13.GOTO_TABLE, number(_need(argument, name), 8, name)))
        elif name == "write_metadata":
            value, _, mask = _need(argument, name).partition("/")
            whole = (1 << 64) - 1
            instructions.append(
                (v13.WRITE_METADATA, number(value, 64, name), number(mask, 64, name) if mask else whole)
            )
        elif name == "meter":
            instructions.append((v13.METER, number(_need(argument, name), 32, name)))
        elif name == "clear_actions":
            instructions.append((v13.CLEAR_ACTIONS,))
        elif name == "write_actions":
            instructions.append((v13.WRITE_ACTIONS, parse_actions13(argument or "")))
        elif name == "apply_actions":
            applied += parse_actions13(argument or "")
        else:
            applied += [_action13(name, argument)]
    if applied:
        instructions.append((v13.APPLY_ACTIONS, applied))
    if len({instruction[0] for instruction in instructions}) < len(instructions):
        raise TextError("actions: a flow has each of goto_table, meter, write_metadata, write_actions only once")
    return in_order(instructions)


def in_order(instructions: Iterable[a13.Instruction]) -> list[a13.Instruction]:
    """Sorted as a switch executes them."""
    return sorted(instructions, key=lambda instruction: _ORDER13.index(instruction[0]))


def parse_actions13(text: str) -> list[a13.Action]:
    """1.3 actions, as in a packet-out or a bucket."""
    return [_action13(name, argument) for name, argument in _words(text)]


def _action13(name: str, argument: str | None) -> a13.Action:
    output = _output(name, argument, 4)
    if output is not None:
        return output
    if name == "set_field":
        value, arrow, field = _need(argument, name).partition("->")
        full = _ALIASES_SET13.get(field, field)
        if not arrow or full not in NUMBERS13:
            raise TextError(f"set_field:{argument}: write set_field:VALUE->FIELD with a field of OpenFlow 1.3")
        number_ = NUMBERS13[full]
        return a13.SET_FIELD, number_, address(value, 8 * oxm.FIELDS[number_].size, name)
    if name == "mod_vlan_vid":
        return a13.SET_FIELD, oxm.VLAN_VID, oxm.VID_PRESENT | number(_need(argument, name), 12, name)
    if name == "mod_nw_tos":
        tos = number(_need(argument, name), 8, name)
        if tos & 3:
            raise TextError(f"{name}:{argument}: has bits of ECN; it is four times the DSCP")
        return a13.SET_FIELD, NUMBERS13["ip_dscp"], tos >> 2
    if name in _SET_FIELDS13:
        number_ = NUMBERS13[_SET_FIELDS13[name]]
        return a13.SET_FIELD, number_, address(_need(argument, name), 8 * oxm.FIELDS[number_].size, name)
    if name in _BARE13:
        return (_BARE13[name],)
    if name in _NUMBERS13:
        kind, bits = _NUMBERS13[name]
        return kind, number(_need(argument, name), bits, name)
    raise TextError(f"{name!r} is not an action of OpenFlow 1.3")


def format10(actions: Iterable[a10.Action]) -> str:
    """``drop`` or the actions, comma-separated."""
    names = {kind: name for name, (kind, _) in _NUMBERS10.items()}
    words = []
    for action in actions:
        kind = action[0]
        if kind == a10.OUTPUT:
            words.append(_output_text(action, 1))
        elif kind == a10.STRIP_VLAN:
            words.append("strip_vlan")
        elif kind in (a10.SET_DL_SRC, a10.SET_DL_DST):
            name = "mod_dl_src" if kind == a10.SET_DL_SRC else "mod_dl_dst"
            words.append(f"{name}:{mac_text(int.from_bytes(action[1], 'big'))}")
        elif kind in (a10.SET_NW_SRC, a10.SET_NW_DST):
            name = "mod_nw_src" if kind == a10.SET_NW_SRC else "mod_nw_dst"
            words.append(f"{name}:{value_text(action[1], 32)}")
        elif kind == a10.ENQUEUE:
            words.append(f"enqueue:{port_text(action[1], 1)}:{action[2]}")
        else:
            words.append(f"{names[kind]}:{action[1]}")
    return ",".join(words) or "drop"


def format13(instructions: Iterable[a13.Instruction]) -> str:
    """``drop`` or the instructions in the order a switch executes them; an empty apply-actions says nothing."""
    words = []
    for instruction in in_order(instructions):
        kind = instruction[0]
        if kind == v13.APPLY_ACTIONS:
            words.append(format_actions13(instruction[1]))
        elif kind == v13.WRITE_ACTIONS:
            words.append(f"write_actions({format_actions13(instruction[1])})")
        elif kind == v13.WRITE_METADATA:
            words.append(f"write_metadata:{instruction[1]:#x}/{instruction[2]:#x}")
        elif kind == v13.GOTO_TABLE:
            words.append(f"goto_table:{instruction[1]}")
        elif kind == v13.METER:
            words.append(f"meter:{instruction[1]}")
        else:
            words.append("clear_actions")
    return ",".join(word for word in words if word) or "drop"


def format_actions13(actions: Iterable[a13.Action]) -> str:
    """The actions, comma-separated; empty for none."""
    bare = {kind: name for name, kind in _BARE13.items() if name != "strip_vlan"}
    numbers = {kind: name for name, (kind, _) in _NUMBERS13.items()}
    words = []
    for action in actions:
        kind = action[0]
        if kind == a13.OUTPUT:
            words.append(_output_text(action, 4))
        elif kind == a13.SET_FIELD:
            field = oxm.FIELDS[action[1]]
            bits = 8 * field.size
            as_address = bits >= 32 and field.name.startswith(("eth_", "ipv4_", "ipv6_", "arp_"))
            text = value_text(action[2], bits) if as_address and field.name != "ipv6_flabel" else str(action[2])
            words.append(f"set_field:{text}->{WRITTEN13.get(field.name, field.name)}")
        elif kind in bare:
            words.append(bare[kind])
        else:
            ethertype = kind in (a13.PUSH_VLAN, a13.PUSH_MPLS, a13.POP_MPLS, a13.PUSH_PBB)
            words.append(f"{numbers[kind]}:{action[1]:#06x}" if ethertype else f"{numbers[kind]}:{action[1]}")
    return ",".join(words)


def _output_text(action: tuple[Any, ...], version: int) -> str:
    controller = (v10 if version == 1 else v13).CONTROLLER
    if action[1] == controller:
        return f"CONTROLLER:{action[2]}"
    name = port_text(action[1], version)
    return name if name in PORT_NAMES else f"output:{name}"
