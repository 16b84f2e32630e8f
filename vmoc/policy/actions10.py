"""Actions of OpenFlow 1.0 against a grant (vetting C.1, C.3)."""

from __future__ import annotations

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v10
from vmoc.openflow.v10 import actions as a10
from vmoc.policy import tagstate
from vmoc.policy.grant import Grant
from vmoc.policy.outputs import Outputs

MAX_LEN = 0xFFFF


def narrow(
    grant: Grant, actions: list[a10.Action], outputs: Outputs, frame: tagstate.Tags | None = None
) -> list[a10.Action]:
    """The physical actions; raises what the first action that is not allowed raises.

    Where an action stands does not matter: a change of VLAN after the last
    output is refused too, which keeps the rule closed under concatenation.
    ``frame``: the tags of the one frame the actions are for, if that is known.
    """
    physical: list[a10.Action] = []
    tags = grant.policy.qinq and not grant.hides_tag
    if tags:
        tagstate.follow10(grant.vlan, actions, frame)
    for action in actions:
        kind = action[0]
        if kind == a10.OUTPUT:
            for port in outputs.expand(action[1]):
                physical.append((kind, port, MAX_LEN if port == v10.CONTROLLER else action[2]))
        elif kind == a10.ENQUEUE:
            if action[1] not in grant.ports and action[1] != v10.IN_PORT:
                raise Refused(errors.FOREIGN_OUT_PORT, f"enqueue to port {action[1]:#x}")
            ports = outputs.expand(action[1])
            _check_queue(grant, action[1], action[2])
            physical += [(kind, port, action[2]) for port in ports]
        elif kind == a10.STRIP_VLAN:
            if tags:
                physical.append(action)
            elif not grant.hides_tag:
                raise Refused(errors.VLAN_ACTION, "strip_vlan would take the frame out of the slice")
            # On a frame the slice sees untagged there is nothing to strip.
        elif kind == a10.SET_VLAN_VID:
            if not tags:
                _check_vid(grant, action[1])
            physical.append(action)
        elif kind == a10.SET_VLAN_PCP:
            _check_pcp(grant, action[1])
            physical.append(action)
        else:
            physical.append(action)
    return physical


def _check_queue(grant: Grant, port: int, queue: int) -> None:
    if port == v10.IN_PORT:
        if not grant.queue_everywhere(queue):
            raise Refused(errors.FOREIGN_QUEUE, f"queue {queue} is not granted on every port")
    elif queue not in grant.queues.get(port, ()):
        raise Refused(errors.FOREIGN_QUEUE, f"queue {queue} of port {port}")


def _check_vid(grant: Grant, vid: int) -> None:
    if vid > 0xFFF:
        raise Refused(errors.ACTION_ARGUMENT, f"set_vlan_vid {vid:#x}")
    if grant.hides_tag or vid != grant.vlan:
        raise Refused(errors.VLAN_ACTION, f"set_vlan_vid {vid}")


def _check_pcp(grant: Grant, pcp: int) -> None:
    if grant.hides_tag:
        raise Refused(errors.VLAN_ACTION, f"set_vlan_pcp {pcp}")
    if pcp > 7:
        raise Refused(errors.ACTION_ARGUMENT, f"set_vlan_pcp {pcp}")
    if grant.policy.pcp == "reject":
        raise Refused(errors.VLAN_ACTION, f"set_vlan_pcp {pcp}")
