"""Recipes: the same bytes as the full chain, for the shapes that may have one, and within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulation.actions import apply_actions, goto_table, group, instruction, output
from tests.emulation.build import flow_mod
from tests.emulation.match import match
from tests.vmoc.policy.grants import PRESENTATIONS, V10, V13, VERSIONS, native, tagged
from vmoc.mux.flows import FlowTable
from vmoc.policy import recipes
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.recipes import FlowModPolicy, Recipe10, Recipe13, identity_of
from vmoc.policy.verdict import Refusal

COOKIE = 1 << 48 | 1


def slow(grant: Grant, data: bytes) -> tuple[bytes, bytes]:
    """Identity and message of an ADD, the long way."""
    change = vet_flow_mod(grant, data)
    assert isinstance(change, FlowChange)
    plan = FlowTable(grant.version, 1, 0).plan(change)
    assert not isinstance(plan, Refusal)
    return identity_of(change), plan.messages[0]


def fast(policy: FlowModPolicy, data: bytes) -> tuple[bytes, bytes] | None:
    recipe = policy.recipe(data)
    if recipe is None:
        return None
    identity = recipe.identity(data)
    return identity, recipe.message(data, identity, 0, COOKIE.to_bytes(8, "big"))


def learned(version: int, **changes: Any) -> bytes:
    """What a learning switch installs."""
    fields: dict[str, Any] = {"in_port": 1, "eth_src": 0x020000000001, "eth_dst": 0x020000000002}
    how = {
        name: changes.pop(name) for name in ("xid", "cookie", "idle", "hard", "priority", "flags") if name in changes
    }
    return flow_mod(version, "add", match(version, **fields | changes), output(version, 2), **how)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", PRESENTATIONS)
def test_what_no_rule_looks_at_may_differ(place: str, version: int) -> None:
    grant = PRESENTATIONS[place](version)
    policy = FlowModPolicy(grant)
    assert policy.recipe(learned(version)) is None
    assert isinstance(policy.vet(learned(version)), FlowChange)
    others = [
        learned(version, xid=99, cookie=7, idle=5, hard=6),
        learned(version, eth_src=1, eth_dst=2),
        learned(version, eth_dst=0xFFFFFFFFFFFF, idle=0xFFFF),
    ]
    for data in [learned(version), *others]:
        assert fast(policy, data) == slow(grant, data)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_rule_looks_at_makes_another_shape(version: int) -> None:
    policy = FlowModPolicy(tagged(version))
    policy.vet(learned(version))
    for data in (
        learned(version, in_port=2),
        learned(version, in_port=4),
        learned(version, priority=1),
        learned(version, flags=1),
        learned(version, vlan=100),
        learned(version, vlan=200),
        learned(version, eth_type=0x800),
        flow_mod(version, "modify", match(version, in_port=1, eth_src=1, eth_dst=2), output(version, 2)),
        flow_mod(version, "add", match(version, in_port=1, eth_src=1, eth_dst=2), output(version, 3)),
        flow_mod(version, "add", match(version, in_port=1, eth_src=1, eth_dst=2), output(version, 2), buffer_id=1),
    ):
        assert policy.recipe(data) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_only_an_allowed_add_is_remembered(version: int) -> None:
    policy = FlowModPolicy(tagged(version))
    for data in (
        flow_mod(version, "add", actions=output(version, 4)),
        flow_mod(version, "modify", actions=output(version, 2)),
        flow_mod(version, "delete"),
        b"",
        learned(version)[:30],
    ):
        policy.vet(data)
        assert policy.recipe(data) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"vlan": 100},
        {"vlan": 100, "in_port": 1, "eth_dst": 5},
        {"in_port": 1, "eth_type": 0x800, "ip_proto": 17, "udp_src": 9, "udp_dst": 10},
        {"eth_type": 0x800, "ip_proto": 6, "ipv4_src": (0x0A000000, 0xFF000000), "tcp_dst": 80},
        {"eth_dst": (5, (1 << 48) - 1), "eth_src": 6},
        {"eth_dst": (0, 0), "eth_src": 6},
        {"eth_src": 6, "eth_dst": 5, "in_port": 3},
        {"eth_type": 0x86DD, "ipv6_src": 1, "ipv6_dst": 2, "ip_proto": 58, "icmpv6_type": 135, "ipv6_nd_target": 3},
        {"metadata": 7, "tunnel_id": 9},
        {"eth_type": 0x806, "arp_op": 1, "arp_spa": 2, "arp_tpa": 3},
    ],
    ids=str,
)
def test_matches_of_1_3(fields: dict[str, Any]) -> None:
    grant = tagged(V13)
    policy = FlowModPolicy(grant)
    data = flow_mod(V13, "add", match(V13, **fields), output(V13, "flood"))
    policy.vet(data)
    assert fast(policy, data) == slow(grant, data)
    fixed = ("vlan", "in_port", "eth_type", "ip_proto", "icmpv6_type")
    exact = {name: value ^ 1 for name, value in fields.items() if isinstance(value, int) and name not in fixed}
    varied = flow_mod(V13, "add", match(V13, **fields | exact), output(V13, "flood"), cookie=1)
    assert fast(policy, varied) == slow(grant, varied)


def test_matches_of_1_0_with_prefixes_and_ports() -> None:
    fields = {"eth_type": 0x800, "ip_proto": 17, "ipv4_src": (0x0A000000, 0xFF000000), "ipv4_dst": 0x0A000001,
              "tp_dst": 53, "nw_tos": 4}  # fmt: skip
    for grant in (tagged(V10), native(V10)):
        policy = FlowModPolicy(grant)
        policy.vet(flow_mod(V10, "add", match(V10, **fields), output(V10, "flood")))
        other = {**fields, "ipv4_src": (0x0B123456, 0xFF000000), "ipv4_dst": 9, "tp_dst": 80, "nw_tos": 8}
        data = flow_mod(V10, "add", match(V10, **other), output(V10, "flood"))
        assert fast(policy, data) == slow(grant, data)


def test_a_canonical_match_with_its_vlan_is_copied_as_it_is() -> None:
    policy = FlowModPolicy(tagged(V13))
    data = flow_mod(V13, "add", match(V13, in_port=1, eth_dst=5, vlan_vid=0x1064), instructions=goto_table(1))
    policy.vet(data)
    recipe = policy.recipe(data)
    assert isinstance(recipe, Recipe13) and recipe._whole == len(data) - len(goto_table(1))
    other = flow_mod(V13, "add", match(V13, in_port=1, eth_dst=6, vlan_vid=0x1064), instructions=goto_table(1))
    assert recipe.identity(other) == slow(tagged(V13), other)[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_recipes_tell_priority_and_floods(version: int) -> None:
    policy = FlowModPolicy(tagged(version))
    data = flow_mod(version, "add", priority=0xFFFF, actions=output(version, "flood"))
    policy.vet(data)
    recipe = policy.recipe(data)
    assert recipe is not None and recipe.floods
    assert recipe.identity(data)[:3] == b"\x00\xff\xfe"
    policy.vet(learned(version))
    again = policy.recipe(learned(version))
    assert isinstance(again, Recipe10 if version == V10 else Recipe13) and not again.floods


@pytest.mark.interpreted
def test_a_recipe_that_does_not_rebuild_its_example_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, kind in ((V10, Recipe10), (V13, Recipe13)):
        monkeypatch.setattr(kind, "identity", lambda self, data: b"wrong")
        policy = FlowModPolicy(tagged(version))
        assert isinstance(policy.vet(learned(version)), FlowChange)
        assert policy.recipe(learned(version)) is None


@pytest.mark.interpreted
@pytest.mark.parametrize("version", VERSIONS)
def test_memory_is_bounded(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlowModPolicy, "CAPACITY", 10)
    policy = FlowModPolicy(tagged(version))
    for priority in range(25):
        policy.vet(learned(version, priority=priority))
        assert policy.recipe(learned(version, priority=priority)) is not None
        assert sum(len(shapes) for layouts in policy._layouts.values() for _, shapes in layouts) <= 10
    setter = bytes.fromhex("0019001080001a020000000000000000" if version == V13 else "0009000800000000")
    long = flow_mod(version, "add", actions=output(version, 2) + 200 * setter)
    assert len(long) > FlowModPolicy.LONGEST
    assert isinstance(policy.vet(long), FlowChange) and policy.recipe(long) is None


def test_layouts_of_one_length_are_bounded() -> None:
    # Pairs of 6-byte fields in either order, and masked 2-byte pairs, have one length and several layouts.
    policy = FlowModPolicy(tagged(V13))
    names = ["eth_src", "eth_dst", "metadata", "tunnel_id"]
    pairs = [(a, b) for a in names for b in names if a != b]
    for first, second in pairs:
        policy.vet(flow_mod(V13, "add", match(V13, **{first: 1, second: 1}), output(V13, 2)))
    assert max(len(layouts) for layouts in policy._layouts.values()) <= FlowModPolicy.LAYOUTS
    last = flow_mod(V13, "add", match(V13, **{pairs[-1][0]: 3, pairs[-1][1]: 4}), output(V13, 2))
    assert fast(policy, last) == slow(tagged(V13), last)


@pytest.mark.interpreted
def test_the_oldest_layout_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlowModPolicy, "LAYOUTS", 1)
    policy = FlowModPolicy(tagged(V13))
    one = flow_mod(V13, "add", match(V13, eth_src=1, in_port=1), output(V13, 2))
    two = flow_mod(V13, "add", match(V13, in_port=1, eth_src=1), output(V13, 2))
    policy.vet(one)
    policy.vet(two)
    assert policy.recipe(one) is None and policy.recipe(two) is not None


@pytest.mark.parametrize(
    ("free", "others"),
    [
        ([], [(0, 9)]),
        ([(0, 9)], []),
        ([(0, 2), (2, 4), (8, 9)], [(4, 8)]),
        ([(1, 3), (5, 6)], [(0, 1), (3, 5), (6, 9)]),
    ],
)
def test_a_shape_is_all_that_is_not_free(free: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    assert recipes._others(9, free) == others
    assert recipes._shape(bytes(range(9)), others) == b"".join(bytes(range(start, end)) for start, end in others)


def test_no_recipe_for_what_names_a_group_or_a_meter() -> None:
    """They come and go without a new grant: each message is judged when it comes."""
    grant = tagged(V13, groups={5: 0x100005}, meters={6: 1})
    policy = FlowModPolicy(grant)
    for body in (apply_actions(group(5)), instruction(6, (6).to_bytes(4, "big")) + apply_actions(output(V13, 2))):
        data = flow_mod(V13, "add", match(V13, in_port=1), instructions=body)
        assert isinstance(policy.vet(data), FlowChange)
        assert policy.recipe(data) is None
