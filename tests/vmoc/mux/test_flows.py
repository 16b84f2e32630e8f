"""Flow-mods and the shadow: commands, cookies, quota (vetting A.4; vectors 145..173)."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import scene
from tests.vmoc.mux.shadow import X, Y, full, outputs, shown, table
from tests.vmoc.mux.tenants import ALICE, BOB, TINA, UMA, endpoint, with_limits, with_segment
from vmoc.mux.flows import LINGER

BOTH = pytest.mark.parametrize("version", [V10, V13])
# -- ADD -------------------------------------------------------------------------------------------------


@BOTH
def test_an_add_gets_vlan_tag_serial_and_flow_removed(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, idle=5, hard=10)
    a.add(2, eth_dst=X)
    first, second = switch.flow_mods()
    for mod in (first, second):
        assert (mod.command, mod.vlan, mod.flags & 1) == ("add", 100, 1)
    assert (first.idle, first.hard) == (5, 10)
    tag = first.cookie >> 48
    assert 1 <= tag <= 0xFFFD
    assert second.cookie >> 48 == tag
    assert first.cookie != second.cookie
    assert not a.inbox


@BOTH
def test_two_slices_with_the_same_flow(version: int):
    book, switch = scene(version)
    for name in ("alice", "bob", "tina", "uma"):
        book.at(name).add(2, eth_dst=X, flags=2)
    assert sorted(str(flow.vlan) for flow in switch.flows()) == ["100", "200", "300", "400"]
    assert len({flow.cookie >> 48 for flow in switch.flows()}) == 4


@BOTH
def test_the_quota_is_per_datapath_and_replacing_is_free(version: int):
    book, switch = scene(version)
    a, b = book.at("alice"), book.at("bob")
    for number in range(11):
        sent = a.add(2, eth_dst=number, xid=number)
    a.error(sent, full(version))
    assert len(switch.flows(100)) == 10
    a.add(3, eth_dst=4)
    assert not a.inbox
    b.add(2)
    assert not b.inbox
    a.add(command="delete", port=None, eth_dst=4)
    a.add(2, eth_dst=77)
    assert not a.inbox


@BOTH
def test_unlimited_flows(version: int):
    book, switch = scene(version, with_limits(ALICE, max_flows=0), BOB)
    a = book.at("alice")
    for number in range(300):
        a.add(2, eth_dst=number)
    assert len(switch.flows(100)) == 300


@BOTH
def test_the_priority_of_guards_is_not_shared(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add("controller", priority=65535, cookie=1)
    a.add(2, priority=65535, cookie=2, in_port=1)
    assert sorted(mod.priority for mod in switch.flow_mods()) == [65534, 65535]
    assert [(s.cookie, s.priority) for s in a.flow_stats()] == [(1, 65535), (2, 65535)]
    xid = a.add(2, priority=65534)
    a.error(xid, (3, 2) if version == V10 else (5, 4))
    a.add(3, priority=65535, cookie=3)
    assert sorted(s.cookie for s in a.flow_stats()) == [2, 3]
    a.add(None, command="delete_strict", priority=65535)
    assert [s.cookie for s in a.flow_stats()] == [2]


@BOTH
def test_the_second_time_by_the_full_chain_too(version: int):
    """65534 is refused whether a recipe is known for its shape or not."""
    book, _ = scene(version)
    a = book.at("alice")
    refused = (3, 2) if version == V10 else (5, 4)
    a.add(2, priority=65534, eth_dst=X)
    a.add(2, priority=65535, eth_dst=Y)
    for _ in range(2):
        a.add(2, priority=65534, eth_dst=Y)
        a.add(2, priority=65535, eth_dst=X)
        assert a.errors() == [refused] * 2


def test_an_exact_match_has_one_priority_only():
    book, switch = scene(V10)
    a = book.at("alice")
    link = {"in_port": 1, "eth_src": 1, "eth_dst": 2, "vlan_vid": 100, "vlan_pcp": 0, "eth_type": 0x800}
    udp = {
        "nw_tos": 0,
        "ip_proto": 17,
        "ipv4_src": "10.0.0.1",
        "ipv4_dst": "10.0.0.2",
        "tp_src": 1,
        "tp_dst": 2,
    }
    a.add(2, priority=5, cookie=1, **link, **udp)
    a.add(3, priority=9, cookie=2, **link, **udp)
    assert not a.inbox
    assert [flow.priority for flow in switch.flows(100)] == [65535]
    assert [(s.cookie, s.priority) for s in a.flow_stats()] == [(2, 9)]


@BOTH
def test_two_spellings_of_one_flow_are_one_entry(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, cookie=1)
    a.add(3, cookie=2, vlan=100)
    assert len(switch.flows(100)) == 1
    assert [(s.cookie, s.vlan) for s in a.flow_stats()] == [(2, 100)]


# -- DELETE (vectors 145..159) ---------------------------------------------------------------------------


def test_delete_all_in_1_0_puts_the_guards_back_before_anything_else():
    book, switch = scene(V10)
    a = book.at("alice")
    a.add(2)
    book.at("bob").add(2)
    before = switch.guards(100)
    book.clear()
    switch.hold("barrier_reply")
    a.add(None, command="delete", out_port="none")
    names = [(m.name) for m in switch.inbox]
    mods = [of.parse_flow_mod(m) for m in switch.inbox if m.name == "flow_mod"]
    assert names[: 1 + len(before)] == ["flow_mod"] * (1 + len(before))
    assert names[1 + len(before)] == "barrier_request"
    assert (mods[0].command, mods[0].vlan, mods[0].out_port) == ("delete", 100, 0xFFFF)
    assert {(m.command, m.match["in_port"][0], m.priority, m.actions) for m in mods[1 : 1 + len(before)]} == {
        ("add", port, 65535, b"") for port in before
    }
    assert switch.guards(100) == before
    assert not switch.flows(100) and len(switch.flows(200)) == 1
    switch.release()
    book.advance(2)
    assert switch.guards(100) == before


def test_delete_all_in_1_3_is_confined_by_the_tag():
    book, switch = scene(V13)
    a = book.at("alice")
    a.add(2, table=2)
    tag = switch.flows(100)[0].cookie >> 48
    book.clear()
    a.add(None, command="delete", table=255)
    (mod,) = switch.flow_mods()
    assert (mod.command, mod.table, mod.vlan) == ("delete", 255, 100)
    assert (mod.cookie, mod.cookie_mask) == (tag << 48, 0xFFFF << 48)
    assert mod.actions == b""
    assert not switch.flows(100)
    assert len(switch.guards(100)) == 4


@BOTH
def test_a_foreign_vlan_cannot_be_deleted(version: int):
    book, switch = scene(version)
    xid = book.at("alice").add(None, command="delete", vlan=200)
    book.at("alice").error(xid, (3, 2) if version == V10 else (5, 4))
    assert not switch.log("flow_mod")


def test_somebody_elses_cookie_selects_nothing():
    book, switch = scene(V13)
    a, b = book.at("alice"), book.at("bob")
    a.add(2)
    cookie = switch.flows(100)[0].cookie
    b.add(2, cookie=5)
    book.clear()
    b.add(None, command="delete", table=255, cookie=cookie, cookie_mask=0xFFFFFFFFFFFFFFFF)
    assert not switch.log("flow_mod") and not b.inbox
    assert len(switch.flows()) == 2


@BOTH
def test_out_port_is_judged_on_what_the_controller_meant(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, cookie=1)
    a.add("flood", eth_dst=Y, cookie=2)
    book.clear()
    for port in (4, "table"):
        a.add(None, command="delete", out_port=port, table=0)
    assert not switch.log("flow_mod") and not a.inbox
    a.add(None, command="delete", out_port=2)
    (mod,) = switch.flow_mods()
    assert (mod.command, mod.match["eth_dst"][0]) == ("delete_strict", X)
    assert shown(a) == [(Y, 2, of.port_number(version, "flood"))]
    a.add(None, command="delete", out_port="flood")
    assert not a.flow_stats()


def test_out_port_of_an_enqueue_and_of_write_actions():
    book, switch = scene(V10)
    a = book.at("alice")
    a.flow_mod("add", None, of.enqueue(V10, 2, 7))
    a.add(None, command="delete", out_port=2)
    assert not switch.flows(100)
    book, switch = scene(V13)
    a = book.at("alice")
    a.flow_mod("add", of.match(V13), instructions=of.write_actions(of.output(V13, 2)) + of.goto_table(1))
    a.add(None, command="delete", out_port=2, out_group=9)
    assert switch.flows(100)
    a.add(None, command="delete", out_port=2)
    assert not switch.flows(100)


@BOTH
def test_the_actions_and_buffer_of_a_delete_do_not_matter(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.flow_mod("delete", None, of.output(version, 4) + of.set_vlan(version, 200), buffer_id=0)
    mod = switch.flow_mods()[0]
    assert (mod.vlan, mod.actions, mod.buffer_id) == (100, b"", 0xFFFFFFFF)
    assert not a.errors()


@BOTH
def test_strict_and_loose_deletes(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for priority in (1, 2):
        for dst in (X, Y):
            a.add(2, eth_dst=dst, priority=priority, cookie=priority)
    a.add(2, eth_type=0x800, ipv4_dst="10.1.2.3")
    a.add(None, command="delete_strict", eth_dst=X, priority=1)
    assert shown(a) == [(0, 0x11, 2), (X, 2, 2), (Y, 1, 2), (Y, 2, 2)]
    a.add(None, command="delete", eth_dst=Y, priority=1)
    assert shown(a) == [(0, 0x11, 2), (X, 2, 2)]
    a.add(None, command="delete", eth_type=0x800, ipv4_dst=(0x0A010000, 0xFFFF0000))
    assert shown(a) == [(X, 2, 2)]
    a.add(None, command="delete_strict", priority=1)
    a.add(None, command="delete", in_port=1)
    assert shown(a) == [(X, 2, 2)]
    assert len(switch.flows(100)) == len(table(book)) == 1


def test_strict_delete_in_every_table():
    book, switch = scene(V13)
    a = book.at("alice")
    for number in range(3):
        a.add(2, table=number, priority=65535)
    a.add(2, table=1, priority=7)
    assert sorted((f.table, f.priority) for f in switch.flows(100)) == [(0, 65534), (1, 7), (1, 65535), (2, 65535)]
    a.add(None, command="delete_strict", table=255, priority=65535)
    assert [(f.table, f.priority) for f in switch.flows(100)] == [(1, 7)]
    assert len(switch.guards(100)) == 4
    assert [s.priority for s in a.flow_stats()] == [7]


def test_delete_in_one_table():
    book, switch = scene(V13)
    a = book.at("alice")
    for number in range(3):
        a.add(2, table=number)
    a.add(None, command="delete", table=1)
    assert sorted(f.table for f in switch.flows(100)) == [0, 2]
    assert sorted(s.table for s in a.flow_stats()) == [0, 2]


@BOTH
def test_a_deleted_flow_that_asked_for_it_is_told(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, flags=1, cookie=1)
    a.add(2, eth_dst=Y, cookie=2)
    a.add(None, command="delete")
    removed = of.parse_flow_removed(a.take_one("flow_removed"))
    assert (removed.cookie, removed.reason) == (1, 2)


@BOTH
def test_a_delete_whose_flow_removed_never_comes_is_settled_by_a_barrier(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    for number in range(5):
        a.add(2, eth_dst=number)
    switch.model.mute = {"flow_removed"}
    switch.hold("barrier_reply")
    a.add(None, command="delete")
    assert len(table(book)) == 0 and len(table(book).by_serial) == 5
    switch.release()
    book.advance(1.1)
    assert len(table(book).by_serial) == 5, "it may come after the barrier"
    book.advance(LINGER)
    a.add(None, command="delete")
    book.advance(1.1)
    assert not table(book).by_serial


@BOTH
def test_open_vswitch_says_flow_removed_after_the_barrier(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, cookie=7, flags=1)
    switch.hold("flow_removed")
    a.add(None, command="delete")
    a.request("barrier_request")
    a.take_one("barrier_reply")
    switch.release()
    assert of.parse_flow_removed(a.take_one("flow_removed")).cookie == 7
    assert not table(book).by_serial


def test_a_deleted_flow_made_anew_is_not_forgotten_with_the_old_one():
    book, switch = scene(V10)
    a = book.at("alice")
    switch.model.mute = {"flow_removed"}
    for _ in range(3):
        a.add(2)
        a.add(None, command="delete_strict")
        book.advance(LINGER / 2)
    a.add(2)
    book.advance(3 * LINGER)
    a.add(3, command="modify")
    book.advance(1.1)
    assert len(table(book)) == len(table(book).by_serial) == 1
    assert len(a.flow_stats()) == 1


def test_a_selection_of_nothing_forgets_at_once():
    book, switch = scene(V13)
    a = book.at("alice")
    a.add(None, command="delete", cookie=1, cookie_mask=1)
    a.add(None, command="modify", cookie=1, cookie_mask=1)
    assert not switch.log("flow_mod") and not a.inbox


# -- MODIFY (vectors 148..157) ---------------------------------------------------------------------------


def test_modify_in_1_0_never_meets_a_guard():
    book, switch = scene(V10)
    a = book.at("alice")
    a.add(2, eth_dst=X, priority=10, cookie=1)
    a.add(2, eth_dst=Y, priority=20, cookie=2)
    physical = {flow.match["eth_dst"][0]: (flow.priority, flow.cookie) for flow in switch.flows(100)}
    book.clear()
    a.add(3, command="modify", cookie=9)
    mods = switch.flow_mods()
    assert [m.command for m in mods] == ["modify_strict"] * 2
    assert {m.match["eth_dst"][0]: (m.priority, m.cookie) for m in mods} == physical
    assert shown(a) == [(X, 9, 3), (Y, 9, 3)]
    assert len(switch.guards(100)) == 4


@pytest.mark.parametrize("command", ["modify", "modify_strict"])
def test_modify_of_nothing_adds_in_1_0_only(command: str):
    book, switch = scene(V10)
    a = book.at("alice")
    a.add(2, command=command, eth_dst=X, idle=7)
    (mod,) = switch.flow_mods()
    assert (mod.command, mod.idle, mod.flags & 1) == ("add", 7, 1)
    assert shown(a) == [(X, 0x11, 2)]
    book, switch = scene(V13)
    a = book.at("alice")
    a.add(2, command=command, eth_dst=X)
    assert all(m.command == command and m.cookie_mask == 0xFFFF << 48 for m in switch.flow_mods())
    assert not a.flow_stats()


def test_a_modify_that_adds_counts_against_the_quota():
    book, _ = scene(V10)
    a = book.at("alice")
    for number in range(10):
        a.add(2, command="modify_strict", eth_dst=number)
    xid = a.add(2, command="modify_strict", eth_dst=10)
    a.error(xid, (3, 0))


def test_modify_in_1_3_keeps_the_cookie():
    book, switch = scene(V13)
    a = book.at("alice")
    a.add(2, eth_dst=X, cookie=1)
    a.add(2, eth_dst=Y, cookie=2)
    book.clear()
    a.add(3, command="modify", cookie=9, cookie_mask=0)
    (mod,) = switch.flow_mods()
    assert (mod.command, mod.cookie_mask) == ("modify", 0xFFFF << 48)
    assert shown(a) == [(X, 1, 3), (Y, 2, 3)]


def test_modify_by_cookie():
    book, switch = scene(V13)
    a = book.at("alice")
    a.add(2, eth_dst=X, cookie=0x11)
    a.add(2, eth_dst=Y, cookie=0x12)
    a.add(3, command="modify", cookie=0x11, cookie_mask=0xFFFFFFFFFFFFFFFF)
    assert shown(a) == [(X, 0x11, 3), (Y, 0x12, 2)]
    assert sorted(outputs(V13, f)[0] for f in switch.flows(100)) == [2, 3]


@BOTH
def test_modify_strict(version: int):
    book, _ = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X, priority=1)
    a.add(2, eth_dst=X, priority=2)
    a.add(3, command="modify_strict", eth_dst=X, priority=2)
    assert sorted((s.priority, outputs(version, s)[0]) for s in a.flow_stats()) == [(1, 2), (2, 3)]


@BOTH
def test_modify_into_and_out_of_flood(version: int):
    book, switch = scene(version)
    a = book.at("alice")
    a.add(2, eth_dst=X)
    a.add("flood", command="modify", eth_dst=X)
    assert outputs(version, switch.flows(100)[0]) == [1, 2, 3]
    switch.port_status("delete", 3)
    assert outputs(version, switch.flows(100)[0]) == [1, 2]
    a.add(1, command="modify", eth_dst=X)
    switch.port_status("add", 3)
    assert outputs(version, switch.flows(100)[0]) == [1]
    assert shown(a) == [(X, 0x11, 1)]


# -- two controllers, one datapath -----------------------------------------------------------------------


@BOTH
def test_controllers_of_a_segment_share_its_flows_but_not_their_errors(version: int):
    two = with_segment(ALICE, controllers=(endpoint("alice"), endpoint("alice2")))
    book, switch = scene(version, two, BOB, TINA, UMA)
    first, second = book.at("alice"), book.at("alice2")
    first.add(2, eth_dst=X)
    assert shown(second) == [(X, 0x11, 2)]
    second.add(4, xid=9)
    second.error(9, (2, 4))
    assert not first.inbox
    second.add(None, command="delete")
    assert not first.flow_stats()
    assert isinstance(switch, SwitchEnd)
