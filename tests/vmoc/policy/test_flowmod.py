"""The chain a flow-mod passes: each rule, their order, and the physical form."""

from __future__ import annotations

import struct

import pytest

from tests.emulation.actions import (
    apply_actions,
    goto_table,
    group,
    instruction,
    output,
    push_vlan,
    set_vlan,
    write_actions,
)
from tests.emulation.build import flow_mod
from tests.emulation.layout import message
from tests.emulation.match import match
from tests.vmoc.policy.grants import LOCAL, V10, V13, VERSIONS, native, tagged, transparent
from vmoc import errors
from vmoc.errors import Reason
from vmoc.openflow import v13
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm
from vmoc.policy.flowmod import FlowChange, exact_in_port, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.verdict import Finding, Refusal

VENDOR = struct.pack("!HHI8x", 0xFFFF, 16, 0x2320)


def allowed(grant: Grant, data: bytes) -> FlowChange:
    change = vet_flow_mod(grant, data)
    assert isinstance(change, FlowChange), change
    return change


def refused(grant: Grant, data: bytes) -> Refusal:
    refusal = vet_flow_mod(grant, data)
    assert isinstance(refusal, Refusal), refusal
    return refusal


@pytest.mark.parametrize("version", VERSIONS)
def test_what_passes_is_told_in_both_forms(version: int) -> None:
    data = flow_mod(version, "add", match(version, in_port=1), output(version, 2, 9), cookie=5, priority=7, idle=3,
                    hard=4, flags=2)  # fmt: skip
    change = allowed(tagged(version), data)
    assert (change.command, change.table, change.cookie, change.cookie_mask) == (0, 0, 5, 0)
    assert (change.priority, change.virtual_priority, change.idle_timeout, change.hard_timeout) == (7, 7, 3, 4)
    assert (change.flags, change.out_port, change.out_group, change.floods) == (2, None, None, False)
    assert not change.deletes and exact_in_port(change) == 1
    body = output(version, 2, 9)
    assert change.body == (body if version == V10 else apply_actions(body))
    if version == V10:
        assert change.match == m10.pack(in_port=1, dl_vlan=100)
        assert change.virtual_match == int.from_bytes(m10.pack(in_port=1), "big")
    else:
        assert change.match == match(V13, in_port=1, vlan_vid=0x1064)
        assert change.virtual_match == ((oxm.IN_PORT, 1, None),)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_trace_names_every_rule_up_to_the_refusal(version: int) -> None:
    trace: list[Finding] = []
    assert isinstance(vet_flow_mod(tagged(version), flow_mod(version, actions=output(version, "flood")), trace), object)
    names = [finding.rule for finding in trace]
    assert names[:3] == ["decode", "command", "flags"] and names[-2:] == ["buffer", "size"]
    assert all(finding.passed and finding.text for finding in trace)
    assert "VLAN 100" in next(finding.text for finding in trace if finding.rule == "match")
    trace.clear()
    vet_flow_mod(tagged(version), flow_mod(version, match_=match(version, vlan=200)), trace)
    assert trace[-1].rule == "match" and not trace[-1].passed and "VLAN 100" in trace[-1].text


def test_the_trace_tells_a_moved_priority_and_a_native_switch() -> None:
    trace: list[Finding] = []
    vet_flow_mod(tagged(V13), flow_mod(V13, priority=0xFFFF), trace)
    assert "priority 65534" in next(finding.text for finding in trace if finding.rule == "match")
    trace.clear()
    vet_flow_mod(native(V13), flow_mod(V13, "delete"), trace)
    assert "all of it" in next(finding.text for finding in trace if finding.rule == "match")


# Every rule's fault, in the order of the chain: of two faults in one message, the earlier answers.
FAULTS10 = [
    ("length", errors.BAD_LENGTH), ("command", errors.FLOW_COMMAND), ("flags", errors.FLOW_FLAGS),
    ("vlan", errors.FOREIGN_VLAN), ("vendor", errors.ACTION_EXPERIMENTER), ("buffer", errors.BUFFER_ID),
]  # fmt: skip
FAULTS13 = [
    ("length", errors.BAD_LENGTH), ("prerequisite", errors.MATCH_PREREQ), ("command", errors.FLOW_COMMAND),
    ("flags", errors.FLOW_FLAGS), ("table", errors.TABLE_ID), ("vlan", errors.FOREIGN_VLAN),
    ("vendor", errors.ACTION_EXPERIMENTER), ("buffer", errors.BUFFER_ID),
]  # fmt: skip


