"""The synthetic check, against real services and a handler that answers pings as the test says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from am_bridge.handlers.handler import HandlerResult, NicStatus, Run, SliverState
from tests.am_bridge.handlers.scripted import Step, fail
from tests.am_bridge.sliver_api import SliverApi
from vmoc.cli import synthetic
from vmoc.cli.findings import Finding
from vmoc.cli.server import Server
from vmoc.cli.synthetic import Rehearsal
from vmoc.v1 import slices_pb2


@pytest.fixture
def api() -> Iterator[SliverApi]:
    running = SliverApi()
    running.now = time.time()
    (config,) = [one for one in running.processor.catalogue.handlers.values() if one.resource_type == "Scripted"]
    handlers: Any = running.processor.catalogue.handlers
    handlers["Scripted"] = replace(config, actions=frozenset({"ping"}))
    yield running
    running.close()


def answered(count: int) -> Step:
    def step(run: Run) -> HandlerResult:
        return HandlerResult(SliverState.READY, facts={"ping": {"received": count}})

    return step


def play(api: SliverApi, kind: str = "Scripted") -> tuple[list[Finding], Rehearsal]:
    server = Server(f"127.0.0.1:{api.server.port}", 10.0, None)
    try:
        rehearsal = Rehearsal(server, kind)
        return list(rehearsal.play()), rehearsal
    finally:
        server.close()


def nothing_is_left(api: SliverApi) -> bool:
    return not api.processor.slivers() and not api.slices.ListSlices(slices_pb2.ListSlicesRequest()).slices


def cards(run: Run) -> HandlerResult:

    return HandlerResult(SliverState.READY, "i", (NicStatus("eth1", addresses=("192.0.2.2/28",)),))


def test_two_slivers_that_reach_each_other(api: SliverApi) -> None:
    api.handler.steps = {"create": [cards, cards], "ping": [answered(0), answered(4)]}
    findings, rehearsal = play(api)
    assert [one.verdict for one in findings] == ["ok"] * 4, findings
    assert "on h1 and h2" in findings[1].text and findings[2].text.startswith("4 of 5 answered")
    assert {spec.slice_id for spec in api.handler.specs} == {rehearsal.name}
    assert {spec.interfaces[0].vlan for spec in api.handler.specs} == {2}, "a VLAN of the pool"
    assert nothing_is_left(api)


def test_a_network_that_carries_nothing(api: SliverApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "REACH", 0.0)
    api.handler.steps = {"create": [cards, cards], "ping": [answered(0)] * 3}
    findings, _ = play(api)
    assert [one.verdict for one in findings] == ["ok", "ok", "problem", "ok"]
    assert "default controller" in findings[2].advice and nothing_is_left(api)


def test_what_fails_is_told_and_what_was_made_is_removed(api: SliverApi) -> None:
    api.handler.steps = {"create": [cards, fail("no room")]}
    findings, _ = play(api)
    assert [one.verdict for one in findings] == ["ok", "problem", "ok"]
    assert "no room" in findings[1].text and nothing_is_left(api)


def test_what_cannot_be_removed_is_named(api: SliverApi) -> None:
    api.handler.steps = {"create": [cards, cards], "ping": [answered(5)], "delete": [fail("stuck")] * 2}
    findings, rehearsal = play(api)
    assert [one.verdict for one in findings] == ["ok", "ok", "ok", "problem", "problem"]
    assert findings[3].subject == f"removal of {rehearsal.name}-2" and "stuck" in findings[3].text
    assert "slivers are on network" in findings[4].text


def test_a_type_that_is_not_there(api: SliverApi) -> None:
    findings, _ = play(api, "netns")
    assert [(one.verdict, one.text) for one in findings] == [
        ("problem", "handlers.yaml needs a type netns with the action ping for this check")
    ]
    assert nothing_is_left(api)
