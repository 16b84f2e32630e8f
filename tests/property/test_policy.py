"""What no message may achieve, whatever a controller sends; judged by a matcher that is not the policy's."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulation.actions import action_lists, output_ports, split_actions
from tests.emulation.frames import vlan_of
from tests.emulation.layout import PORTS, V10
from tests.emulation.match import parse_match
from tests.property.policy_messages import flow_mods, grants, near, packet_outs, usual_adds, usual_packet_outs
from vmoc.mux.flows import FlowTable
from vmoc.policy.flowmod import FlowChange, vet_flow_mod
from vmoc.policy.grant import Grant
from vmoc.policy.packetout import PacketOut, PacketOutPolicy, vet_packet_out
from vmoc.policy.recipes import FlowModPolicy, identity_of
from vmoc.policy.verdict import Refusal

COOKIE = 1 << 48 | 1
QUICK = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
GUARD_PRIORITY = 0xFFFF
SEEDS = st.integers(0, 0xFFFFFFFF).map(Random)


def matches(match: dict[str, tuple[int, int]], packet: dict[str, int]) -> bool:
    return all((packet.get(name, 0) ^ value) & mask == 0 for name, (value, mask) in match.items())


def assert_confined(grant: Grant, change: FlowChange) -> None:
    """Whatever else a packet looks like, the flow takes only the slice's."""
    match, used = parse_match(grant.version, change.match)
    assert used == len(change.match)
    like = {name: value for name, (value, _) in match.items()}
    own = 0x1000 | grant.vlan
    port = match.get("in_port", (min(grant.ports), 0))[0]
    if grant.native:
        assert not match.get("vlan_vid", (0, 0))[0]
    else:
        for vid in (0, 0x1000, own ^ 1, own ^ 0x100, 0x1FFF, *(0x1000 | 1 << bit for bit in range(12))):
            assert vid == own or not matches(match, like | {"vlan_vid": vid, "in_port": port})
        assert matches(match, like | {"vlan_vid": own, "in_port": port})
    for foreign in {1, 2, 3, 4, 5, 0, *PORTS[grant.version].values()} - grant.ports:
        if foreign == PORTS[grant.version]["controller"]:
            continue
        takes = matches(match, like | {"in_port": foreign} | ({} if grant.native else {"vlan_vid": own}))
        if takes:
            assert "in_port" not in match
            if grant.guarded and change.table == 0 and not change.deletes:
                assert change.priority < GUARD_PRIORITY


def assert_actions(grant: Grant, actions: bytes, *, packet_out: bool = False) -> None:
    names = PORTS[grant.version]
    reachable = grant.ports | {names["in_port"], names["controller"]} | ({names["table"]} if packet_out else set())
    assert set(output_ports(grant.version, actions)) <= reachable
    own = None if grant.hides_tag else grant.vlan
    for kind, body in split_actions(actions):
        if grant.version == V10:
            assert kind in (0, 4, 5, 6, 7, 8, 9, 10, 11) or (own is not None and kind in (1, 2))
            if kind == 1:
                assert int.from_bytes(body[4:6], "big") == own
        else:
            assert kind in (0, 11, 12, 15, 16, 21, 23, 24, 25)
            if kind == 25:
                field = body[6] >> 1
                assert body[4:6] == b"\x80\x00" and field not in (0, 1, 2, 5, 10, 37, 38, 39)
                assert field not in (6, 7) or own is not None
                if field == 6:
                    assert int.from_bytes(body[8:10], "big") == 0x1000 | (own or 0)


@given(st.data(), SEEDS)
@QUICK
def test_an_accepted_flow_mod_stays_inside(data: st.DataObject, random: Random) -> None:
    grant = data.draw(grants())
    for message in near([data.draw(flow_mods(grant)), data.draw(usual_adds(grant))], random, 40):
        change = vet_flow_mod(grant, message)
        if isinstance(change, FlowChange):
            assert_confined(grant, change)
            for actions in action_lists(grant.version, change.body):
                assert_actions(grant, actions)
            assert not (change.deletes and change.body)