def faulty(version: int, faults: set[str]) -> bytes:
    fields = {}
    if "vlan" in faults:
        fields["vlan"] = 200
    if "prerequisite" in faults:
        fields["tcp_dst"] = 80
    data = flow_mod(
        version,
        5 if "command" in faults else "add",
        match(version, **fields),
        VENDOR if "vendor" in faults else output(version, 2),
        table=9 if "table" in faults else 0,
        flags=0x40 if "flags" in faults else 0,
        buffer_id=5 if "buffer" in faults else 0xFFFFFFFF,
    )
    if "length" in faults:
        data = message(version, "flow_mod", data[8:40])
    return data


@pytest.mark.parametrize(("version", "faults"), [(V10, FAULTS10), (V13, FAULTS13)])
def test_the_first_fault_answers(version: int, faults: list[tuple[str, Reason]]) -> None:
    for index, (name, reason) in enumerate(faults):
        assert refused(tagged(version), faulty(version, {name})).reason is reason
        for later, _ in faults[index + 1 :]:
            assert refused(tagged(version), faulty(version, {name, later})).reason is reason, (name, later)


@pytest.mark.parametrize(
    ("version", "body", "reason"),
    [
        (V10, struct.pack("!HH4x", 12, 8), errors.ACTION_TYPE),
        (V10, VENDOR, errors.ACTION_EXPERIMENTER),
        (V10, struct.pack("!HH4x", 0, 16), errors.ACTION_LENGTH),
        (V10, output(V10, 2) + b"junk", errors.BAD_LENGTH),
        (V13, instruction(9, bytes(4)), errors.INSTRUCTION_TYPE),
        (V13, instruction(0xFFFF, bytes(4)), errors.INSTRUCTION_EXPERIMENTER),
        (V13, apply_actions(b"") + apply_actions(b""), errors.INSTRUCTION_DUPLICATE),
        (V13, instruction(5, bytes(12)), errors.INSTRUCTION_LENGTH),
        (V13, apply_actions(struct.pack("!HH4x", 1, 8)), errors.ACTION_TYPE),
        (V13, apply_actions(bytes.fromhex("001900100001080210c8000000000000")),
         errors.SET_FIELD_TYPE),
        (V13, apply_actions(bytes.fromhex("0019001080000c020064000000000001")), errors.SET_FIELD_FORM),
        (V13, goto_table(1) + b"junk", errors.BAD_LENGTH),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(version: int, body: bytes, reason: Reason) -> None:
    base = flow_mod(version, instructions=b"")
    data = message(version, "flow_mod", base[8:] + body)
    assert refused(tagged(version), data).reason is reason
    rule = refused(tagged(version), data).rule
    assert rule == "decode" or rule in ("actions", "instructions")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("command", "adds"), [("add", 1), ("modify", 1), ("modify_strict", 1), ("delete", 0),
                                               ("delete_strict", 0)])  # fmt: skip
def test_a_delete_has_no_actions_and_no_buffer(version: int, command: str, adds: int) -> None:
    bad = flow_mod(version, command, actions=output(version, 4) + set_vlan(version, 200))
    junk = message(version, "flow_mod", flow_mod(version, command)[8:] + b"\xff" * 12)
    buffer = flow_mod(version, command, actions=output(version, 2), buffer_id=0)
    if adds:
        assert refused(tagged(version), bad).reason is errors.FOREIGN_OUT_PORT
        assert refused(tagged(version), junk).reason.of13 in ((1, 6), (2, 1), (3, 7))
        assert refused(tagged(version), buffer).reason is errors.BUFFER_ID
    else:
        for data in (bad, junk, buffer):
            change = allowed(tagged(version), data)
            assert change.deletes and change.body == b"" and not change.floods


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["add", "modify", "modify_strict", "delete", "delete_strict"])
def test_a_foreign_vlan_or_port_is_refused_whatever_is_done_with_it(version: int, command: str) -> None:
    data = flow_mod(version, command, match(version, vlan=200))
    assert refused(tagged(version), data).reason is errors.FOREIGN_VLAN
    data = flow_mod(version, command, match(version, in_port=4))
    assert refused(tagged(version), data).reason is errors.FOREIGN_IN_PORT


