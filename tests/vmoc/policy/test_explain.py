"""Explanations: they say what the policy does, in its order, and assume no more than they are told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.policy_messages import flow_mods, grants, packet_outs
from tests.vmoc.policy.grants import LOCAL, V10, V13, VERSIONS, native, tagged, transparent
from vmoc import errors
from vmoc.model import Attachment, Policy, Presentation, Segment
from vmoc.openflow import header, names
from vmoc.openflow.text.flow import parse_flow, parse_packet_out
from vmoc.openflow.text.group import parse_group, parse_meter
from vmoc.policy.explain import NotExplained, assumed_grant, explain, named_ports
from vmoc.policy.flowmod import RULES10, RULES13, vet_flow_mod
from vmoc.policy.packetout import RULES, vet_packet_out
from vmoc.policy.verdict import Refusal

FRAME = "02000000000102000000000281000064" + "0800" + "00" * 46


@pytest.mark.parametrize("version", VERSIONS)
def test_an_allowed_flow_meets_every_rule_and_is_shown_as_the_switch_gets_it(version: int) -> None:
    told = explain(tagged(version), parse_flow("priority=5,in_port=1,actions=FLOOD", version))
    assert told.allowed and told.error is None and told.error_name == "" and told.message == "FLOW_MOD"
    rules = RULES10 if version == V10 else RULES13
    assert [finding.rule for finding in told.findings] == [name for name, _ in rules]
    assert all(finding.passed and finding.text for finding in told.findings)
    assert (
        told.text
        == {
            V10: "add priority=5,send_flow_rem,in_port=1,dl_vlan=100,actions=output:2,output:3",
            V13: "add table=0,priority=5,send_flow_rem,in_port=1,vlan_vid=0x1064,actions=output:2,output:3",
        }[version]
    )
    assert told.physical == parse_flow(told.text, version)
    assert any("FLOOD" in note for note in told.notes)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_flow_ends_with_the_rule_that_refuses_it(version: int) -> None:
    told = explain(tagged(version), parse_flow("dl_vlan=200,actions=output:9", version))
    assert not told.allowed and told.reason is errors.FOREIGN_VLAN
    assert [finding.passed for finding in told.findings] == [True] * (len(told.findings) - 1) + [False]
    assert told.findings[-1].rule == "match" and told.findings[-1].text == told.detail
    assert told.error == errors.FOREIGN_VLAN.error(version)
    assert told.error_name.startswith("FLOW_MOD_FAILED/EPERM")
    assert (told.physical, told.text, told.notes) == (b"", "", ())


@pytest.mark.parametrize(
    ("grant", "text"),
    [
        (transparent(V13), "add table=0,send_flow_rem,vlan_vid=0x1064,actions=output:1"),
        (native(V13), "add table=0,send_flow_rem,actions=output:1"),
        (transparent(V10), "add send_flow_rem,dl_vlan=100,actions=output:1"),
        (native(V10), "add send_flow_rem,actions=output:1"),
    ],
)
def test_the_view_decides_what_is_added(grant: object, text: str) -> None:
    told = explain(grant, parse_flow("actions=1", grant.version))  # type: ignore[attr-defined, arg-type]
    assert told.text == text


def test_a_delete_carries_no_actions_and_says_who_selects() -> None:
    told = explain(tagged(V13), parse_flow("delete out_port=2,in_port=1", V13))
    assert told.text == "delete table=255,in_port=1,vlan_vid=0x1064"
    assert told.notes and "out_port" in told.notes[0]
    assert not explain(tagged(V13), parse_flow("delete in_port=1", V13)).notes
    assert explain(tagged(V13), parse_flow("modify cookie=1/1,in_port=1,actions=1", V13)).notes


def test_a_1_0_modify_is_sent_flow_by_flow() -> None:
    told = explain(tagged(V10), parse_flow("modify in_port=1,actions=1", V10))
    assert told.text.startswith("modify ") and "modify_strict" in told.notes[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_packet_outs(version: int) -> None:
    told = explain(tagged(version), parse_packet_out(f"in_port=1,packet={FRAME},actions=ALL", version))
    assert told.allowed and [finding.rule for finding in told.findings] == [name for name, _ in RULES]
    assert told.text == f"in_port=1,packet={FRAME},actions=output:2,output:3"
    told = explain(tagged(version), parse_packet_out(f"packet={FRAME},actions=9", version))
    assert told.reason is errors.FOREIGN_OUT_PORT and told.error == (2, 4)


def test_groups_and_meters() -> None:
    grant = tagged(V13, groups={7: 0x100007}, meters={3: 5})
    told = explain(grant, parse_group("group_id=1,type=all,bucket=output:2,bucket=group:7"))
    assert told.allowed and told.message == "GROUP_MOD"
    assert told.text == "add group_id=1,type=all,bucket=actions=output:2,bucket=actions=group:1048583"
    assert told.physical == parse_group(told.text) and "id" in told.notes[0]
    assert explain(grant, parse_group("group_id=1,type=all,bucket=NORMAL")).reason is errors.FOREIGN_OUT_PORT
    assert explain(grant, parse_group("delete group_id=7")).text == "delete group_id=7"
    told = explain(grant, parse_meter("meter=4,kbps,band=type=drop,rate=9"))
    assert told.text == "add meter=4,kbps,band=type=drop,rate=9" and told.physical == parse_meter(told.text)
    assert explain(grant, parse_meter("meter=controller,kbps")).reason is errors.METER_INVALID
    assert explain(grant, parse_flow("actions=meter:3,group:7", V13)).text.endswith("meter:5,group:1048583")


@pytest.mark.parametrize(
    ("message", "reason", "rule"),
    [
        (b"", errors.BAD_LENGTH, "frame"),
        (b"\x04\x0e\x00", errors.BAD_LENGTH, "frame"),
        (b"\x04\x0e\x00\x10\x00\x00\x00\x00", errors.BAD_LENGTH, "frame"),
        (b"\x05\x0e\x00\x08\x00\x00\x00\x00", errors.BAD_VERSION, "version"),
        (b"\x04\x0e\x00\x08\x00\x00\x00\x00", errors.BAD_LENGTH, "decode"),
        (b"\x04\x63\x00\x08\x00\x00\x00\x00", errors.BAD_TYPE, "type"),
        (b"\x04\x06\x00\x08\x00\x00\x00\x00", errors.BAD_TYPE, "type"),
    ],
)
def test_what_is_no_message_of_a_controller(message: bytes, reason: errors.Reason, rule: str) -> None:
    told = explain(tagged(V13), message)
    assert told.reason is reason and [(finding.rule, finding.passed) for finding in told.findings] == [(rule, False)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_type_is_explained_refused_or_said_to_be_another_matter(version: int) -> None:
    other, refused = set(), set()
    for kind in range(35):
        name = names.message_name(version, kind)
        try:
            told = explain(tagged(version), header.message(version, kind, 0))
        except NotExplained:
            other.add(name)
        else:
            assert not told.allowed
            if told.reason is errors.BAD_TYPE:
                refused.add(name)
    assert {"HELLO", "BARRIER_REQUEST", "PORT_MOD", "SET_CONFIG"} <= other
    assert {"PACKET_IN", "FEATURES_REPLY", "BARRIER_REPLY", "FLOW_REMOVED", "TYPE_34"} <= refused
    assert not {"FLOW_MOD", "PACKET_OUT", "GROUP_MOD", "METER_MOD"} & (other | refused)
    with pytest.raises(NotExplained, match=r"^HELLO is answered or passed on"):
        explain(tagged(version), header.message(version, header.HELLO, 0))


@settings(max_examples=150)
@given(st.data())
def test_it_says_what_the_policy_does(data: st.DataObject) -> None:
    grant = data.draw(grants())
    message = data.draw(st.one_of(flow_mods(grant), packet_outs(grant)))
    vet = vet_flow_mod if message[1] == header.FLOW_MOD else vet_packet_out
    verdict, told = vet(grant, message), explain(grant, message)
    assert told.allowed == (not isinstance(verdict, Refusal))
    if isinstance(verdict, Refusal):
        assert (told.reason, told.detail, told.error) == (verdict.reason, verdict.detail, verdict.error(grant.version))
        assert told.findings[-1].rule == verdict.rule and not told.findings[-1].passed
    else:
        assert told.text and told.physical[:2] == message[:2]
        assert all(finding.passed for finding in told.findings)


# -- what is assumed about a switch that is not there ------------------------------------------------

EVERYWHERE = Segment(100)
QUEUES = {2: frozenset((7,)), 9: frozenset((7,))}


@pytest.mark.parametrize("version", VERSIONS)
def test_listed_ports_exist_unless_the_switch_is_known(version: int) -> None:
    attachment = Attachment(1, frozenset((1, 2, LOCAL[V13])), QUEUES)
    grant = assumed_grant(EVERYWHERE, attachment, version, ports=(), complete=False)
    assert grant.ports == {1, 2, LOCAL[version]} and grant.queues == {2: frozenset((7,))} and grant.guarded
    grant = assumed_grant(EVERYWHERE, attachment, version, ports=(2, 3), complete=True)
    assert grant.ports == {2} and grant.guarded


@pytest.mark.parametrize("version", VERSIONS)
def test_all_ports_are_those_the_switch_has_without_local(version: int) -> None:
    grant = assumed_grant(EVERYWHERE, Attachment(1), version, ports=(1, 2, LOCAL[version]), complete=True)
    assert grant.ports == {1, 2} and grant.guarded and not grant.hides_tag and not grant.native


@pytest.mark.parametrize("version", VERSIONS)
def test_no_guards_where_every_port_is_the_slices(version: int) -> None:
    attachment = Attachment(1, frozenset((1, LOCAL[V13])))
    assert not assumed_grant(EVERYWHERE, attachment, version, ports=(1, LOCAL[version]), complete=True).guarded
    assert assumed_grant(EVERYWHERE, attachment, version, ports=(1,), complete=False).guarded


def test_a_port_that_1_0_cannot_name_is_not_there() -> None:
    attachment = Attachment(1, frozenset((1, 0x12345)))
    assert assumed_grant(EVERYWHERE, attachment, V10, ports=(), complete=False).ports == {1}


def test_views_tables_and_ids() -> None:
    hidden = Segment(100, presentation=Presentation.TRANSPARENT)
    one = assumed_grant(hidden, Attachment(1), V13, ports=(1,), complete=True, tables=9, groups=(4,), meters=(5,))
    assert (one.hides_tag, one.native, one.n_tables) == (True, False, 9)
    assert (dict(one.groups), dict(one.meters)) == ({4: 4}, {5: 5})
    few = Policy(max_tables=3)
    two = assumed_grant(EVERYWHERE, Attachment(1), V13, ports=(), complete=True, native=True, tables=9, policy=few)
    assert (two.hides_tag, two.native, two.n_tables, two.policy) == (True, True, 3, few)
    old = assumed_grant(EVERYWHERE, Attachment(1), V10, ports=(), complete=True, tables=9, groups=(4,), meters=(5,))
    assert (old.n_tables, dict(old.groups), dict(old.meters)) == (1, {}, {})


@pytest.mark.parametrize(
    ("message", "ports"),
    [
        (parse_flow("in_port=1,actions=2,3,FLOOD,enqueue:4:1", V10), {1, 2, 3, 4}),
        (parse_flow("actions=LOCAL", V10), set()),
        (parse_flow("in_port=1,in_phy_port=5,actions=2,write_actions(output:3),goto_table:1", V13), {1, 2, 3, 5}),
        (parse_packet_out("in_port=1,actions=2,TABLE", V10), {1, 2}),
        (parse_packet_out("in_port=1,packet=00,actions=2,TABLE", V13), {1, 2}),
        (parse_group("group_id=1,type=ff,bucket=watch_port:1,2,bucket=output:3"), {1, 2, 3}),
        (parse_meter("meter=1"), set()),
        (b"", set()),
        (b"\x04", set()),
        (b"\x04\x0e\x00\x08\x00\x00\x00\x00", set()),
        (b"\x01\x0d\x00\x10" + bytes(10) + b"\x00\xff", set()),
        (b"\x01\x0d\x00\x08\x00\x00\x00\x00", set()),
    ],
)
def test_the_ports_a_message_names(message: bytes, ports: set[int]) -> None:
    assert named_ports(message) == ports
