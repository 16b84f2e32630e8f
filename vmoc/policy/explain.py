"""Why: the rules a message meets, in order, what each found, and what comes out. Nothing is sent.

What depends on more than the message and the grant is not judged here: the
quotas, the rates, the role, which of the slice's own flows a delete selects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from vmoc import errors
from vmoc.errors import OfError, Reason, Refused, VmocError
from vmoc.model import Attachment, Policy, Presentation, Segment
from vmoc.openflow import header, names, v10, v13
from vmoc.openflow.features import LOCAL, LOCAL10
from vmoc.openflow.header import OF10
from vmoc.openflow.text.flow import format_flow, format_packet_out
from vmoc.openflow.text.group import format_group, format_meter
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import group as g13
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.groups import GroupChange, MeterChange, vet_group_mod, vet_meter_mod
from vmoc.policy.packetout import PacketOut, vet_packet_out
from vmoc.policy.verdict import Finding, Refusal

ASSUMED_SLOT: Final = 1


class NotExplained(VmocError):
    """The message is a controller's, but no rule of the policy's chains is about it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole story of one message.

    ``physical`` is what a switch would get (its cookie is given when it is
    installed, so 0 stands there), ``text`` the same in ovs-ofctl syntax, and
    ``notes`` say where the running service does more than send that; all are
    empty for a refusal, which has ``reason`` and ``error``.
    """

    message: str
    findings: tuple[Finding, ...]
    physical: bytes = b""
    text: str = ""
    notes: tuple[str, ...] = ()
    reason: Reason | None = None
    detail: str = ""
    error: OfError | None = None
    error_name: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it would pass."""
        return self.reason is None


def explain(grant: Grant, message: bytes) -> Explanation:
    """Run the chain of ``message``'s kind under ``grant`` and keep what every rule said.

    Raises ``NotExplained`` for what a controller may send but VMOC answers or passes on by other means.
    """
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
    return Explanation(name, tuple(trace), physical, text, (*_notes(verdict), *_pipeline_notes(verdict)))


def assumed_grant(
    segment: Segment,
    attachment: Attachment,
    version: int,
    *,
    ports: Iterable[int],
    complete: bool,
    native: bool = False,
    tables: int = 1,
    groups: Iterable[int] = (),
    meters: Iterable[int] = (),
    policy: Policy = Policy(),
) -> Grant:
    """The grant ``segment`` would have at ``attachment`` on a switch that is not there to be asked.

    ``ports`` (wire numbers of ``version``) are the ones the switch has,
    ``complete`` when that is all of them; where the attachment lists its
    ports and ``complete`` is false, all it lists are taken to be there. The
    switch is taken to have a LOCAL port, ``tables`` tables, table 0 to be fit
    for ``pipeline: admission``, and the slice to have the ``groups`` and
    ``meters``, under the same ids, and on a shared VLAN the slot ``ASSUMED_SLOT``.
    """
    local, limit = (LOCAL10, v10.MAX) if version == OF10 else (LOCAL, v13.MAX)
    there = frozenset(ports)
    if attachment.ports is None:
        own = frozenset(port for port in there if 0 < port < limit)
    else:
        listed = frozenset(local if port == LOCAL else port for port in attachment.ports)
        own = frozenset(port for port in listed if port == local or port < limit)
        own = own & there if complete else own
    admission = policy.pipeline == "admission" and version != OF10 and tables > 1
    return Grant(
        version=version,
        vlan=segment.vlan,
        ports=own,
        hides_tag=native or segment.presentation is Presentation.TRANSPARENT,
        native=native,
        guarded=not admission and (not complete or bool(({local} | there) - own)),
        n_tables=1 if version == OF10 else min(tables - admission, policy.max_tables),
        first_table=int(admission),
        slot=ASSUMED_SLOT if admission and policy.vlan_port_sharing else 0,
        queues={port: attachment.queues[port] for port in own if port in attachment.queues},
        groups={} if version == OF10 else {group: group for group in groups},
        meters={} if version == OF10 else {meter: meter for meter in meters},
        policy=policy,
    )


def named_ports(message: bytes) -> frozenset[int]:
    """The physical ports a message names anywhere; none when it is not well formed."""
    try:
        found = set(_named(message))
    except (Refused, IndexError):
        return frozenset()
    limit = v10.MAX if message[0] == OF10 else v13.MAX
    return frozenset(port for port in found if 0 < port < limit)