@pytest.mark.parametrize("version", VERSIONS)
def test_a_delete_by_port_is_not_judged_by_that_port(version: int) -> None:
    change = allowed(tagged(version), flow_mod(version, "delete", out_port=4))
    assert change.out_port == 4
    if version == V13:
        change = allowed(tagged(V13), flow_mod(V13, "delete", out_group=9))
        assert change.out_port is None and change.out_group == 9


def test_a_cookie_mask_counts_only_where_it_selects() -> None:
    assert allowed(tagged(V13), flow_mod(V13, "add", cookie_mask=0xFF)).cookie_mask == 0
    assert allowed(tagged(V13), flow_mod(V13, "modify", cookie_mask=0xFF)).cookie_mask == 0xFF
    assert allowed(tagged(V13), flow_mod(V13, "delete", cookie_mask=0xFF)).cookie_mask == 0xFF


@pytest.mark.parametrize(
    ("flags", "idle", "hard", "reason"),
    [(0, 0, 0, None), (1, 0, 0, None), (3, 9, 9, None), (8, 0, 0, errors.FLOW_FLAGS),
     (4, 0, 0, errors.EMERGENCY_FLOW), (4, 1, 0, errors.EMERGENCY_TIMEOUT), (4, 0, 1, errors.EMERGENCY_TIMEOUT)],
)  # fmt: skip
def test_flags_1_0(flags: int, idle: int, hard: int, reason: Reason | None) -> None:
    data = flow_mod(V10, flags=flags, idle=idle, hard=hard)
    if reason is None:
        assert allowed(tagged(V10), data).flags == flags
    else:
        assert refused(tagged(V10), data).reason is reason


def test_flags_1_3() -> None:
    assert allowed(tagged(V13), flow_mod(V13, flags=31)).flags == 31
    assert refused(tagged(V13), flow_mod(V13, flags=32)).reason is errors.FLOW_FLAGS


@pytest.mark.parametrize(
    ("command", "table", "good"),
    [("add", 3, True), ("add", 4, False), ("add", 255, False), ("modify", 255, False), ("modify_strict", 4, False),
     ("delete", 3, True), ("delete", 255, True), ("delete", 254, False), ("delete_strict", 255, True)],
)  # fmt: skip
def test_tables(command: str, table: int, good: bool) -> None:
    data = flow_mod(V13, command, table=table)
    if good:
        assert allowed(tagged(V13), data).table == table
    else:
        assert refused(tagged(V13), data).reason is errors.TABLE_ID


@pytest.mark.parametrize(
    ("version", "fields", "table", "guarded", "physical"),
    [
        (V10, {}, 0, True, 0xFFFE),
        (V10, {}, 0, False, 0xFFFF),
        (V10, {"in_port": 1}, 0, True, 0xFFFF),
        (V13, {}, 0, True, 0xFFFE),
        (V13, {}, 0, False, 0xFFFF),
        (V13, {}, 1, True, 0xFFFF),
        (V13, {"in_port": 1}, 0, True, 0xFFFF),
        (V13, {"in_port": "controller"}, 0, True, 0xFFFF),
    ],
)
def test_a_slice_does_not_tie_with_the_guards(
    version: int, fields: dict[str, int], table: int, guarded: bool, physical: int
) -> None:
    data = flow_mod(version, match_=match(version, **fields), priority=0xFFFF, table=table)
    change = allowed(tagged(version, guarded=guarded), data)
    assert (change.priority, change.virtual_priority) == (physical, 0xFFFF)
    lower = flow_mod(version, match_=match(version, **fields), priority=0xFFFE, table=table)
    assert allowed(tagged(version, guarded=guarded), lower).priority == 0xFFFE


def test_on_a_native_switch_an_empty_match_does_not_tie_with_the_guards_either() -> None:
    for version in VERSIONS:
        assert allowed(native(version), flow_mod(version, priority=0xFFFF)).priority == 0xFFFE


