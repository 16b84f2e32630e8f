"""The chain of rules a flow-mod passes, and the narrowed flow-mod it becomes (vetting A.4).

The rules only look at the message and the grant. What depends on the slice's
other flows (quota, which entries a delete selects) is ``vmoc.mux.flows``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import error as StructError
from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import stats, v10, v13
from vmoc.openflow.header import MAX_LENGTH, NO_BUFFER
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy import actions10, actions13
from vmoc.policy.grant import Grant
from vmoc.policy.match import check_prerequisites13, is_exact10, narrow10, narrow13
from vmoc.policy.outputs import Outputs
from vmoc.policy.verdict import NOT_OFFERED, Finding, Refusal, Rule, run

TOP_PRIORITY: Final = 0xFFFF
COMMANDS: Final = ("add", "modify", "modify_strict", "delete", "delete_strict")
DELETES: Final = (v10.DELETE, v10.DELETE_STRICT)
_ROOM10: Final = MAX_LENGTH - stats.BODY[1] - f10.ENTRY_FIXED
_ROOM13: Final = MAX_LENGTH - stats.BODY[4] - f13.ENTRY_MATCH - oxm.LONGEST


@dataclass(slots=True)
class FlowChange:
    """A flow-mod the policy let pass, in physical form, next to what the controller meant.

    ``table`` is the switch's; ``match`` and ``body`` (actions or instructions)
    are canonical physical bytes; ``virtual_match`` is the controller's own match, canonical (an
    integer in 1.0, fields in 1.3).
    """

    grant: Grant
    data: bytes
    command: int = 0
    table: int = 0
    cookie: int = 0
    cookie_mask: int = 0
    priority: int = 0
    virtual_priority: int = 0
    idle_timeout: int = 0
    hard_timeout: int = 0
    flags: int = 0
    out_port: int | None = None
    out_group: int | None = None
    virtual_match: int | oxm.Match = 0
    match: bytes = b""
    body: bytes = b""
    floods: bool = False
    # Filled by the first rule, used by the others.
    parsed10: f10.FlowMod | None = field(default=None, repr=False)
    parsed13: f13.FlowMod | None = field(default=None, repr=False)
    not_offered: Refused | None = field(default=None, repr=False)

    @property
    def names_objects(self) -> bool:
        """Whether it leads to a group or a meter: then the verdict holds only as long as those exist."""
        if self.parsed13 is None:
            return False
        return any(
            instruction[0] == v13.METER
            or (
                instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS)
                and any(action[0] == a13.GROUP for action in instruction[1])
            )
            for instruction in self.parsed13.instructions
        )

    @property
    def deletes(self) -> bool:
        """Whether the command only removes flows: then actions do not matter and are not sent."""
        return self.command in DELETES


def vet_flow_mod(grant: Grant, data: bytes, trace: list[Finding] | None = None) -> FlowChange | Refusal:
    """The verdict on one whole FLOW_MOD message of the grant's version."""
    change = FlowChange(grant, data)
    refusal = run(RULES10 if grant.version == 1 else RULES13, change, trace)
    return change if refusal is None else refusal


def _decode10(change: FlowChange) -> str:
    data = change.data
    try:
        mod = f10.parse_flow_mod(data, with_actions=int.from_bytes(data[56:58], "big") not in DELETES)
    except Refused as refused:
        if refused.reason not in NOT_OFFERED:
            raise
        change.not_offered = refused
        mod = f10.parse_flow_mod(data, with_actions=False)
    change.parsed10 = mod
    change.command, change.cookie = mod.command, mod.cookie
    change.idle_timeout, change.hard_timeout, change.flags = mod.idle_timeout, mod.hard_timeout, mod.flags
    change.virtual_priority = change.priority = mod.priority
    change.out_port = None if mod.out_port == v10.NONE else mod.out_port
    return f"well formed, {len(mod.actions)} action(s)"


def _decode13(change: FlowChange) -> str:
    data = change.data
    try:
        mod = f13.parse_flow_mod(data, with_instructions=len(data) < 26 or data[25] not in DELETES)
    except Refused as refused:
        if refused.reason not in NOT_OFFERED:
            raise
        change.not_offered = refused
        mod = f13.parse_flow_mod(data, with_instructions=False)
    check_prerequisites13(change.grant, mod.match)
    change.parsed13 = mod
    change.command, change.table, change.cookie = mod.command, mod.table, mod.cookie
    change.idle_timeout, change.hard_timeout, change.flags = mod.idle_timeout, mod.hard_timeout, mod.flags
    change.virtual_priority = change.priority = mod.priority
    if change.command != v10.ADD:
        change.cookie_mask = mod.cookie_mask
    change.out_port = None if mod.out_port == v13.ANY else mod.out_port
    change.out_group = None if mod.out_group == v13.ANY_GROUP else mod.out_group
    return f"well formed, {len(mod.match)} match field(s), {len(mod.instructions)} instruction(s)"


def _command(change: FlowChange) -> str:
    if change.command >= len(COMMANDS):
        raise Refused(errors.FLOW_COMMAND, f"command {change.command}")
    return COMMANDS[change.command]


