"""The virtual form of an entry: what its controller meant, read from the controller's own FLOW_MOD."""

from __future__ import annotations

from vmoc.openflow import v13
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm


def virtual_priority(version: int, data: bytes) -> int:
    """The priority the controller gave."""
    return data[62] << 8 | data[63] if version == 1 else data[30] << 8 | data[31]


def virtual_table(data: bytes) -> int:
    """1.3: the table the controller gave."""
    return data[24]


def virtual_cookie(version: int, data: bytes) -> int:
    """The cookie the controller gave."""
    return int.from_bytes(data[48:56] if version == 1 else data[8:16], "big")


def virtual_flags(version: int, data: bytes) -> int:
    """The flags the controller gave."""
    return data[70] << 8 | data[71] if version == 1 else data[44] << 8 | data[45]


def virtual_match(version: int, data: bytes) -> bytes:
    """The match the controller gave, canonical."""
    if version == 1:
        return m10.canonical(int.from_bytes(data[8:48], "big")).to_bytes(m10.LENGTH, "big")
    return oxm.pack(oxm.parse(data, f13.MATCH_AT, len(data))[0])


def virtual_body(version: int, data: bytes) -> bytes:
    """The actions (1.0) or instructions (1.3) the controller gave, canonical."""
    if version == 1:
        return a10.pack(a10.parse(data, f10.FIXED, len(data)))
    return a13.pack_instructions(a13.parse_instructions(data, body13(data), len(data)))


def virtual_instructions(data: bytes) -> list[a13.Instruction]:
    """1.3: the instructions the controller gave, decoded."""
    return a13.parse_instructions(data, body13(data), len(data))


def is_table_miss(data: bytes) -> bool:
    """1.3: priority 0 and an empty match."""
    return data[30] == 0 and data[31] == 0 and data[50] == 0 and data[51] == 4


def body13(data: bytes) -> int:
    """1.3: where the instructions begin."""
    return f13.MATCH_AT + ((data[50] << 8 | data[51]) + 7 & ~7)


def outputs(version: int, data: bytes) -> tuple[set[int], set[int]]:
    """The ports and the groups its actions name."""
    if version == 1:
        actions = a10.parse(data, f10.FIXED, len(data))
        return {action[1] for action in actions if action[0] in (a10.OUTPUT, a10.ENQUEUE)}, set()
    ports, groups = set(), set()
    for instruction in virtual_instructions(data):
        if instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS):
            for action in instruction[1]:
                if action[0] == a13.OUTPUT:
                    ports.add(action[1])
                elif action[0] == a13.GROUP:
                    groups.add(action[1])
    return ports, groups


def outputs_to(version: int, data: bytes, port: int | None, group: int | None) -> bool:
    """Whether its actions name ``port`` (and ``group``); None means "any"."""
    if port is None and group is None:
        return True
    ports, groups = outputs(version, data)
    return (port is None or port in ports) and (group is None or group in groups)


def ports_named(version: int, data: bytes) -> set[int]:
    """Its in_port, and the ports its actions name."""
    ports, _ = outputs(version, data)
    if version == 1:
        match = int.from_bytes(data[8:48], "big")
        return ports if m10.wildcards_of(match) & m10.W_IN_PORT else ports | {m10.in_port_of(match)}
    return ports | {field[1] for field in oxm.parse(data, f13.MATCH_AT, len(data))[0] if field[0] == oxm.IN_PORT}


def without_outputs(version: int, body: bytes, ports: set[int]) -> bytes:
    """Actions or instructions without the outputs to ``ports``: a switch may refuse ports it does not have."""
    if version == 1:
        kept = [a for a in a10.parse(body, 0, len(body)) if a[0] not in (a10.OUTPUT, a10.ENQUEUE) or a[1] not in ports]
        return a10.pack(kept)
    instructions: list[a13.Instruction] = []
    for instruction in a13.parse_instructions(body, 0, len(body)):
        if instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS):
            kept = [action for action in instruction[1] if action[0] != a13.OUTPUT or action[1] not in ports]
            instruction = (instruction[0], kept)
        instructions.append(instruction)
    return a13.pack_instructions(instructions)