EXACT = {"in_port": 1, "eth_src": 1, "eth_dst": 2, "eth_type": 0x800, "nw_tos": 0, "ip_proto": 17, "ipv4_src": 3,
         "ipv4_dst": 4, "tp_src": 5, "tp_dst": 6}  # fmt: skip


@pytest.mark.parametrize(
    ("grant", "fields", "physical"),
    [
        (tagged(V10), {**EXACT, "vlan": 100, "vlan_pcp": 0}, 0xFFFF),
        (tagged(V10), {**EXACT, "vlan_pcp": 0}, 0xFFFF),
        (tagged(V10), {**EXACT, "vlan": 100}, 5),
        (transparent(V10), {**EXACT, "vlan": "none", "vlan_pcp": 0}, 0xFFFF),
        (transparent(V10), {**EXACT, "vlan": "none"}, 5),
        (native(V10), {**EXACT, "vlan": "none", "vlan_pcp": 0}, 0xFFFF),
    ],
)
def test_an_exact_match_of_1_0_has_the_highest_priority(grant: Grant, fields: dict[str, int], physical: int) -> None:
    change = allowed(grant, flow_mod(V10, match_=match(V10, **fields), priority=5))
    assert (change.priority, change.virtual_priority) == (physical, 5)


@pytest.mark.parametrize("version", VERSIONS)
def test_flood_leaves_out_the_port_the_flow_matches(version: int) -> None:
    change = allowed(tagged(version), flow_mod(version, match_=match(version, in_port=2),
                                               actions=output(version, "flood")))  # fmt: skip
    body = output(version, 1) + output(version, 3)
    assert change.floods and change.body == (body if version == V10 else apply_actions(body))


def test_lists_that_outgrow_a_message_are_refused() -> None:
    ports = frozenset(range(1, 3001))
    grant = tagged(V13, ports=ports)
    flood = apply_actions(output(V13, "flood"))
    assert len(allowed(grant, flow_mod(V13, instructions=flood)).body) == 8 + 16 * 3000
    assert refused(grant, flow_mod(V13, actions=2 * output(V13, "flood"))).reason is errors.TOO_MANY_ACTIONS
    both = flood + write_actions(1100 * struct.pack("!HHI8x", 0x19, 16, 0x80001A02))
    refusal = refused(grant, flow_mod(V13, instructions=both))
    assert (refusal.rule, refusal.reason) == ("size", errors.TOO_MANY_ACTIONS)
    grant = tagged(V10, ports=frozenset(range(1, 9001)))
    assert refused(grant, flow_mod(V10, actions=output(V10, "flood"))).reason is errors.TOO_MANY_ACTIONS


def test_actions_are_judged_in_every_table() -> None:
    data = flow_mod(V13, table=1, instructions=apply_actions(push_vlan()) + goto_table(2))
    assert refused(tagged(V13), data).reason is errors.VLAN_ACTION
    assert refused(tagged(V13), flow_mod(V13, actions=group(1))).reason is errors.UNKNOWN_GROUP


@pytest.mark.parametrize("version", VERSIONS)
def test_local_is_a_port_like_others_when_granted(version: int) -> None:
    grant = tagged(version, ports=frozenset((1, LOCAL[version])))
    change = allowed(grant, flow_mod(version, match_=match(version, in_port="local"), actions=output(version, 1)))
    assert exact_in_port(change) == LOCAL[version]


def test_without_an_in_port_a_flow_has_none() -> None:
    for version in VERSIONS:
        assert exact_in_port(allowed(tagged(version), flow_mod(version))) is None


def test_fields_are_written_in_ascending_order() -> None:
    scattered = match(V13, tcp_dst=80, ip_proto=6, eth_type=0x800, in_port=1)
    change = allowed(tagged(V13), flow_mod(V13, match_=scattered))
    assert change.match == match(V13, in_port=1, eth_type=0x800, vlan_vid=0x1064, ip_proto=6, tcp_dst=80)


def test_in_port_controller_is_where_packet_outs_come_from() -> None:
    change = allowed(tagged(V13), flow_mod(V13, match_=match(V13, in_port="controller")))
    assert exact_in_port(change) == v13.CONTROLLER
