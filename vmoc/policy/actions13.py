"""Actions and instructions of OpenFlow 1.3 against a grant (vetting C.2, C.3)."""

from __future__ import annotations

from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v13
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm
from vmoc.policy import tagstate
from vmoc.policy.grant import SLOT_BITS, Grant
from vmoc.policy.outputs import Outputs

MAX_LEN: Final = 0xFFFF
_MPLS_TYPES: Final = (0x8847, 0x8848)
_TAG_TYPES: Final = (0x8100, 0x88A8, 0x9100, 0x88E7)

_UNSETTABLE: Final = frozenset(
    (oxm.IN_PORT, oxm.IN_PHY_PORT, oxm.METADATA, oxm.ETH_TYPE, oxm.IP_PROTO, oxm.TUNNEL_ID, oxm.IPV6_EXTHDR)
)
_PASSED: Final = frozenset(
    (a13.COPY_TTL_OUT, a13.COPY_TTL_IN, a13.SET_MPLS_TTL, a13.DEC_MPLS_TTL, a13.SET_NW_TTL, a13.DEC_NW_TTL)
)
_TAGS: Final = frozenset((a13.PUSH_VLAN, a13.POP_VLAN))
_LABELS: Final = frozenset((a13.PUSH_MPLS, a13.POP_MPLS))


def offered(grant: Grant, *, in_set: bool) -> frozenset[int]:
    """The action types that ``narrow`` lets pass for some argument: what a slice is told it may use."""
    kinds = _PASSED | {a13.OUTPUT, a13.GROUP, a13.SET_FIELD}
    if grant.queues:
        kinds |= {a13.SET_QUEUE}
    if grant.policy.qinq and not grant.hides_tag:
        kinds |= _TAGS
    if grant.policy.mpls and not in_set:
        kinds |= _LABELS
    return kinds


def settable(grant: Grant) -> frozenset[int]:
    """The fields a set_field may name, for some value."""
    unwanted = set(_UNSETTABLE)
    if grant.hides_tag:
        unwanted |= {oxm.VLAN_VID, oxm.VLAN_PCP}
    elif grant.policy.pcp == "reject":
        unwanted.add(oxm.VLAN_PCP)
    return frozenset(oxm.FIELDS.keys() - unwanted)


def narrow(
    grant: Grant,
    actions: list[a13.Action],
    outputs: Outputs,
    *,
    in_set: bool = False,
    in_bucket: bool = False,
    output_follows: bool = False,
    frame: tagstate.Tags | None = None,
) -> list[a13.Action]:
    """The physical actions; raises what the first action that is not allowed raises.

    ``in_set``: the list is a set (write-actions); ``in_bucket``: a group's
    bucket, which is one too, and whole. ``output_follows``: a queue chosen here
    may still be in force when something later outputs. ``frame``: the tags of
    the one frame the actions are for, if that is known.
    """
    in_set = in_set or in_bucket
    physical: list[a13.Action] = []
    queue: int | None = None
    tags = grant.policy.qinq and not grant.hides_tag
    if tags and in_set:
        tagstate.judge_set(grant.vlan, actions)
    elif tags:
        tagstate.follow13(grant.vlan, actions, frame)
    for action in actions:
        kind = action[0]
        if kind == a13.OUTPUT:
            for port in outputs.expand(action[1]):
                _check_queue(grant, queue, port)
                physical.append((kind, port, MAX_LEN if port == v13.CONTROLLER else action[2]))
        elif kind == a13.SET_FIELD:
            _check_set_field(grant, action[1], action[2], any_vid=tags)
            physical.append(action)
        elif kind in _TAGS and tags:
            physical.append(action)
        elif kind in _LABELS and grant.policy.mpls:
            _check_mpls(action, in_set=in_set)
            physical.append(action)
        elif kind in _TAGS:
            if kind == a13.PUSH_VLAN and action[1] not in (0x8100, 0x88A8) and not grant.hides_tag:
                raise Refused(errors.ACTION_ARGUMENT, f"push_vlan {action[1]:#06x}")
            raise Refused(errors.VLAN_ACTION, "push_vlan" if kind == a13.PUSH_VLAN else "pop_vlan")
        elif kind == a13.SET_QUEUE:
            queue = action[1]
            if in_bucket:  # whatever the order, the queue is for all outputs of the bucket
                for other in actions:
                    if other[0] in (a13.OUTPUT, a13.GROUP):
                        _check_queue(grant, queue, other[1] if other[0] == a13.OUTPUT else None)
            elif in_set:
                _check_queue(grant, queue, None)
            physical.append(action)
        elif kind == a13.GROUP:
            group = grant.groups.get(action[1])
            if group is None:
                raise Refused(errors.UNKNOWN_GROUP, f"group {action[1]}")
            _check_queue(grant, queue, None)
            physical.append((kind, group))
        elif kind in _PASSED:
            physical.append(action)
        else:  # MPLS and PBB tags: they would hide the VLAN on some switches
            raise Refused(errors.ACTION_TYPE, f"action type {kind}")
    if output_follows:
        _check_queue(grant, queue, None)
    return physical


