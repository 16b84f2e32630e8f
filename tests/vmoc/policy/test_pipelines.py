"""``pipeline: admission`` and ``vlan_port_sharing`` through the whole chains: tables one further on, slots, ports."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.emulation.actions import apply_actions, goto_table, instruction, output
from tests.emulation.build import flow_mod, packet_out
from tests.emulation.frames import E
from tests.emulation.match import match
from tests.vmoc.policy.grants import V10, V13, admitted, sharing, tagged
from tests.vmoc.policy.test_packetout import vet
from tests.vmoc.policy.test_recipes import fast, learned, slow
from vmoc import errors
from vmoc.errors import Reason
from vmoc.model import Attachment, Policy, Segment
from vmoc.openflow.text.flow import parse_flow
from vmoc.openflow.v13 import oxm
from vmoc.policy.explain import assumed_grant, explain
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.recipes import FlowModPolicy
from vmoc.policy.verdict import Refusal

FULL = (1 << 64) - 1


def write_metadata(value: int, mask: int) -> bytes:
    return instruction(2, bytes(4) + struct.pack("!QQ", value, mask))


def mod(instructions: bytes = b"", *, command: str = "add", **more: Any) -> bytes:
    return flow_mod(V13, command, match(V13, **more.pop("fields", {})), instructions=instructions, **more)


def change_of(grant: Grant, data: bytes) -> FlowChange:
    change = vet_flow_mod(grant, data)
    assert isinstance(change, FlowChange), change
    return change


def reason_of(grant: Grant, data: bytes) -> Reason:
    refusal = vet_flow_mod(grant, data)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason


@pytest.mark.parametrize("grant", [admitted(), sharing()], ids=["admission", "sharing"])
def test_tables_are_one_further_on_and_one_fewer(grant: Grant) -> None:
    assert change_of(grant, mod(goto_table(2), table=0)).table == 1
    assert change_of(grant, mod(goto_table(2), table=0)).body == goto_table(3)
    assert change_of(grant, mod(table=2)).table == 3
    assert reason_of(grant, mod(table=3)) is errors.TABLE_ID
    assert reason_of(grant, mod(goto_table(3), table=0)) is errors.GOTO_TABLE
    assert reason_of(grant, mod(goto_table(1), table=1)) is errors.GOTO_TABLE
    assert reason_of(grant, mod(table=254)) is errors.TABLE_ID
    assert change_of(grant, mod(command="delete", table=255)).table == 255


@pytest.mark.parametrize("table", [0, 1])
def test_every_priority_is_the_slices(table: int) -> None:
    assert change_of(admitted(), mod(table=table, priority=65535)).priority == 65535
    assert change_of(tagged(V13), mod(table=0, priority=65535)).priority == 65534


def test_the_slot_is_nobodys_to_write() -> None:
    fine = write_metadata(7, FULL >> 12)
    assert change_of(sharing(), mod(fine)).body == fine
    assert change_of(sharing(), mod(write_metadata(5 << 52 | 7, 0xFF))).body == write_metadata(7, 0xFF)
    for mask in (FULL, 1 << 52, 1 << 63, 5 << 52 | 0xFF):
        assert reason_of(sharing(), mod(write_metadata(7, mask))) is errors.METADATA_WRITE
        assert change_of(admitted(), mod(write_metadata(7, mask))).body == write_metadata(7, mask)
    assert errors.METADATA_WRITE.of13 == (3, 4) and errors.METADATA_MATCH.of13 == (4, 8)


@pytest.mark.parametrize("command", ["add", "modify", "modify_strict", "delete", "delete_strict"])
def test_every_command_names_the_slot(command: str) -> None:
    change = change_of(sharing(), mod(command=command, fields={"metadata": (7, 0xFF)}))
    assert change.match == oxm.pack(((oxm.METADATA, 5 << 52 | 7, 0xFFF << 52 | 0xFF), (oxm.VLAN_VID, 0x1064, None)))
    assert change.virtual_match == ((oxm.METADATA, 7, 0xFF),)
    assert reason_of(sharing(), mod(command=command, fields={"metadata": (0, 1 << 60)})) is errors.METADATA_MATCH


@pytest.mark.parametrize("grant", [admitted(), sharing()], ids=["admission", "sharing"])
def test_recipes_say_the_same_as_the_chain(grant: Grant) -> None:
    policy = FlowModPolicy(grant)
    for table in (0, 1):
        for value in (1, 2):
            data = flow_mod(V13, "add", match(V13, in_port=1, metadata=value), output(V13, 2), table=table)
            policy.vet(data)
            assert fast(policy, data) == slow(grant, data)
    assert fast(policy, flow_mod(V13, "add", match(V13, in_port=1, metadata=2), output(V13, 2), table=2)) is None
    policy.vet(learned(V13))
    assert fast(policy, learned(V13, eth_dst=9, idle=7)) == slow(grant, learned(V13, eth_dst=9, idle=7))


def test_one_metadata_value_does_not_answer_for_another() -> None:
    policy = FlowModPolicy(sharing())
    for value in (1, 2):
        data = flow_mod(V13, "add", match(V13, metadata=value), output(V13, 2))
        assert policy.recipe(data) is None, "not the recipe of the value before"
        policy.vet(data)
        assert fast(policy, data) == slow(sharing(), data)
    beyond = flow_mod(V13, "add", match(V13, metadata=5 << 52), output(V13, 2))
    assert policy.recipe(beyond) is None


@pytest.mark.parametrize(
    ("port", "in_port", "allowed"),
    [
        ("controller", 1, False),
        ("controller", "controller", False),
        ("table", 1, True),
        ("table", "controller", False),
        ("table", "none", False),
        (2, "controller", True),
        ("flood", "controller", True),
    ],
)
def test_packet_outs_where_a_vlan_may_be_shared(port: int | str, in_port: int | str, allowed: bool) -> None:
    data = packet_out(V13, E(100), output(V13, port), in_port=in_port)
    answer = vet(sharing(), data)
    if allowed:
        assert isinstance(answer, bytes)
    else:
        assert isinstance(answer, Refusal) and answer.reason is errors.FOREIGN_OUT_PORT
    assert isinstance(vet(admitted(), data), bytes), "a VLAN that has one owner needs none of it"


def test_flows_lead_to_the_controller_all_the_same() -> None:
    assert change_of(sharing(), mod(apply_actions(output(V13, "controller", 128)))).body


SEGMENT = Segment(100, attachments=(Attachment(0xAA, frozenset((1, 2))),))


def assumed(version: int = V13, tables: int = 4, **policy: Any) -> Grant:
    return assumed_grant(
        SEGMENT, SEGMENT.attachments[0], version, ports=(), complete=False, tables=tables, policy=Policy(**policy)
    )  # fmt: skip


def test_explain_shows_the_switchs_tables_and_the_admission() -> None:
    told = explain(assumed(pipeline="admission"), parse_flow("table=1,priority=65535,actions=goto_table:2", V13))
    assert told.text == "add table=2,priority=65535,send_flow_rem,vlan_vid=0x1064,actions=goto_table:3"
    (table,) = [finding.text for finding in told.findings if finding.rule == "table"]
    assert table == "table 1, table 2 of the switch"
    assert len(told.notes) == 1 and "table 0 of the switch is VMOC's" in told.notes[0]


def test_explain_shows_the_slot() -> None:
    grant = assumed(pipeline="admission", vlan_port_sharing=True)
    told = explain(grant, parse_flow("actions=output:2", V13))
    assert "metadata=0x10000000000000/0xfff0000000000000" in told.text
    assert any("slot" in note for note in told.notes)


def test_a_switch_that_cannot_admit_is_explained_as_it_is() -> None:
    for grant in (assumed(V10, pipeline="admission"), assumed(tables=1, pipeline="admission"), assumed()):
        assert (grant.first_table, grant.slot, grant.guarded) == (0, 0, True)
    assert assumed(pipeline="admission").n_tables == 3
    assert assumed(pipeline="admission", max_tables=2).n_tables == 2
