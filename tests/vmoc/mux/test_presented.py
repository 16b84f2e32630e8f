from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.vmoc.mux.tenants import endpoint
from vmoc.mux.presented import Presented


def link(number: int, host: str = "c", dpid: int = 1) -> Any:
    return SimpleNamespace(number=number, endpoint=endpoint(host), datapath=SimpleNamespace(dpid=dpid))


def test_one_shows_others_wait_in_order():
    presented, first, second, third = Presented(), link(1), link(2), link(3)
    assert presented.claim(first) is None
    assert presented.claim(first) is None
    assert presented.claim(second) is first
    assert presented.claim(third) is first
    assert presented.release(first) is second
    assert presented.claim(first) is second
    assert presented.release(second) is third
    assert presented.release(third) is first
    assert presented.release(first) is None


def test_another_controller_or_dpid_is_no_clash():
    presented = Presented()
    assert presented.claim(link(1)) is None
    assert presented.claim(link(2, host="d")) is None
    assert presented.claim(link(3, dpid=2)) is None


def test_one_that_gives_up_waiting_is_not_called():
    presented, first, second = Presented(), link(1), link(2)
    presented.claim(first)
    presented.claim(second)
    assert presented.release(second) is None
    assert presented.release(first) is None
    assert presented.release(first) is None
    assert not presented._waiting and not presented._holders