def _flags10(change: FlowChange) -> str:
    if change.flags & v10.EMERG:
        timed = change.idle_timeout or change.hard_timeout
        raise Refused(errors.EMERGENCY_TIMEOUT if timed else errors.EMERGENCY_FLOW)
    if change.flags & ~(v10.SEND_FLOW_REM | v10.CHECK_OVERLAP):
        raise Refused(errors.FLOW_FLAGS, f"flags {change.flags:#x}")
    return f"flags {change.flags:#x}"


def _flags13(change: FlowChange) -> str:
    if change.flags & ~v13.KNOWN_FLAGS:
        raise Refused(errors.FLOW_FLAGS, f"flags {change.flags:#x}")
    return f"flags {change.flags:#x}"


def _table(change: FlowChange) -> str:
    everywhere = change.table == v13.ALL_TABLES and change.deletes
    table, grant = change.table, change.grant
    if table >= grant.n_tables and not everywhere:
        raise Refused(errors.TABLE_ID, f"table {table}, the switch has {grant.n_tables}")
    if everywhere:
        return "every table"
    change.table += grant.first_table
    return f"table {table}" + (f", table {change.table} of the switch" if grant.first_table else "")


def _match10(change: FlowChange) -> str:
    mod = change.parsed10
    assert mod is not None
    physical = narrow10(change.grant, mod.match)
    change.virtual_match = m10.canonical(mod.match)
    change.match = physical.to_bytes(m10.LENGTH, "big")
    if is_exact10(mod.match) or is_exact10(physical):
        change.priority = TOP_PRIORITY  # the switch would use it anyway (3.4)
    elif change.grant.guarded and change.priority == TOP_PRIORITY and m10.wildcards_of(physical) & m10.W_IN_PORT:
        change.priority = TOP_PRIORITY - 1
    return _narrowed(change)


def _match13(change: FlowChange) -> str:
    mod = change.parsed13
    assert mod is not None
    physical = narrow13(change.grant, mod.match)
    change.virtual_match = mod.match
    change.match = oxm.pack(physical)
    any_port = not physical or physical[0][0] != oxm.IN_PORT
    if change.grant.guarded and change.table == 0 and change.priority == TOP_PRIORITY and any_port:
        change.priority = TOP_PRIORITY - 1
    return _narrowed(change)


def _narrowed(change: FlowChange) -> str:
    where = "the instance is all of it" if change.grant.native else f"narrowed to VLAN {change.grant.vlan}"
    moved = "" if change.priority == change.virtual_priority else f", priority {change.priority}"
    return where + moved


def exact_in_port(change: FlowChange) -> int | None:
    """The one input port the flow matches, or None."""
    if change.parsed10 is not None:
        match = change.parsed10.match
        return None if m10.wildcards_of(match) & m10.W_IN_PORT else m10.in_port_of(match)
    assert change.parsed13 is not None
    return next((value for number, value, _ in change.parsed13.match if number == oxm.IN_PORT), None)


def _actions10(change: FlowChange) -> str:
    mod = change.parsed10
    assert mod is not None
    if change.deletes:
        return "not looked at: a delete has none"
    if change.not_offered is not None:
        raise change.not_offered
    outputs = Outputs(change.grant, exact_in_port(change))
    change.body = a10.pack(actions10.narrow(change.grant, mod.actions, outputs))
    change.floods = outputs.floods
    return "expanded FLOOD/ALL to the slice's ports" if change.floods else "allowed"


def _instructions13(change: FlowChange) -> str:
    mod = change.parsed13
    assert mod is not None
    if change.deletes:
        return "not looked at: a delete has none"
    if change.not_offered is not None:
        raise change.not_offered
    physical, change.floods = actions13.narrow_instructions(
        change.grant, mod.table, mod.instructions, exact_in_port(change)
    )
    try:
        change.body = a13.pack_instructions(physical)
    except StructError:  # an expanded list beyond the 16-bit length of its instruction
        raise Refused(errors.TOO_MANY_ACTIONS, "the expanded actions would not fit one instruction") from None
    return "expanded FLOOD/ALL to the slice's ports" if change.floods else "allowed"


def _buffer(change: FlowChange) -> str:
    mod = change.parsed10 or change.parsed13
    assert mod is not None
    if mod.buffer_id != NO_BUFFER and not change.deletes:
        raise Refused(errors.BUFFER_ID, f"buffer {mod.buffer_id:#x}")
    return "no buffer"


def _size(change: FlowChange) -> str:
    # What the controller meant must fit a statistics reply too, and what the switch holds another flow's match.
    if change.parsed10 is not None:
        meant, room = len(change.data) - f10.FIXED, _ROOM10
    else:
        meant, room = len(change.data) - f13.MATCH_AT, _ROOM13
    if not change.deletes and max(meant, len(change.body)) > room:
        raise Refused(errors.TOO_MANY_ACTIONS, "the flow would not fit a message or a statistics reply")
    return f"{len(change.body)} bytes of actions"


RULES10: Final[Sequence[Rule[FlowChange]]] = (
    ("decode", _decode10),
    ("command", _command),
    ("flags", _flags10),
    ("match", _match10),
    ("actions", _actions10),
    ("buffer", _buffer),
    ("size", _size),
)
RULES13: Final[Sequence[Rule[FlowChange]]] = (
    ("decode", _decode13),
    ("command", _command),
    ("flags", _flags13),
    ("table", _table),
    ("match", _match13),
    ("instructions", _instructions13),
    ("buffer", _buffer),
    ("size", _size),
)
