"""``buffers: pool:N`` as controllers see it (vetting A.5): ids of our own, whole packets, one use."""

from __future__ import annotations

import struct

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import E, vlan_of
from tests.vmoc.mux.ends import V10, V13, ControllerEnd, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import ALICE, BOB, FOUR, piece, with_limits
from vmoc.events import Kind
from vmoc.model import Policy

BOTH = pytest.mark.parametrize("version", [V10, V13])
EMPTY, UNKNOWN, OUT_PORT, LENGTH = (1, 7), (1, 8), (2, 4), (1, 6)


def pooled(version: int, *slices: object, size: int = 4, **more: object) -> tuple[Playbook, SwitchEnd]:
    return scene(version, *slices, policy=Policy(buffers=f"pool:{size}"), **more)


def punt(book: Playbook, switch: SwitchEnd, frame: bytes, port: int = 1, name: str = "alice", **more: object) -> int:
    """A packet-in; returns the buffer it names to its slice's controller."""
    switch.packet_in(port, frame, **more)
    (message,) = book.at(name).packet_ins()
    return message.buffer_id


def release(a: ControllerEnd, number: int, port: int | str | None = 2, in_port: int = 1, data: bytes = b"") -> int:
    xid = a.next_xid()
    actions = b"" if port is None else of.output(a.version, port)
    a.send(of.packet_out(a.version, data, actions, in_port=in_port, buffer_id=number, xid=xid))
    return xid


def install(a: ControllerEnd, number: int, port: int | str = 2, command: str = "add", **fields: of.Value) -> int:
    xid = a.next_xid()
    match = of.match(a.version, **fields)
    a.send(of.flow_mod(a.version, command, match, of.output(a.version, port), buffer_id=number, xid=xid))
    return xid


# -- packet-in -------------------------------------------------------------------------------------------


@BOTH
def test_the_pool_is_announced_and_the_switchs_own_is_not_used(version: int):
    book, switch = pooled(version, size=7)
    a = book.at("alice")
    a.request("features_request")
    assert of.parse_features(a.take_one("features_reply")).n_buffers == 7
    number = punt(book, switch, E(100), buffer_id=0x1234)
    assert number not in (0x1234, of.NO_BUFFER)
    assert number < 1 << 31
    a.error(release(a, 0x1234), UNKNOWN)
    assert release(a, number)
    assert of.parse_packet_out(switch.take_one("packet_out")).buffer_id == of.NO_BUFFER


@BOTH
def test_without_a_pool_there_is_no_buffer(version: int):
    book, switch = scene(version)
    assert punt(book, switch, E(100), buffer_id=0x1234) == of.NO_BUFFER
    a = book.at("alice")
    a.error(release(a, 0x1234), UNKNOWN)
    a.error(install(a, 0x1234), UNKNOWN)


def test_a_miss_is_cut_to_what_the_controller_wants_in_1_0():
    """128 bytes by default; the total length stays what it was, and the packet whole."""
    book, switch = pooled(V10)
    a = book.at("alice")
    frame = E(100, size=1000)
    switch.packet_in(1, frame)
    (message,) = a.packet_ins()
    assert (message.data, message.total_len) == (frame[:128], 1004)
    release(a, message.buffer_id)
    assert switch.model.transmitted == [(2, frame)]
    for wanted in (0, 60, 1003, 1004, 0xFFFF):
        a.request("set_config", struct.pack("!HH", 0, wanted))
        switch.packet_in(1, frame)
        (message,) = a.packet_ins()
        assert (message.data, message.total_len) == (frame[:wanted], 1004)
    switch.packet_in(1, frame, reason=1)
    assert a.packet_ins()[0].data == frame


def test_nothing_is_cut_in_1_3():
    book, switch = pooled(V13)
    frame = E(100, size=1000)
    for reason in (0, 1):
        switch.packet_in(1, frame, reason=reason)
        assert book.at("alice").packet_ins()[0].data == frame


def test_each_controller_gets_as_much_as_it_wants():
    book, switch = pooled(V10, piece("alice", 100, (1, 2, 3), controllers=("one", "two")))
    one, two = book.at("one"), book.at("two")
    one.request("set_config", struct.pack("!HH", 0, 20))
    frame = E(100, size=500)
    switch.packet_in(1, frame)
    (first,), (second,) = one.packet_ins(), two.packet_ins()
    assert (len(first.data), len(second.data)) == (20, 128)
    assert first.buffer_id == second.buffer_id
    release(one, first.buffer_id)
    two.error(release(two, second.buffer_id), EMPTY)


@BOTH
def test_a_packet_that_the_switch_cut_short_gets_no_id(version: int):
    """It could not be sent on whole; and what there is of it is not cut again."""
    book, switch = pooled(version)
    frame = E(100, size=300)
    switch.packet_in(1, frame[:200], total_len=len(frame))
    (message,) = book.at("alice").packet_ins()
    assert (message.buffer_id, message.data, message.total_len) == (of.NO_BUFFER, frame[:200], len(frame))


