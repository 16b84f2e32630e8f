"""The client without asyncio."""

from __future__ import annotations

import threading

import pytest

from am_bridge.client import ClosedError, ConflictError, Event, NotFoundError, VmocClientSync
from tests.am_bridge.client.simulated import slice_of
from tests.am_bridge.client.standin import StandIn

A, B = slice_of("a", 10), slice_of("b", 20)


def test_changes_and_reading(stand_in: StandIn) -> None:
    stand_in.server.slices["o"] = slice_of("o", 20, manager="other")
    with VmocClientSync(stand_in.address, manager="geni", desired=[A], longest_wait=0.2) as client:
        client.settled(5)
        assert client.put(slice_of("c", 0)).result(5).segments[0].vlan == 1  # type: ignore[union-attr]
        refused = client.put(B)
        with pytest.raises(ConflictError):
            refused.result(5)
        assert refused.done and set(client.desired) == {"a", "c"} and client.refused == set()
        assert client.remove("c").result(5) is None
        assert [one.slice.id for one in client.slices(manager="geni")] == ["a"]
        assert client.get("a").slice == A and client.server().version == "1.2.3"
        with pytest.raises(NotFoundError):
            client.get("c")


def test_events(stand_in: StandIn) -> None:
    with VmocClientSync(stand_in.address, manager="geni", longest_wait=0.2) as client:
        client.settled(5)
        assert stand_in.streaming.wait(5)
        before = len(stand_in.streams)

        def tell() -> None:
            while len(stand_in.streams) == before:
                pass
            stand_in.tell(name="switch-up")

        teller = threading.Thread(target=tell)
        teller.start()
        for event in client.events():
            assert isinstance(event, Event) and event.name == "switch-up"
            break
        teller.join()


def test_waits_are_bounded_and_closing_ends_everything(nobody: str) -> None:
    before = threading.active_count()
    with VmocClientSync(nobody, manager="geni", longest_wait=0.2) as client:
        change = client.put(A)
        with pytest.raises(TimeoutError):
            change.result(0.05)
        with pytest.raises(TimeoutError):
            client.settled(0.05)
    with pytest.raises(ClosedError):
        change.result(5)
    with pytest.raises(ClosedError):
        client.put(A)
    client.close()
    assert threading.active_count() <= before + 1  # grpc keeps a thread of its own


def test_not_opened_it_says_how() -> None:
    with pytest.raises(ClosedError, match="with VmocClientSync"):
        VmocClientSync().server()
