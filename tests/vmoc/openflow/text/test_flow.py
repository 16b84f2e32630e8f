"""Flows and packets as text: hand-written lines both ways, the same as ovs-ofctl reads them, and every complaint."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulation.actions import output
from tests.emulation.build import flow_mod
from tests.emulation.match import match
from tests.property.policy_messages import flow_mods, grants, packet_outs
from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v13
from vmoc.openflow.text.flow import format_flow, format_packet_out, parse_flow, parse_packet_out
from vmoc.openflow.text.values import TextError
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v10 import flow as f10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.policy.flowmod import FlowChange
from vmoc.policy.flowmod import vet_flow_mod as vet
from vmoc.policy.packetout import PacketOut, vet_packet_out

V10, V13 = 1, 4
OFCTL = shutil.which("ovs-ofctl") or "ovs-ofctl"

# As it is written back, word by word: the canonical form of each line.
CANONICAL: list[tuple[int, str]] = [
    (V10, "add actions=drop"),
    (V10, "add cookie=0x5,priority=7,idle_timeout=3,hard_timeout=9,send_flow_rem,check_overlap,actions=output:2"),
    (V10, "add in_port=1,dl_vlan=100,dl_vlan_pcp=3,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,actions=FLOOD"),
    (V10, ("add in_port=LOCAL,dl_vlan=0xffff,dl_type=0x0800,nw_src=10.0.0.0/8,nw_dst=10.0.0.1,nw_proto=6,nw_tos=32,"
          "tp_src=80,tp_dst=443,actions=CONTROLLER:128")),
    (V10, "add dl_type=0x0806,nw_src=10.0.0.1,nw_proto=1,actions=IN_PORT,LOCAL,ALL,NORMAL,TABLE,output:NONE"),
    (V10, ("add actions=mod_vlan_vid:5,mod_vlan_pcp:3,strip_vlan,mod_dl_src:02:00:00:00:00:01,"
          "mod_dl_dst:02:00:00:00:00:02,mod_nw_src:10.0.0.1,mod_nw_dst:10.0.0.2,mod_nw_tos:32,mod_tp_src:1,"
          "mod_tp_dst:2,enqueue:2:7")),
    (V10, "modify in_port=1,actions=output:1"),
    (V10, "modify_strict priority=32768,in_port=1,actions=output:1"),
    (V10, "delete out_port=3,dl_vlan=100"),
    (V10, "delete_strict priority=9,dl_vlan=0x10c8"),
    (V13, "add table=0,actions=drop"),
    (V13, ("add table=1,cookie=0x5,priority=7,idle_timeout=3,hard_timeout=9,send_flow_rem,check_overlap,reset_counts,"
          "no_packet_counts,no_byte_counts,actions=output:2")),
    (V13, ("add table=0,in_port=1,eth_dst=02:00:00:00:00:02,eth_src=02:00:00:00:00:00/ff:ff:ff:00:00:00,eth_type=0x800,"
          "vlan_vid=0x1064,vlan_pcp=3,ip_dscp=8,ip_ecn=1,ip_proto=6,ip_src=10.0.0.0/255.0.0.0,ip_dst=10.0.0.1,"
          "tcp_src=80,tcp_dst=443,actions=CONTROLLER:65535")),
    (V13, "add table=0,metadata=0x5/0xff,vlan_vid=0x1000/0x1000,tunnel_id=0x7,actions=clear_actions"),
    (V13, ("add table=0,eth_type=0x806,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01,"
          "arp_tha=02:00:00:00:00:02,actions=FLOOD")),
    (V13, ("add table=0,eth_type=0x86dd,ip_proto=58,ipv6_src=fe80::/ffff::,ipv6_dst=fe80::1,ipv6_label=5/15,"
          "icmpv6_type=135,icmpv6_code=0,nd_target=fe80::2,nd_sll=02:00:00:00:00:01,actions=ALL")),
    (V13, ("add table=0,actions=meter:3,set_field:02:00:00:00:00:01->eth_dst,set_field:4197->vlan_vid,set_queue:7,"
          "group:5,push_vlan:0x8100,pop_vlan,push_mpls:0x8847,pop_mpls:0x0800,mod_nw_ttl:9,dec_ttl,set_mpls_ttl:4,"
          "dec_mpls_ttl,copy_ttl_in,copy_ttl_out,output:1,clear_actions,"
          "write_actions(set_field:10.0.0.1->ip_dst,output:2),write_metadata:0x1/0xff,goto_table:3")),
    (V13, "modify table=2,cookie=0x1/0xff,in_port=CONTROLLER,actions=IN_PORT"),
    (V13, "delete table=255,out_port=3,out_group=7,eth_type=0x800"),
    (V13, "delete_strict table=3,priority=32768,eth_type=0x800"),
    (V10, "delete in_port=1,actions=output:2"),  # of no effect, and shown
    (V13, "delete table=255,actions=output:1,goto_table:3"),
]  # fmt: skip

# Other ways to write it: all words of ovs-ofctl that have a shorter, older or newer sibling.
SAME: list[tuple[int, str, str]] = [
    (V10, "actions=2", "add actions=output:2"),
    (V10, "tcp in_port=1 action=2 3", "add in_port=1,dl_type=0x0800,nw_proto=6,actions=output:2,output:3"),
    (V10, "table=0,actions=controller", "add actions=CONTROLLER:65535"),
    (V10, "actions=controller(max_len=64)", "add actions=CONTROLLER:64"),
    (V10, "arp,arp_spa=10.0.0.1,arp_op=2,actions=drop", "add dl_type=0x0806,nw_src=10.0.0.1,nw_proto=2,actions=drop"),
    (V10, "udp,eth_src=2:0:0:0:0:1,udp_dst=53,ip_src=1.2.3.4/0,actions=drop",
     "add dl_src=02:00:00:00:00:01,dl_type=0x0800,nw_proto=17,tp_dst=53,actions=drop"),
    (V10, "icmp,icmp_type=8,icmp_code=0,actions=drop", "add dl_type=0x0800,nw_proto=1,tp_src=8,tp_dst=0,actions=drop"),
    (V10, "delete", "delete "),
    (V10, " cookie=0x1, duration=1.5s, table=0, n_packets=3, n_bytes=180, idle_age=4, priority=3,ip actions=output:1",
     "add cookie=0x1,priority=3,dl_type=0x0800,actions=output:1"),
    (V13, "actions=2", "add table=0,actions=output:2"),
    (V13, "dl_vlan=100,actions=drop", "add table=0,vlan_vid=0x1064,actions=drop"),
    (V13, "dl_vlan=0xffff,actions=drop", "add table=0,vlan_vid=0x0,actions=drop"),
    (V13, "dl_vlan_pcp=3,actions=drop", "add table=0,vlan_vid=0x1000/0x1000,vlan_pcp=3,actions=drop"),
    (V13, "dl_vlan_pcp=3,dl_vlan=5,actions=drop", "add table=0,vlan_vid=0x1005,vlan_pcp=3,actions=drop"),
    (V13, "tp_dst=80,tcp,nw_src=10.1.2.3/8,nw_tos=32,actions=drop",
     "add table=0,eth_type=0x800,ip_dscp=8,ip_proto=6,ip_src=10.0.0.0/255.0.0.0,tcp_dst=80,actions=drop"),
    (V13, "arp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_proto=1,actions=drop",
     "add table=0,eth_type=0x806,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,actions=drop"),
    (V13, "ip,nw_proto=17,tp_src=53,actions=drop", "add table=0,eth_type=0x800,ip_proto=17,udp_src=53,actions=drop"),
    (V13, "sctp6,tp_src=53,actions=drop", "add table=0,eth_type=0x86dd,ip_proto=132,sctp_src=53,actions=drop"),
    (V13, "icmp6,icmp_type=128,actions=drop", "add table=0,eth_type=0x86dd,ip_proto=58,icmpv6_type=128,actions=drop"),
    (V13, "icmp,icmp_code=0,actions=drop", "add table=0,eth_type=0x800,ip_proto=1,icmp_code=0,actions=drop"),
    (V13, "actions=mod_dl_src:2:0:0:0:0:1,mod_nw_dst:10.0.0.2,mod_vlan_vid:5,mod_vlan_pcp:1,strip_vlan,mod_nw_tos:4",
     ("add table=0,actions=set_field:02:00:00:00:00:01->eth_src,set_field:10.0.0.2->ip_dst,set_field:4101->vlan_vid,"
     "set_field:1->vlan_pcp,pop_vlan,set_field:1->ip_dscp")),
    (V13, "actions=goto_table:3,output:1,meter:2,apply_actions(output:2)",
     "add table=0,actions=meter:2,output:1,output:2,goto_table:3"),
    (V13, "actions=write_metadata:5", "add table=0,actions=write_metadata:0x5/0xffffffffffffffff"),
    (V13, "modify cookie=1/-1 actions=drop", "modify table=0,cookie=0x1/0xffffffffffffffff,actions=drop"),
    (V13, "delete", "delete table=255"),
    (V13, "delete out_group=4294967295", "delete table=255"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "line"), CANONICAL)
def test_there_and_back(version: int, line: str) -> None:
    message = parse_flow(line, version)
    assert message[:2] == bytes((version, 14)) and int.from_bytes(message[2:4], "big") == len(message)
    assert format_flow(message) == line


@pytest.mark.parametrize(("version", "line", "canonical"), SAME)
def test_other_words_for_the_same(version: int, line: str, canonical: str) -> None:
    assert format_flow(parse_flow(line, version)) == canonical
    assert parse_flow(canonical, version) == parse_flow(line, version)


def test_the_bytes_are_those_of_another_writer() -> None:
    line = "priority=9,idle_timeout=5,in_port=1,ip,nw_dst=10.0.0.1,actions=3"
    for version, table in ((V10, 0), (V13, 0), (V13, 1)):
        fields = match(version, in_port=1, eth_type=0x0800, ipv4_dst=0x0A000001)
        theirs = flow_mod(
            version, "add", fields, output(version, 3, 0), xid=7, table=table, cookie=0, priority=9, idle=5
        )
        ours = parse_flow(f"table={table},{line}" if table else line, version, xid=7)
        if version == V10:  # 63 and 32 ignored bits of an address mean the same
            ours, theirs = ours[:8] + ours[12:], theirs[:8] + theirs[12:]
        assert ours == theirs


@pytest.mark.parametrize(
    ("version", "line", "said"),
    [
        (V10, "in_port=1", "actions= is missing"),
        (V10, "", "actions= is missing"),
        (V10, "frob=1,actions=drop", "frob: not a field of OpenFlow 1.0"),
        (V13, "frob=1,actions=drop", "frob: not a field of OpenFlow 1.3"),
        (V10, "vlan_vid=0x1064,actions=drop", "vlan_vid: not a field of OpenFlow 1.0"),
        (V10, "frob,actions=drop", "'frob' is neither field=value nor one of arp,"),
        (V10, "priority=x,actions=drop", "priority: 'x' is not a number"),
        (V10, "priority=65536,actions=drop", "priority: '65536' does not fit 16 bits"),
        (V10, "priority=1,priority=2,actions=drop", "priority: said twice"),
        (V10, "cookie=1/2,actions=drop", "cookie=1/2: OpenFlow 1.0 has no mask"),
        (V13, "cookie=y,actions=drop", "cookie: 'y' is not a number"),
        (V13, "modify cookie=1/y,actions=drop", "cookie mask: 'y' is not a number"),
        (V10, "idle_timeout=-1,actions=drop", "idle_timeout: '-1' is not"),
        (V10, "table=1,actions=drop", "table: OpenFlow 1.0 has none"),
        (V10, "delete out_group=1", "out_group: OpenFlow 1.0 has none"),
        (V10, "reset_counts,actions=drop", "reset_counts: not a flag of OpenFlow 1.0"),
        (V13, "delete out_group=any", "out_group: 'any' is not a number"),
        (V10, "in_port=eth0,actions=drop", "in_port: 'eth0' is not a number"),
        (V10, "dl_src=02:00:00:00:00:01/ff:ff:ff:00:00:00,actions=drop", "dl_src: OpenFlow 1.0 has no mask"),
        (V10, "ip,nw_src=10.0.0.1/255.0.255.0,actions=drop", "nw_src: OpenFlow 1.0 takes a prefix length"),
        (V10, "nw_src=10.0.0.1,actions=drop", "nw_src: a switch ignores it without ip or arp"),
        (V10, "ip,tp_dst=80,actions=drop", "tp_dst: a switch ignores it without tcp"),
        (V10, "nw_tos=32,arp,actions=drop", "nw_tos: a switch ignores it without ip"),
        (V10, "dl_vlan=0xffff,dl_vlan_pcp=0,actions=drop", "dl_vlan_pcp: a switch ignores it beside"),
        (V10, "dl_vlan_pcp=8,actions=drop", "dl_vlan_pcp: '8' does not fit 3 bits"),
        (V10, "ip,nw_tos=33,actions=drop", "nw_tos: 33 has bits of ECN"),
        (V13, "ip,nw_tos=33,actions=drop", "nw_tos: 33 has bits of ECN"),
        (V10, "tcp,udp,actions=drop", "udp: nw_proto is said twice"),
        (V13, "tcp,udp,actions=drop", "udp: ip_proto is said twice"),
        (V13, "vlan_vid=1,dl_vlan=2,actions=drop", "dl_vlan: vlan_vid is said twice"),
        (V13, "tp_src=1,tp_src=2,tcp,actions=drop", "tp_src: said twice"),
        (V13, "dl_vlan=4096,actions=drop", "dl_vlan: 4096 is not a VLAN; a raw value is vlan_vid=4096"),
        (V13, "tp_src=1,actions=drop", "tp_src: say tcp, udp or sctp as well"),
        (V13, "eth_src=02:00:00:00:00,actions=drop", "eth_src: '02:00:00:00:00' is not"),
        (V10, "actions=frob", "'frob' is not an action of OpenFlow 1.0"),
        (V13, "actions=frob:1", "'frob' is not an action of OpenFlow 1.3"),
        (V13, "actions=mod_tp_src:1", "'mod_tp_src' is not an action of OpenFlow 1.3"),
        (V10, "actions=output", "output needs an argument"),
        (V10, "actions=output:", "output needs an argument"),
        (V10, "actions=output:x", "output: 'x' is not a number"),
        (V10, "actions=99999", "output: '99999' does not fit 16 bits"),
        (V10, "actions=drop,2", "drop: a flow that drops does nothing else"),
        (V13, "actions=write_actions(drop,2)", "drop: a flow that drops does nothing else"),
        (V10, "actions=enqueue:1", "enqueue:1: write enqueue:PORT:QUEUE"),
        (V10, "actions=enqueue:1:x", "enqueue: 'x' is not a number"),
        (V10, "actions=mod_dl_src:1", "mod_dl_src: '1' is not"),
        (V10, "actions=mod_nw_src:1", "mod_nw_src: '1' is not"),
        (V10, "actions=mod_vlan_vid:x", "mod_vlan_vid: 'x' is not a number"),
        (V10, "actions=controller:x", "controller: 'x' is not a number"),
        (V13, "actions=set_field:1", "set_field:1: write set_field:VALUE->FIELD"),
        (V13, "actions=set_field:1->frob", "set_field:1->frob: write set_field:VALUE->FIELD"),
        (V13, "actions=set_field:x->tcp_src", "set_field: 'x' is not a number"),
        (V13, "actions=mod_vlan_vid:4096", "mod_vlan_vid: '4096' does not fit 12 bits"),
        (V13, "actions=mod_nw_tos:1", "mod_nw_tos:1: has bits of ECN"),
        (V13, "actions=goto_table:256", "goto_table: '256' does not fit 8 bits"),
        (V13, "actions=write_metadata:x", "write_metadata: 'x' is not a number"),
        (V13, "actions=meter:x", "meter: 'x' is not a number"),
        (V13, "actions=group", "group needs an argument"),
        (V13, "actions=write_actions(output:1", "unbalanced '('"),
        (V13, "actions=goto_table:1,goto_table:2", "actions: a flow has each of goto_table, meter"),
        (V13, "actions=write_metadata:1,output:1,write_metadata:1", "actions: a flow has each of"),
        (V10, "actions=" + "2," * 9000, "actions: so many do not fit"),
        (V13, "actions=" + "2," * 9000, "actions: so many do not fit"),
    ],
)
def test_a_complaint_names_the_word(version: int, line: str, said: str) -> None:
    with pytest.raises(TextError) as raised:
        parse_flow(line, version)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


PACKETS: list[tuple[int, str]] = [
    (V10, "in_port=CONTROLLER,packet=,actions=drop"),
    (V10, "in_port=1,packet=0102030405,actions=mod_vlan_vid:5,output:2"),
    (V13, "in_port=ANY,packet=ffff,actions=set_field:4101->vlan_vid,TABLE"),
    (V13, "in_port=LOCAL,packet=,actions=drop"),
]


@pytest.mark.parametrize(("version", "line"), PACKETS)
def test_packet_outs_there_and_back(version: int, line: str) -> None:
    message = parse_packet_out(line, version, xid=5)
    assert message[:2] == bytes((version, 13)) and message[4:8] == b"\0\0\0\5"
    assert format_packet_out(message) == line


@pytest.mark.parametrize("version", [V10, V13])
def test_a_packet_out_that_is_shorter_than_its_actions_is_refused(version: int) -> None:
    message = parse_packet_out("in_port=1,packet=,actions=output:2", version)
    for end in range(8, len(message)):
        with pytest.raises(Refused) as refused:
            format_packet_out(message[:end])
        assert refused.value.reason is errors.BAD_LENGTH


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("packet=00", "actions= is missing"),
        ("packet=0,actions=2", "packet: '0'"),
        ("frob=1,actions=2", "'frob=1': a packet-out has"),
        ("in_port=x,actions=2", "in_port: 'x' is not a number"),
        ("packet=" + "00" * 65536 + ",actions=2", "actions: so many do not fit"),
    ],
)
@pytest.mark.parametrize("version", [V10, V13])
def test_a_complaint_about_a_packet_out_names_the_word(version: int, line: str, said: str) -> None:
    with pytest.raises(TextError) as raised:
        parse_packet_out(line, version)
    assert str(raised.value).startswith(said)


# -- whatever the policy lets pass can be written down and read again -----------------------------


def _plain(actions: list[tuple[object, ...]], version: int) -> list[tuple[object, ...]]:
    """Without max_len of outputs to ports: it means nothing, and the text has no place for it."""
    controller = 0xFFFD if version == V10 else v13.CONTROLLER
    return [(0, each[1], 0) if each[0] == 0 and each[1] != controller else each for each in actions]


def _plain_instructions(instructions: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """In the order of execution, without an apply-actions that applies nothing."""
    lists = (v13.APPLY_ACTIONS, v13.WRITE_ACTIONS)
    plain = [
        (each[0], _plain(each[1], V13)) if each[0] in lists else each  # type: ignore[arg-type]
        for each in instructions
        if each != (v13.APPLY_ACTIONS, [])
    ]
    order = (v13.METER, v13.APPLY_ACTIONS, v13.CLEAR_ACTIONS, v13.WRITE_ACTIONS, v13.WRITE_METADATA, v13.GOTO_TABLE)
    return sorted(plain, key=lambda each: order.index(each[0]))  # type: ignore[arg-type]


@settings(max_examples=150)
@given(st.data())
def test_every_vetted_flow_survives_the_text(data: st.DataObject) -> None:
    grant = data.draw(grants())
    verdict = vet(grant, data.draw(flow_mods(grant)))
    if not isinstance(verdict, FlowChange):
        return
    fields = {"cookie": 5, "idle": verdict.idle_timeout, "priority": verdict.priority, "flags": verdict.flags}
    if grant.version == V10:
        body = a10.pack(_plain(a10.parse(verdict.body, 0, len(verdict.body)), V10))
        message = f10.flow_mod(0, verdict.match, verdict.command, actions=body, **fields)
    else:
        parsed = a13.parse_instructions(verdict.body, 0, len(verdict.body))
        body = a13.pack_instructions(_plain_instructions(parsed))
        message = f13.flow_mod(0, verdict.match, verdict.command, table=verdict.table, instructions=body, **fields)
    line = format_flow(message)
    assert parse_flow(line, grant.version) == message, line


@settings(max_examples=100)
@given(st.data())
def test_every_vetted_packet_out_survives_the_text(data: st.DataObject) -> None:
    grant = data.draw(grants())
    verdict = vet_packet_out(grant, data.draw(packet_outs(grant)))
    if not isinstance(verdict, PacketOut):
        return
    reader = a10 if grant.version == V10 else a13
    verdict.actions = reader.pack(_plain(reader.parse(verdict.actions, 0, len(verdict.actions)), grant.version))
    message = verdict.message(0)
    line = format_packet_out(message)
    assert parse_packet_out(line, grant.version) == message, line


# -- the same as ovs-ofctl ----------------------------------------------------------------------------

NOT_IN_OVS = ("copy_ttl", "mod_nw_dst:10.0.0.2,mod_vlan_vid", "output:NONE", "meter:", "group:5")


def _ofctl(*arguments: str) -> str:
    done = subprocess.run([OFCTL, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.ovs
@pytest.mark.parametrize(
    ("version", "line"),
    [
        (version, line)
        for version, line in [*CANONICAL, *((version, line) for version, line, _ in SAME)]
        if not any(word in line for word in NOT_IN_OVS)
        and line.split(" ")[0] not in ("modify", "modify_strict", "delete", "delete_strict")
    ],
)
def test_ovs_ofctl_reads_the_line_as_we_do(version: int, line: str) -> None:
    protocol = "OpenFlow10" if version == V10 else "OpenFlow13"
    theirs = _ofctl("-O", protocol, "parse-flow", line.strip().removeprefix("add ")).splitlines()[-1]
    ours = _ofctl("ofp-print", parse_flow(line, version, xid=1).hex()).splitlines()[0]
    assert ours == theirs


@pytest.mark.ovs
@pytest.mark.parametrize(
    ("version", "line", "printed"),
    [
        (V10, "modify in_port=1,actions=output:1", "MOD in_port=1 actions=output:1"),
        (V10, "modify_strict in_port=1,actions=output:1", "MOD_STRICT in_port=1 actions=output:1"),
        (V10, "delete out_port=3,dl_vlan=100", "DEL dl_vlan=100 out_port:3 actions=drop"),
        (V13, "delete out_port=7,ip", "DEL table:255 ip out_port:7 actions=drop"),
        (V13, "delete_strict table=3,priority=5,ip", "DEL_STRICT table:3 priority=5,ip actions=drop"),
        (V13, "modify table=2,cookie=1/0xff,ip,actions=2", "MOD table:2 ip cookie:0x1/0xff actions=output:2"),
        (V13, "actions=meter:3,group:5", "ADD actions=meter:3,group:5"),
    ],
)
def test_ovs_ofctl_prints_what_was_meant(version: int, line: str, printed: str) -> None:
    assert _ofctl("ofp-print", parse_flow(line, version, xid=1).hex()).splitlines()[0].endswith(f": {printed}")


@pytest.mark.ovs
@pytest.mark.parametrize("version", [V10, V13])
def test_ovs_ofctl_prints_our_packet_out(version: int) -> None:
    printed = _ofctl("ofp-print", parse_packet_out("in_port=1,packet=" + "00" * 60 + ",actions=2", version).hex())
    assert "in_port=1 actions=output:2 data_len=60" in printed


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("vlan_vid=0x1064/0xffff", "vlan_vid=0x1064"),
        ("vlan_vid=0x1000/0xd000", "vlan_vid=0x1000/0x1000"),
        ("eth_src=02:00:00:00:00:01/ff:ff:ff:ff:ff:ff", "eth_src=02:00:00:00:00:01"),
        ("ipv6,ipv6_label=1/0xfff00001", "ipv6,ipv6_label=1/1"),
    ],
)
def test_bits_of_a_mask_that_the_field_has_not_are_left_out(written: str, meant: str) -> None:
    assert parse_flow(f"{written},actions=drop", 4) == parse_flow(f"{meant},actions=drop", 4)