@BOTH
def test_a_packet_too_long_for_a_packet_out_gets_no_id(version: int):
    book, switch = pooled(version)
    assert punt(book, switch, E(100, size=65481)) == of.NO_BUFFER
    longest = E(100, size=65467)
    a = book.at("alice")
    number = punt(book, switch, longest)
    # A packet-out has room for two actions beside it, and not for ten.
    xid = a.next_xid()
    a.send(of.packet_out(version, b"", 10 * of.output(version, 2), in_port=1, buffer_id=number, xid=xid))
    a.error(xid, (2, 7))
    install(a, number)
    assert not a.errors()
    assert switch.model.transmitted == [(2, longest)]


@BOTH
def test_a_pool_is_its_slices_own(version: int):
    book, switch = pooled(version)
    a, b = book.at("alice"), book.at("bob")
    number = punt(book, switch, E(200), 2, name="bob")
    a.error(release(a, number), UNKNOWN)
    a.error(install(a, number), UNKNOWN)
    assert not switch.flows()
    release(b, number, 3, in_port=2)
    assert switch.model.transmitted == [(3, E(200))]


@BOTH
def test_the_oldest_packet_goes_first(version: int):
    book, switch = pooled(version, size=3)
    a = book.at("alice")
    numbers = [punt(book, switch, E(100, src=f"02:00:00:00:00:0{n}")) for n in range(5)]
    for number in numbers[:2]:
        a.error(release(a, number), UNKNOWN)
    for number in numbers[2:]:
        release(a, number)
    assert [frame[11] for _, frame in switch.model.transmitted] == [2, 3, 4]


@BOTH
def test_packet_ins_over_the_rate_take_no_room(version: int):
    book, switch = pooled(version, with_limits(ALICE, packet_in_rate=2), BOB, size=2)
    a = book.at("alice")
    first = punt(book, switch, E(100))
    punt(book, switch, E(100))
    for _ in range(10):
        switch.packet_in(1, E(100))
    assert not a.packet_ins()
    release(a, first)
    assert not a.errors()


# -- packet-out ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["alice", "tina"])
def test_a_packet_out_by_id_is_the_packet_itself(version: int, name: str):
    """The packet is what came in, tag and all, whether the slice sees the tag or not."""
    book, switch = pooled(version)
    a = book.at(name)
    frame = E(100 if name == "alice" else 300, size=200)
    number = punt(book, switch, frame, name=name)
    release(a, number, data=b"bytes of no meaning")
    assert switch.model.transmitted == [(2, frame)]
    a.error(release(a, number), EMPTY)
    assert len(switch.model.transmitted) == 1


@BOTH
def test_a_native_switch_has_a_pool_too(version: int):
    book, switch = pooled(version, ALICE, native=100)
    a = book.at("alice")
    release(a, punt(book, switch, E()))
    assert switch.model.transmitted == [(2, E())]


@BOTH
def test_the_end_of_a_packet_by_empty_actions(version: int):
    """As a controller says that it does not want a packet any more: 16 bytes in 1.0, 24 in 1.3."""
    book, switch = pooled(version)
    a = book.at("alice")
    number = punt(book, switch, E(100))
    release(a, number, None)
    assert not a.errors()
    assert switch.model.transmitted == []
    a.error(release(a, number), EMPTY)


@BOTH
def test_a_packet_out_that_is_refused_uses_nothing_up(version: int):
    book, switch = pooled(version)
    a = book.at("alice")
    number = punt(book, switch, E(100))
    a.error(release(a, number, 5), OUT_PORT)
    release(a, number)
    assert switch.model.transmitted == [(2, E(100))]


@BOTH
def test_it_is_vetted_as_if_the_packet_were_in_it(version: int):
    """A packet of the slice with a tag that it may not send stays unsent."""
    book, switch = pooled(version)
    a = book.at("alice")
    odd = E(100, tpid=0x88A8)
    number = punt(book, switch, odd)
    a.error(release(a, number), (1, 5))
    assert switch.model.transmitted == []


@BOTH
def test_malformed_packet_outs_are_refused_as_such(version: int):
    book, switch = pooled(version)
    a = book.at("alice")
    number = punt(book, switch, E(100))
    port = struct.pack("!H" if version == V10 else "!I", 1)
    for body in (
        b"",
        struct.pack("!I", number),
        struct.pack("!I", number) + port,
        struct.pack("!I", number) + port + b"\0\x08" + bytes(0 if version == V10 else 6),
        struct.pack("!I", number) + port + b"\xff\xf8" + bytes(30),
    ):
        a.error(a.request("packet_out", body), LENGTH)
    assert switch.model.transmitted == []
    release(a, number)
    assert switch.model.transmitted == [(2, E(100))]


