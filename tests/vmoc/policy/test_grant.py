from __future__ import annotations

import pytest

from tests.vmoc.policy.grants import LOCAL, V10, V13, VERSIONS, tagged
from vmoc.policy.grant import Grant


@pytest.mark.parametrize(("ports", "outputs"), [(0, 64), (1, 64), (32, 64), (33, 66), (100, 200)])
def test_a_list_may_output_twice_to_each_port_or_64_times(ports: int, outputs: int) -> None:
    assert tagged(V13, ports=frozenset(range(1, ports + 1))).max_outputs == outputs


def test_a_queue_is_everywhere_only_if_every_port_grants_it() -> None:
    grant = tagged(V13, queues={1: frozenset((7,)), 2: frozenset((7, 8)), 3: frozenset((7, 9))})
    assert grant.queue_everywhere(7)
    assert not grant.queue_everywhere(8)
    assert not tagged(V13).queue_everywhere(7)
    assert not Grant(V13, 100, frozenset()).queue_everywhere(7)


@pytest.mark.parametrize("version", VERSIONS)
def test_flood_goes_to_physical_ports_in_order(version: int) -> None:
    grant = tagged(version, ports=frozenset((9, 3, 1, LOCAL[version])), no_flood=frozenset((3,)))
    assert grant.flood_ports(None, honour_no_flood=False) == [1, 3, 9]
    assert grant.flood_ports(None, honour_no_flood=True) == [1, 9]
    assert grant.flood_ports(9, honour_no_flood=True) == [1]
    assert grant.flood_ports(4, honour_no_flood=False) == [1, 3, 9]


def test_reserved_numbers_begin_lower_in_version_1_0() -> None:
    high = frozenset((0xFEFF, 0xFF00))
    assert tagged(V10, ports=high).flood_ports(None, honour_no_flood=False) == [0xFEFF]
    assert tagged(V13, ports=high).flood_ports(None, honour_no_flood=False) == [0xFEFF, 0xFF00]


def test_a_new_grant_holds_nothing() -> None:
    grant = Grant(V13, 100, frozenset((1,)))
    assert not grant.queues and not grant.groups and not grant.meters and not grant.no_flood
    assert not grant.hides_tag and not grant.native and not grant.guarded
    with pytest.raises(AttributeError):
        grant.vlan = 200  # type: ignore[misc]


@pytest.mark.parametrize("version", [1, 4])
def test_a_flow_may_enter_by_ports_that_are_away_but_granted(version: int) -> None:
    some = Grant(version, 100, frozenset({1}), awaited=frozenset({7}))
    assert [port for port in (0, 1, 2, 7, 0xFFFE) if some.may_enter(port)] == [1, 7]
    every = Grant(version, 100, frozenset({1}), awaited=None)
    local = 0xFFFE if version == 1 else 0xFFFFFFFE
    assert [port for port in (0, 1, 2, 7, local) if every.may_enter(port)] == [1, 2, 7]
