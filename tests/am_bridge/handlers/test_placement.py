"""Hosts with room, hosts without."""

from __future__ import annotations

import pytest

from am_bridge.handlers.handler import Host
from am_bridge.handlers.operations import Sliver
from am_bridge.handlers.placement import NoRoomError, check_room, choose_host, grows, used
from am_bridge.handlers.spec import SliverSpec, read_spec


def spec(name: str = "new", host: str = "", **more: int) -> SliverSpec:
    return read_spec({"slice_id": "s", "sliver_id": name, "resource_type": "VM", "host": host, **more})


def on(*hosts: str) -> list[Sliver]:
    return [Sliver(spec(f"vm{number}", host, vcpus=2)) for number, host in enumerate(hosts)]


HOSTS = {"h1": Host("h1"), "h2": Host("h2"), "h3": Host("h3")}


@pytest.mark.parametrize(
    ("there", "chosen"),
    [((), "h1"), (("h1",), "h2"), (("",), "h2"), (("h1", "h2"), "h3"), (("h1", "h1", "h2", "h2", "h3"), "h3")],
)
def test_the_emptiest_host_gets_it(there: tuple[str, ...], chosen: str) -> None:
    assert choose_host(HOSTS, spec(), on(*there)) == chosen


def test_a_host_without_room_is_passed_over_and_in_the_end_they_all_are() -> None:
    hosts = {"h1": Host("h1", capacity={"slivers": 1}), "h2": Host("h2", capacity={"vcpus": 4})}
    assert choose_host(hosts, spec(vcpus=4), on("h1")) == "h2"
    assert choose_host(hosts, spec(vcpus=4), on("h2")) == "h1"
    with pytest.raises(NoRoomError, match=r"host h1 has slivers for 1, of which 1 are in use \(and 1 other hosts\)"):
        choose_host(hosts, spec(vcpus=4), on("h1", "h2"))


def test_a_sliver_replaces_itself() -> None:
    host = Host("h1", capacity={"vcpus": 4})
    there = [Sliver(spec("a", "h1", vcpus=3)), Sliver(spec("b", "h1", vcpus=1))]
    check_room(host, spec("a", "h1", vcpus=3), there)
    with pytest.raises(NoRoomError):
        check_room(host, spec("a", "h1", vcpus=4), there)
    assert used(there) == {"slivers": 2, "vcpus": 4, "memory_mib": 0, "disk_gib": 0}
    assert grows(spec(vcpus=1), spec(vcpus=2)) and not grows(spec(vcpus=2, memory_mib=5), spec(vcpus=1, memory_mib=5))