# -- flow-mod --------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["alice", "tina"])
@pytest.mark.parametrize("command", ["add", "modify", "modify_strict"])
def test_a_flow_mod_by_id_is_the_flow_and_then_its_packet(version: int, name: str, command: str):
    book, switch = pooled(version)
    a = book.at(name)
    frame = E(100 if name == "alice" else 300, size=200)
    if version == V13:
        a.add(1)
        book.advance(1.5)
    number = punt(book, switch, frame, name=name)
    switch.inbox.clear()
    install(a, number, 2, command)
    assert [m.name for m in switch.inbox] == ["flow_mod", "packet_out"]
    assert switch.flow_mods()[0].buffer_id == of.NO_BUFFER
    out = of.parse_packet_out(switch.take_one("packet_out"))
    assert (out.in_port, of.output_ports(version, out.actions)) == (1, [of.port_number(version, "table")])
    assert switch.model.transmitted == [(2, frame)]
    assert not a.errors()
    a.error(install(a, number), EMPTY)
    assert len(a.flow_stats()) == 1


@BOTH
def test_a_delete_names_no_buffer(version: int):
    """Whatever its field says, that means nothing in a delete."""
    book, switch = pooled(version)
    a = book.at("alice")
    a.add(2)
    number = punt(book, switch, E(100))
    for command in ("delete", "delete_strict"):
        a.flow_mod(command, of.match(version))
    xid = a.next_xid()
    a.send(of.flow_mod(version, "delete", of.match(version), b"", buffer_id=number, xid=xid))
    assert not a.errors()
    assert not switch.flows()
    release(a, number)
    assert len(switch.model.transmitted) == 1


@BOTH
def test_a_flow_mod_that_is_refused_uses_nothing_up(version: int):
    book, switch = pooled(version, with_limits(ALICE, max_flows=1), BOB)
    a = book.at("alice")
    number = punt(book, switch, E(100))
    a.error(install(a, number, 5), OUT_PORT)
    a.add(2, eth_dst=1)
    a.error(install(a, number, eth_dst=2), (3, 0) if version == V10 else (5, 1))
    assert book.told(Kind.QUOTA)
    assert switch.model.transmitted == []
    install(a, number, eth_dst=1)
    assert len(switch.log("packet_out")) == 1
    a.error(install(a, number, eth_dst=1), EMPTY)


@BOTH
def test_a_flow_mod_whose_packet_may_not_be_sent_is_answered_with_that(version: int):
    """The flow is there, as on a switch; the one error says why the packet is not under way."""
    book, switch = pooled(version)
    a = book.at("alice")
    number = punt(book, switch, E(100, tpid=0x88A8))
    xid = install(a, number)
    a.error(xid, (1, 5))
    assert len(switch.flows()) == 1
    assert not switch.log("packet_out")


@BOTH
def test_the_errors_of_the_switch_are_about_the_controllers_own_message(version: int):
    book, switch = pooled(version)
    a = book.at("alice")
    number = punt(book, switch, E(100))
    xid = a.next_xid()
    sent = of.flow_mod(version, "add", of.match(version), of.output(version, 2), buffer_id=number, xid=xid)
    switch.answering = False
    a.send(sent)
    switch.answering = True
    switch.error(switch.take_one("flow_mod"), 3, 0)
    a.error(xid, (3, 0), sent)
    assert a.flow_stats() == []


@BOTH
def test_short_flow_mods_are_refused_as_such(version: int):
    book, switch = pooled(version)
    a = book.at("alice")
    whole = of.flow_mod(version, "add", of.match(version), b"", buffer_id=7, xid=5)
    for length in (8, 24, 30, 36, 40, 60, 68):
        if length < (72 if version == V10 else 56):
            a.send(whole[:2] + struct.pack("!H", length) + whole[4:length])
            assert a.errors() in ([LENGTH], [UNKNOWN])
    assert not switch.log("flow_mod")


def test_a_slave_uses_nothing_up():
    book, switch = pooled(V13)
    a = book.at("alice")
    number = punt(book, switch, E(100))
    a.request("role_request", struct.pack("!I4xQ", 3, 1))
    a.error(release(a, number), (1, 10))
    a.error(install(a, number), (1, 10))
    a.request("role_request", struct.pack("!I4xQ", 1, 1))
    release(a, number)
    assert switch.model.transmitted == [(2, E(100))]


@BOTH
def test_what_a_packet_out_sent_to_the_controller_can_be_sent_on(version: int):
    """A packet-in without a port: the slice's own packet-out, on its way back."""
    book, switch = pooled(version)
    a = book.at("alice")
    a.packet_out(E(100), "controller")
    (back,) = a.packet_ins()
    assert back.buffer_id != of.NO_BUFFER
    a.send(of.packet_out(version, b"", of.output(version, 2), buffer_id=back.buffer_id))
    assert switch.model.transmitted == [(2, E(100))]
    assert not a.errors()


@BOTH
def test_packets_survive_the_switchs_reconnect(version: int):
    book, switch = pooled(version, *FOUR)
    number = punt(book, switch, E(100))
    switch.close()
    book.advance(1)
    again = book.switch(model=switch.model)
    book.advance(2)
    a = book.at("alice")
    release(a, number)
    assert again.model.transmitted == [(2, E(100))]
    assert vlan_of(again.model.transmitted[0][1]) == 100
