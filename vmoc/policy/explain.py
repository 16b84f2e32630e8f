"""Why: the rules a message meets, in order, what each found, and what comes out. Nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vmoc import errors
from vmoc.errors import OfError, Reason
from vmoc.openflow import header, names, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.text.flow import format_flow, format_packet_out
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import group as g13
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.groups import GroupChange, MeterChange, vet_group_mod, vet_meter_mod
from vmoc.policy.packetout import PacketOut, vet_packet_out
from vmoc.policy.verdict import Finding, Refusal


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole story of one message.

    ``physical`` is what a switch would get (its cookie is given when it is
    installed, so 0 stands there), ``text`` the same in ovs-ofctl syntax;
    both empty for a refusal, which has ``reason`` and ``error``.
    """

    message: str
    findings: tuple[Finding, ...]
    physical: bytes = b""
    text: str = ""
    reason: Reason | None = None
    detail: str = ""
    error: OfError | None = None
    error_name: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it would pass."""
        return self.reason is None


def explain(grant: Grant, message: bytes) -> Explanation:
    """Run the chain of ``message``'s kind under ``grant`` and keep what every rule said."""
    version, trace = grant.version, list[Finding]()
    name = names.message_name(version, message[1]) if len(message) >= header.HEADER_SIZE else "nothing"
    if len(message) < header.HEADER_SIZE or int.from_bytes(message[2:4], "big") != len(message):
        return _refused(
            version, name, trace, Refusal("frame", errors.BAD_LENGTH, "the header's length is not the message's")
        )
    if message[0] != version:
        detail = f"the message is of version {names.version_name(message[0])}, not {names.version_name(version)}"
        return _refused(version, name, trace, Refusal("version", errors.BAD_VERSION, detail))
    verdict = _vet(grant, message, trace)
    if isinstance(verdict, Refusal):
        return _refused(version, name, trace, verdict)
    physical, text = _physical(verdict)
    return Explanation(name, tuple(trace), physical, text)


_Change = FlowChange | PacketOut | GroupChange | MeterChange


def _vet(grant: Grant, message: bytes, trace: list[Finding]) -> _Change | Refusal:
    kind = message[1]
    if kind == header.FLOW_MOD:
        return vet_flow_mod(grant, message, trace)
    if kind == header.PACKET_OUT:
        return vet_packet_out(grant, message, trace)
    if grant.version != OF10 and kind == v13.GROUP_MOD:
        return vet_group_mod(grant, message, trace)
    if grant.version != OF10 and kind == v13.METER_MOD:
        return vet_meter_mod(grant, message, trace)
    return Refusal("type", errors.BAD_TYPE, "only flow-mods, packet-outs, group-mods and meter-mods are explained")


def _refused(version: int, name: str, trace: list[Finding], refusal: Refusal) -> Explanation:
    code = refusal.error(version)
    if not trace or trace[-1].passed:
        trace.append(Finding(refusal.rule, False, refusal.detail))
    return Explanation(
        name,
        tuple(trace),
        reason=refusal.reason,
        detail=refusal.detail,
        error=code,
        error_name=names.error_name(version, *code),
    )


def _physical(change: _Change) -> tuple[bytes, str]:
    if isinstance(change, FlowChange):
        data = _flow(change)
        return data, format_flow(data)
    if isinstance(change, PacketOut):
        data = change.message(0)
        return data, format_packet_out(data)
    if isinstance(change, GroupChange):
        buckets = b"" if change.command == _DELETE else g13.pack_buckets(change.buckets)
        return g13.group_mod(0, change.command, change.kind, change.group, buckets), "group-mod with an id of VMOC's"
    data = g13.meter_mod(0, change.command, change.flags, change.meter, change.bands)
    return data, "meter-mod with an id of VMOC's"


_DELETE: Final = 2


def _flow(change: FlowChange) -> bytes:
    """One representative physical flow-mod: what an ADD becomes, what a MODIFY or DELETE selects."""
    flags = change.flags | (0 if change.deletes else v13.SEND_FLOW_REM)
    if change.grant.version == OF10:
        return f10.flow_mod(
            0,
            change.match,
            change.command,
            idle=change.idle_timeout,
            hard=change.hard_timeout,
            priority=change.priority,
            flags=flags,
            actions=change.body,
        )
    return f13.flow_mod(
        0,
        change.match,
        change.command,
        table=change.table,
        idle=change.idle_timeout,
        hard=change.hard_timeout,
        priority=change.priority,
        flags=flags,
        instructions=change.body,
    )
