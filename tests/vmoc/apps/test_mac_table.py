from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmoc.apps.raw_switch import frame, mac
from vmoc.apps.mac_table import FORGETS, UNTAGGED, MacTable, Station, Verdict

A, B, C = mac(1), mac(2), mac(3)
BROADCAST = b"\xff" * 6


def test_unknown_destinations_are_flooded_and_known_ones_get_a_flow() -> None:
    table = MacTable()
    assert table.frame(1, frame(A, B), 0.0) == Verdict()
    assert table.frame(2, frame(B, A), 0.0) == Verdict(flow=(Station(101, B), Station(101, A)), port=1)
    assert table.frame(1, frame(A, B), 0.0).port == 2


def test_broadcast_and_multicast_are_flooded_without_a_flow() -> None:
    table = MacTable()
    table.frame(1, frame(A, B), 0.0)
    for group in (BROADCAST, b"\x01\x00\x5e\x00\x00\x01", b"\x33\x33\0\0\0\1"):
        assert table.frame(2, frame(B, group), 0.0) == Verdict()


def test_the_same_address_in_two_vlans_is_two_stations() -> None:
    table = MacTable()
    table.frame(1, frame(A, B, 101), 0.0)
    table.frame(2, frame(A, B, 102), 0.0)
    table.frame(3, frame(A, B, None), 0.0)
    assert [table.port_of(Station(vlan, A)) for vlan in (101, 102, UNTAGGED)] == [1, 2, 3]


def test_the_outer_tag_counts_whatever_its_type() -> None:
    table = MacTable()
    table.frame(1, B + A + b"\x88\xa8\xe0\x65\x81\x00\x00\x07\x08\x00" + bytes(46), 0.0)
    assert table.port_of(Station(101, A)) == 1


def test_a_move_makes_its_flows_stale_once() -> None:
    table = MacTable()
    table.frame(1, frame(A, B), 0.0)
    assert table.frame(3, frame(A, B), 1.0).stale == (Station(101, A),)
    assert table.frame(3, frame(A, B), 2.0).stale == ()


def test_a_destination_behind_the_ingress_port_is_dropped() -> None:
    table = MacTable()
    table.frame(1, frame(A, BROADCAST), 0.0)
    verdict = table.frame(1, frame(B, A), 0.0)
    assert verdict.drop and verdict.flow == (Station(101, B), Station(101, A))


def test_what_bridges_do_not_forward_goes_nowhere_and_teaches_nothing() -> None:
    table = MacTable()
    bad = [
        frame(A, bytes.fromhex("0180c200000e"), kind=0x88CC),
        frame(A, bytes.fromhex("0180c2000000"), None),
        frame(A, BROADCAST, kind=0x88CC),
        frame(b"\x01" + A[1:], B),
        frame(bytes(6), B),
        frame(A, B)[:17],
        frame(A, B, None)[:13],
        b"",
    ]
    for data in bad:
        assert table.frame(1, data, 0.0) == Verdict(drop=True)
    assert len(table) == 0


def test_old_stations_are_forgotten_with_their_flows() -> None:
    table = MacTable(age=10)
    table.frame(1, frame(A, BROADCAST), 0.0)
    table.frame(2, frame(B, BROADCAST), 8.0)
    assert table.frame(3, frame(C, A), 10.5) == Verdict(stale=(Station(101, A),))
    assert table.port_of(Station(101, B)) == 2


def test_being_heard_again_keeps_a_station() -> None:
    table = MacTable(age=10)
    table.frame(1, frame(A, BROADCAST), 0.0)
    table.frame(1, frame(A, BROADCAST), 9.0)
    assert table.frame(2, frame(B, A), 15.0).port == 1


def test_a_full_table_forgets_the_station_heard_longest_ago() -> None:
    table = MacTable(capacity=2)
    for number, source in enumerate((A, B, C)):
        verdict = table.frame(number + 1, frame(source, BROADCAST), float(number))
    assert verdict.stale == (Station(101, A),)
    assert list(table) == [Station(101, B), Station(101, C)]


def test_a_host_of_many_names_does_not_make_one_frame_cost_thousands() -> None:
    table = MacTable(age=10)
    for number in range(1000):
        table.frame(1, frame(number.to_bytes(6), BROADCAST), 0.0)
    verdict = table.frame(2, frame(A, (999).to_bytes(6)), 11.0)
    assert verdict.port is None, "it is too old to be believed, if not forgotten yet"
    assert len(verdict.stale) == FORGETS
    for _ in range(1000 // FORGETS):
        assert len(table.frame(2, frame(A, BROADCAST), 11.0).stale) <= FORGETS
    assert list(table) == [Station(101, A)]


def test_a_port_takes_its_stations_along() -> None:
    table = MacTable()
    for source, in_port in ((A, 1), (B, 1), (C, 2)):
        table.frame(in_port, frame(source, BROADCAST), 0.0)
    assert table.forget_port(1) == (Station(101, A), Station(101, B))
    assert table.forget_port(1) == ()
    assert list(table) == [Station(101, C)]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.floats(0, 5)), max_size=60),
    st.integers(1, 5),
)
def test_bounded_and_every_flow_agrees_with_the_table(steps: list[tuple[int, int, int, float]], capacity: int) -> None:
    table, now = MacTable(capacity=capacity, age=8), 0.0
    flows: dict[tuple[int, Station, Station], int] = {}
    for in_port, source, target, pause in steps:
        now += pause
        known = {key[1:] for key in flows if key[0] == in_port}
        if (Station(101, mac(source)), Station(101, mac(target))) in known:
            continue  # the switch forwards it by itself
        verdict = table.frame(in_port, frame(mac(source), mac(target)), now)
        flows = {key: out for key, out in flows.items() if not set(key[1:]) & set(verdict.stale)}
        if verdict.flow is not None:
            assert verdict.port is not None
            flows[in_port, *verdict.flow] = verdict.port
        assert len(table) <= capacity
        for (inner, origin, destination), out in flows.items():
            assert table.port_of(origin) == inner or origin == destination
            assert table.port_of(destination) == out