def _named(message: bytes) -> Iterator[int]:
    version, kind = message[0], message[1]
    if kind == header.FLOW_MOD and version == OF10:
        mod10 = f10.parse_flow_mod(message)
        if not m10.wildcards_of(mod10.match) & m10.W_IN_PORT:
            yield m10.in_port_of(mod10.match)
        yield from _outputs(mod10.actions, version)
    elif kind == header.FLOW_MOD:
        mod13 = f13.parse_flow_mod(message)
        yield from (value for number, value, _ in mod13.match if number in (oxm.IN_PORT, oxm.IN_PHY_PORT))
        for instruction in mod13.instructions:
            if instruction[0] in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS):
                yield from _outputs(instruction[1], version)
    elif kind == header.PACKET_OUT:
        wide = version != OF10
        yield int.from_bytes(message[12 : 16 if wide else 14], "big")
        start, length = (24, message[16:18]) if wide else (16, message[14:16])
        reader = a13.parse if wide else a10.parse
        yield from _outputs(reader(message, start, min(len(message), start + int.from_bytes(length, "big"))), version)
    elif kind == v13.GROUP_MOD and version != OF10:
        for bucket in g13.parse_group_mod(message).buckets:
            yield bucket.watch_port
            yield from _outputs(bucket.actions, version)


def _outputs(actions: Iterable[tuple[Any, ...]], version: int) -> Iterator[int]:
    kinds = (a10.OUTPUT, a10.ENQUEUE) if version == OF10 else (a13.OUTPUT,)
    return (action[1] for action in actions if action[0] in kinds)


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
    name = names.message_name(grant.version, kind)
    if name in _CONTROLLERS:
        raise NotExplained(
            f"{name} is answered or passed on; flow-mods, packet-outs, group-mods and meter-mods are vetted"
        )
    return Refusal("type", errors.BAD_TYPE, f"{name} is not a controller's message")


_CONTROLLERS: Final = frozenset(
    "HELLO ERROR ECHO_REQUEST ECHO_REPLY EXPERIMENTER FEATURES_REQUEST GET_CONFIG_REQUEST SET_CONFIG PORT_MOD "
    "TABLE_MOD STATS_REQUEST MULTIPART_REQUEST BARRIER_REQUEST QUEUE_GET_CONFIG_REQUEST ROLE_REQUEST "
    "GET_ASYNC_REQUEST SET_ASYNC".split()
)


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
        data = g13.group_mod(0, change.command, change.kind, change.group, buckets)
        return data, format_group(data)
    data = g13.meter_mod(0, change.command, change.flags, change.meter, change.bands)
    return data, format_meter(data)


_DELETE: Final = 2


def _notes(change: _Change) -> Iterator[str]:
    """What the running service does beyond sending the message as it stands here."""
    if isinstance(change, GroupChange | MeterChange):
        yield "the id is the slice's own; the switch is given another, which no other slice has"
    elif isinstance(change, FlowChange):
        ports = change.out_port is not None or change.out_group is not None
        if change.cookie_mask or (change.deletes and ports):
            yield "VMOC selects among the slice's flows by cookie, out_port and out_group, and sends each by itself"
        elif change.grant.version == OF10 and change.command in (v10.MODIFY, v10.MODIFY_STRICT):
            yield "sent once for every flow of the slice it selects, as modify_strict; as add when there is none"
        if change.floods:
            yield "FLOOD and ALL are the slice's ports now; the flow is written again when they change"


def _pipeline_notes(change: _Change) -> Iterator[str]:
    """``pipeline: admission``: how a packet gets to the slice's tables."""
    if not isinstance(change, FlowChange) or not change.grant.first_table:
        return
    grant = change.grant
    vlan = "any frame" if grant.native else f"VLAN {grant.vlan}"
    yield (
        f"table 0 of the switch is VMOC's: it admits {vlan} from the slice's ports to table 1, which is the slice's "
        "table 0; every table id is one more there"
    )
    if grant.slot:
        yield (
            f"it also writes the slice's slot into metadata bits 63 to 52, which every flow of the slice matches; "
            f"the switch's own may be another than {grant.slot}"
        )


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