def _check_queue(grant: Grant, queue: int | None, port: int | None) -> None:
    if queue is None or port == v13.CONTROLLER:
        return
    if port in (None, v13.IN_PORT, v13.TABLE):  # where it leaves is not known here
        if not grant.queue_everywhere(queue):
            raise Refused(errors.FOREIGN_QUEUE, f"queue {queue} is not granted on every port")
    elif queue not in grant.queues.get(port, ()):
        raise Refused(errors.FOREIGN_QUEUE, f"queue {queue} of port {port}")


def _check_mpls(action: a13.Action, *, in_set: bool) -> None:
    """``mpls: on``: labels below the slice's tag, on switches that keep the VLAN outermost."""
    if in_set:
        raise Refused(errors.ACTION_TYPE, "MPLS actions are offered in apply-actions and packet-outs only")
    if action[0] == a13.PUSH_MPLS and action[1] not in _MPLS_TYPES:
        raise Refused(errors.ACTION_ARGUMENT, f"push_mpls {action[1]:#06x}")
    if action[0] == a13.POP_MPLS and action[1] in _TAG_TYPES:
        raise Refused(errors.ACTION_ARGUMENT, f"pop_mpls {action[1]:#06x} would make the payload look tagged")


def _check_set_field(grant: Grant, number: int, value: int, *, any_vid: bool = False) -> None:
    field = oxm.FIELDS[number]
    if number in _UNSETTABLE:
        raise Refused(errors.SET_FIELD_TYPE, f"set_field {field.name}")
    if number == oxm.VLAN_PCP and grant.hides_tag:
        raise Refused(errors.VLAN_ACTION, f"set_field vlan_pcp={value}")
    if value >> field.bits:
        raise Refused(errors.SET_FIELD_VALUE, f"set_field {field.name}={value:#x}")
    if number == oxm.VLAN_VID:
        if not value & oxm.VID_PRESENT:
            raise Refused(errors.SET_FIELD_VALUE, f"set_field vlan_vid={value:#06x}")
        if not any_vid and (grant.hides_tag or value != oxm.VID_PRESENT | grant.vlan):
            raise Refused(errors.VLAN_ACTION, f"set_field vlan_vid={value:#06x}")
    elif number == oxm.VLAN_PCP and grant.policy.pcp == "reject":
        raise Refused(errors.VLAN_ACTION, f"set_field vlan_pcp={value}")


def narrow_instructions(
    grant: Grant, table: int, instructions: list[a13.Instruction], in_port: int | None
) -> tuple[list[a13.Instruction], bool]:
    """The physical instructions of a flow in the slice's ``table``, and whether a FLOOD or ALL was expanded."""
    kinds = {instruction[0] for instruction in instructions}
    # An action set may hold an output written here or by an earlier table.
    output_follows = table > 0 or v13.GOTO_TABLE in kinds or v13.WRITE_ACTIONS in kinds
    physical: list[a13.Instruction] = []
    floods = False
    for instruction in instructions:
        kind = instruction[0]
        if kind == v13.GOTO_TABLE:
            if not table < instruction[1] < grant.n_tables:
                raise Refused(errors.GOTO_TABLE, f"goto_table {instruction[1]} from table {table}")
            physical.append((kind, instruction[1] + grant.first_table))
        elif kind in (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS):
            in_set = kind == v13.WRITE_ACTIONS
            outputs = Outputs(grant, in_port, in_set=in_set)
            narrowed = narrow(grant, instruction[1], outputs, in_set=in_set, output_follows=output_follows)
            floods = floods or outputs.floods
            physical.append((kind, narrowed))
        elif kind == v13.METER:
            meter = grant.meters.get(instruction[1])
            if meter is None:
                raise Refused(errors.UNKNOWN_METER, f"meter {instruction[1]}")
            physical.append((kind, meter))
        elif kind == v13.WRITE_METADATA and grant.slot:
            _, value, mask = instruction
            if mask & SLOT_BITS:
                raise Refused(errors.METADATA_WRITE, f"write_metadata {value:#x}/{mask:#x}")
            physical.append((kind, value & ~SLOT_BITS, mask))
        else:
            physical.append(instruction)
    return physical, floods
