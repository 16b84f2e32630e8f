"""Network slivers, and what those that are attached to them get from them: VLAN, MTU, addresses. Pure.

A network is a sliver whose facts name a ``vlan``. A card names it by
``network``, in the same slice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from am_bridge.handlers.handler import SliverState
from am_bridge.handlers.operations import Sliver
from am_bridge.handlers.spec import Nic, SliverKey, SliverSpec, SpecError

_MOST_TRIED: Final = 1 << 16


def facts_of(sliver: Sliver | None) -> dict[str, Any] | None:
    """What a network hands on; None if it is no network, or not ready."""
    if sliver is None or sliver.result is None or sliver.state is not SliverState.READY:
        return None
    return sliver.result.facts if isinstance(sliver.result.facts.get("vlan"), int) else None


def attach(spec: SliverSpec, slivers: Iterable[Sliver]) -> SliverSpec:
    """The specification with what its cards get from their networks. Raises ``SpecError``."""
    if not any(nic.network for nic in spec.interfaces):
        return spec
    mates = {one.key: one for one in slivers if one.key.slice_id == spec.slice_id}
    before = mates.pop(spec.key, None)
    known = {nic.name: nic for nic in before.spec.interfaces} if before is not None else {}
    problems: list[tuple[str, str]] = []
    cards: list[Nic] = []
    for index, nic in enumerate(spec.interfaces):
        facts = facts_of(mates.get(SliverKey(spec.slice_id, nic.network))) if nic.network else None
        if facts is None:
            if not nic.vlan:
                problems.append(
                    (f"interfaces[{index}].network", f"there is no network {nic.network} in this slice that is ready")
                )
            cards.append(nic)
            continue
        if nic.vlan not in (0, facts["vlan"]):
            text = f"is {nic.vlan}, but network {nic.network} has VLAN {facts['vlan']}; leave it out"
            problems.append((f"interfaces[{index}].vlan", text))
        card = replace(nic, vlan=facts["vlan"], mtu=nic.mtu or int(facts.get("mtu", 0)))
        if not card.addresses and facts.get("subnet"):
            was = known.get(nic.name)
            if was is not None and was.network == nic.network and was.addresses:
                address: str | None = was.addresses[0]
            else:
                address = _free_address(str(facts["subnet"]), _taken(nic.network, facts, [*mates.values()], cards))
            if address is None:
                problems.append((f"interfaces[{index}].addresses", f"network {nic.network} has no address left"))
            else:
                card = replace(card, addresses=(address,))
        cards.append(card)
    if problems:
        raise SpecError(problems)
    return replace(spec, interfaces=tuple(cards))


def handed_on(spec: SliverSpec, slivers: Iterable[Sliver]) -> tuple[dict[str, Any], ...]:
    """What the networks that the cards name say, for the handler: ``name`` and their facts."""
    names = {nic.network for nic in spec.interfaces if nic.network}
    mates = (one for one in slivers if one.key.slice_id == spec.slice_id and one.key.sliver_id in names)
    return tuple({"name": one.key.sliver_id, **facts} for one in mates if (facts := facts_of(one)) is not None)


def users(network: Sliver, slivers: Iterable[Sliver]) -> list[SliverKey]:
    """Slivers with a card on that network."""
    if network.result is None or not isinstance(network.result.facts.get("vlan"), int):
        return []
    key = network.key
    return [
        one.key
        for one in slivers
        if one.key.slice_id == key.slice_id
        and one.key != key
        and any(nic.network == key.sliver_id for nic in one.spec.interfaces)
    ]


def _taken(name: str, facts: dict[str, Any], mates: list[Sliver], cards: list[Nic]) -> set[str]:
    found = {str(facts.get("gateway", ""))}
    nics = [nic for one in mates for nic in one.spec.interfaces] + cards
    for nic in nics:
        if nic.network == name or nic.vlan == facts["vlan"]:
            found |= {address.partition("/")[0] for address in nic.addresses}
    return found


def _free_address(subnet: str, taken: set[str]) -> str | None:
    network = ipaddress.ip_network(subnet)
    for address in islice(network.hosts(), _MOST_TRIED):
        if str(address) not in taken:
            return f"{address}/{network.prefixlen}"
    return None
