"""What several workers tell, read as if there was one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmoc.daemon.workers import merging
from vmoc.status import Connection, DatapathStatus, Lifecycle, SliceStatus, SwitchSummary


def summary(dpid: int, native: int = 0) -> SwitchSummary:
    return SwitchSummary(dpid, native, True, True, "1.3", None, None, None, 0, 0, 0, 0, "", "", "", "", "")


def connection(number: int) -> Connection:
    return Connection(number, "a", 1, 1, 0, 1, "tcp:h:1", "active", 0.0, None, "", None, 0, "1.3", "equal", False)


def datapath(dpid: int, state: str, *numbers: int) -> DatapathStatus:
    links = tuple(map(connection, numbers))
    return DatapathStatus("a", 1, dpid, 0, dpid, Lifecycle.ACTIVE, state, "", None, controllers=links)


def status(*datapaths: DatapathStatus) -> list[SliceStatus]:
    return [SliceStatus("a", True, datapaths, {})]


@given(st.lists(st.lists(st.integers(1, 50), unique=True).map(sorted), max_size=4), st.integers(1, 10))
def test_pages_of_switches_are_one_page(told: list[list[int]], size: int):
    every = [[summary(dpid, worker) for dpid in dpids] for worker, dpids in enumerate(told)]
    found, more = merging.switches(every, size)
    whole = sorted((dpid, worker) for worker, dpids in enumerate(told) for dpid in dpids)
    assert [(one.dpid, one.native_vlan) for one in found] == whole[:size]
    assert more is (len(whole) > size)


def test_numbers_of_connections_lead_back_to_their_worker():
    for worker in (0, 1, 7):
        for number in (1, 12345, merging.NUMBERS - 1):
            shown = merging.numbered(connection(number), worker).number
            assert merging.place_of(shown) == (worker, number)
    assert merging.numbered(connection(5), 0) == connection(5)


def test_of_each_switch_the_one_that_serves_it_tells():
    # Two know the slice; each says of the other's switches that they were never there, as is said here of all.
    found = {
        0: status(datapath(1, "ready", 3), datapath(2, "absent"), datapath(9, "absent")),
        1: status(datapath(1, "absent"), datapath(2, "ready", 3), datapath(9, "absent")),
        2: [],
    }
    homes = {1: 0, 2: 1, 8: 2}
    here = [datapath(dpid, "nobody's") for dpid in (1, 2, 8, 9)]
    told = merging.datapaths(here, found, homes.get)
    assert [(one.dpid, one.state) for one in told] == [(1, "ready"), (2, "ready"), (8, "nobody's"), (9, "nobody's")]
    assert [link.number for one in told for link in one.controllers] == [3, merging.NUMBERS + 3]