@given(st.data(), SEEDS)
@QUICK
def test_an_accepted_packet_out_stays_inside(data: st.DataObject, random: Random) -> None:
    grant = data.draw(grants())
    names = PORTS[grant.version]
    nowhere = {names["controller"]} | ({names["none"]} if grant.version == V10 else set())
    for message in near([data.draw(packet_outs(grant)), data.draw(usual_packet_outs(grant))], random, 40):
        case = vet_packet_out(grant, message)
        if isinstance(case, PacketOut):
            assert_actions(grant, case.actions, packet_out=True)
            assert vlan_of(case.frame) == (None if grant.native else grant.vlan)
            assert case.in_port in grant.ports | nowhere
            if case.in_port not in grant.ports:
                assert names["in_port"] not in output_ports(grant.version, case.actions)
            whole = case.message(7)
            assert whole[4:8] == b"\0\0\0\7" and int.from_bytes(whole[2:4], "big") == len(whole)


def assert_fast_is_slow(policy: FlowModPolicy, grant: Grant, message: bytes) -> None:
    recipe = policy.recipe(message)
    change = vet_flow_mod(grant, message)
    if isinstance(change, Refusal):
        assert recipe is None
    elif recipe is not None:
        assert change.command == 0
        plan = FlowTable(grant.version, 1, 0).plan(change)
        assert not isinstance(plan, Refusal)
        identity = recipe.identity(message)
        assert identity == identity_of(change)
        assert recipe.message(message, identity, 0, COOKIE.to_bytes(8, "big")) == plan.messages[0]
        assert recipe.floods == change.floods
    policy.vet(message)


@given(st.data(), SEEDS)
@QUICK
def test_a_recipe_says_what_the_chain_says(data: st.DataObject, random: Random) -> None:
    grant = data.draw(grants())
    policy = FlowModPolicy(grant)
    seen = [data.draw(flow_mods(grant, "add")), data.draw(usual_adds(grant)), data.draw(usual_adds(grant))]
    for message in near(seen, random, 80):
        assert_fast_is_slow(policy, grant, message)


@given(st.data(), SEEDS)
@QUICK
def test_a_remembered_packet_out_says_what_the_chain_says(data: st.DataObject, random: Random) -> None:
    grant = data.draw(grants())
    policy = PacketOutPolicy(grant)
    seen = [data.draw(packet_outs(grant)), data.draw(usual_packet_outs(grant)), data.draw(usual_packet_outs(grant))]
    for message in near([*seen, *seen], random, 80):
        verdict = vet_packet_out(grant, message)
        assert policy.vet(message, 5) == (verdict if isinstance(verdict, Refusal) else verdict.message(5))


@given(grants(), st.sampled_from((13, 14)), st.binary(max_size=200))
@QUICK
def test_any_bytes_are_answered(grant: Grant, kind: int, body: bytes) -> None:
    message = bytes((grant.version, kind)) + (8 + len(body)).to_bytes(2, "big") + bytes(4) + body
    for whole in (message, body):
        for verdict in (
            vet_flow_mod(grant, whole, []),
            vet_packet_out(grant, whole, []),
            FlowModPolicy(grant).vet(whole),
            PacketOutPolicy(grant).vet(whole, 1),
        ):
            assert isinstance(verdict, (Refusal, FlowChange, PacketOut, bytes))
        assert FlowModPolicy(grant).recipe(whole) is None


@given(st.data(), SEEDS)
@QUICK
def test_no_rule_fails_in_a_way_its_author_did_not_foresee(data: st.DataObject, random: Random) -> None:
    grant = data.draw(grants())
    for message in near([data.draw(flow_mods(grant)), data.draw(packet_outs(grant))], random, 40):
        for whole in (message, message[: random.randrange(len(message) + 1)]):
            for verdict in (vet_flow_mod(grant, whole), vet_packet_out(grant, whole)):
                if isinstance(verdict, Refusal):
                    assert verdict.reason.code != "codec-bug", whole.hex()
