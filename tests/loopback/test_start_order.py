"""Whoever starts first, whoever is killed: in the end both slices work and nobody sees the other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from tests.emulation import wire as of
from tests.loopback.scene import VLAN_A, VLAN_B, Scene

PARTS = ("vmoc", "switch", "controllers")
ORDERS = pytest.mark.parametrize("order", list(permutations(PARTS)), ids="-".join)
Make = Callable[..., Scene]
pytestmark = pytest.mark.slow  # each test starts a VMOC of its own


@ORDERS
def test_every_start_order(make_scene: Make, version: int, order: tuple[str, ...]) -> None:
    scene = make_scene(version)
    for part in order:
        scene.start(part)
    scene.check_works()


@ORDERS
def test_all_killed_and_restarted_in_every_order(make_scene: Make, order: tuple[str, ...]) -> None:
    scene = make_scene(of.V13 if order[0] == "vmoc" else of.V10).up()
    scene.check_works()
    for part in order:
        scene.kill(part)
    for part in order:
        scene.start(part)
    scene.check_works()


@pytest.mark.parametrize("victim", PARTS)
def test_one_killed_and_restarted(make_scene: Make, version: int, victim: str) -> None:
    scene = make_scene(version).up()
    scene.check_works()
    scene.kill(victim)
    scene.start(victim)
    scene.check_works()


def test_controllers_see_the_loss_of_the_switch_at_once(own_scene: Scene) -> None:
    scene = own_scene
    a, b = scene.A, scene.B
    scene.switch.kill()
    a.expect_closed()
    b.expect_closed()
    scene.switch.start()
    scene.check_works()
    assert scene.A is not a


def test_the_other_slice_does_not_notice_a_killed_controller(own_scene: Scene) -> None:
    scene = own_scene
    b = scene.B
    scene.check_works()
    scene.a.kill()
    scene.switch.packet_in(2, b"\xff" * 12 + b"\x81\x00\x00\x65\x08\x00" + bytes(46))
    b.barrier()
    assert [e.vlan for e in scene.slice_flows()].count(VLAN_B) == 1
    scene.a.listen()
    scene.check_works()
    assert scene.B is b


def test_flows_survive_a_reconnect_of_the_switch(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    a, b = scene.A, scene.B
    scene.switch.drop()
    a.expect_closed()
    b.expect_closed()
    scene.wait_up()
    assert [(s.cookie, s.priority) for s in scene.A.flow_stats()] == [(0x11, 7)]
    assert len(scene.slice_flows(VLAN_A)) == len(scene.slice_flows(VLAN_B)) == 1


def test_a_switch_that_lost_its_flows_is_reported_empty(own_scene: Scene) -> None:
    scene = own_scene
    scene.check_works()
    scene.kill("switch")
    scene.switch.table.entries.clear()
    scene.switch.start()
    a, _ = scene.wait_up()
    assert a.flow_stats() == []
    scene.check_works()


def test_flows_of_a_killed_vmoc_do_not_outlive_its_return(own_scene: Scene) -> None:
    """What the new process did not write it cannot vouch for: cookies, expansions and owners are lost."""
    scene = own_scene
    scene.check_works()
    scene.vmoc.kill()
    scene.vmoc.start()
    a, b = scene.wait_up()
    assert a.flow_stats() == b.flow_stats() == []
    assert scene.slice_flows() == []


def test_flows_of_nobody_are_removed_when_a_switch_connects(make_scene: Make, version: int) -> None:
    scene = make_scene(version)
    for vlan in (VLAN_A, 999, None):
        fields: dict[str, of.Value] = {} if vlan is None else {"vlan": vlan}
        raw = of.flow_mod(version, match_=of.match(version, **fields), actions=of.output(version, "normal"), priority=3)
        scene.switch.table.apply(of.parse_flow_mod(of.Message(raw)))
    scene.up()
    assert scene.slice_flows() == []
    scene.check_works()
