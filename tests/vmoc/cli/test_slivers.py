"""``vmoc sliver`` and ``vmoc operation`` against the real services, with a handler the test conducts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from am_bridge.handlers.handler import HandlerResult, NicStatus, SliverState
from tests.am_bridge.handlers.scripted import WAIT, Gate, fail
from tests.am_bridge.sliver_api import SliverApi
from vmoc.cli import main

Captured = pytest.CaptureFixture[str]
CARD = "interfaces=[{name: eth1, vlan: 101}]"
CREATE = ("sliver", "create", "vm1", "--slice", "one", "--type", "Scripted", "--set", CARD)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[SliverApi]:
    running = SliverApi()
    running.register("one", 101)
    monkeypatch.setenv("VMOC_SERVER", f"127.0.0.1:{running.server.port}")
    yield running
    running.close()


def document(capsys: Captured, *words: str, code: int = 0) -> Any:
    assert main([*words, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_life(api: SliverApi, capsys: Captured) -> None:
    card = (NicStatus("eth1", "02:00:00:00:00:01", 101, "0x000000000000000a", 7, ("10.0.0.1/24",)),)
    api.handler.steps = {"create": [lambda run: HandlerResult(SliverState.READY, "i-1", card, facts={"port": 7})]}
    assert main(CREATE) == 0
    told = capsys.readouterr()
    assert "state:    active" in told.out and "0x000000000000000a  7" in told.out and "port=7\n" in told.out
    assert "ok        " in told.err, "the tasks are shown while it runs"
    made = document(capsys, "sliver", "show", "vm1")
    assert main(["sliver", "list"]) == 0
    assert "10.0.0.1/24" in capsys.readouterr().out
    assert made["spec"] == {"interfaces": [{"name": "eth1", "vlan": 101}]} and made["host"] == "h1"

    api.now += 1
    changed = document(capsys, "sliver", "modify", "vm1", "--set", "vcpus=4", "--set", "properties.colour=red")
    assert changed["response"]["spec"]["vcpus"] == 4 and changed["response"]["spec"]["interfaces"]
    assert api.handler.specs[-1].properties == {"colour": "red"}
    assert main(["sliver", "modify", "vm1", "--set", "vcpus=2", "--etag", made["etag"]]) == 1
    assert "ETAG_MISMATCH" in capsys.readouterr().err

    api.now += 1
    assert main(["sliver", "action", "vm1", "reboot"]) == 0
    api.now += 1
    assert main(["sliver", "probe", "vm1"]) == 0
    capsys.readouterr()
    operations = document(capsys, "operation", "list")
    assert [one["metadata"]["verb"] for one in operations] == ["probe", "action", "modify", "create"]
    assert document(capsys, "operation", "show", operations[-1]["name"])["metadata"]["task_count"] == 1
    assert main(["sliver", "delete", "vm1"]) == 0
    assert main(["sliver", "delete", "vm1", "--allow-missing"]) == 0
    assert main(["sliver", "delete", "vm1"]) == 1
    assert "SLIVER_NOT_FOUND" in capsys.readouterr().err


def test_an_expiry_comes_and_goes(api: SliverApi, capsys: Captured) -> None:
    assert main([*CREATE, "--expires", "2030-01-31T12:00:00Z"]) == 0
    assert "expires:  2030-01-31T12:00:00.000Z" in capsys.readouterr().out
    assert document(capsys, "sliver", "modify", "vm1", "--never-expires")["response"]["expire_time"] is None
    assert main(["sliver", "modify", "vm1", "--expires", "1h", "--never-expires"]) == 2
    assert main(["sliver", "modify", "vm1"]) == 2
    assert api.handler.verbs() == ["create"]


def test_a_failure_says_where(api: SliverApi, capsys: Captured) -> None:
    api.handler.steps = {"create": [fail("disk is full")]}
    assert main(CREATE) == 1
    assert "disk is full (HANDLER_FAILED) (task t)" in capsys.readouterr().err
    assert main([*CREATE[:-1], "interfaces=[{name: eth1, vlan: 7}]"]) == 1
    assert "sliver.spec.interfaces[0].vlan: is 7, which is not the slice's" in capsys.readouterr().err


def test_an_operation_is_cancelled_and_waited_for(api: SliverApi, capsys: Captured) -> None:
    gate = Gate(HandlerResult(SliverState.READY))
    api.handler.steps = {"create": [gate]}
    assert main([*CREATE, "--no-wait"]) == 0
    name = capsys.readouterr().out.strip()
    assert gate.began.wait(WAIT)
    assert [one["name"] for one in document(capsys, "operation", "list", "--running")] == [name]
    waiting = threading.Timer(0.05, lambda: api.processor.cancel(name.removeprefix("operations/")))
    waiting.start()
    assert main(["operation", "wait", name]) == 1
    assert "CANCELLED" in capsys.readouterr().err
    waiting.join()
    assert main(["operation", "cancel", name]) == 0, "what is over stays as it is"


def test_types_and_hosts(api: SliverApi, capsys: Captured) -> None:
    assert main(["sliver", "types"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == (
        "Scripted scripted create, modify, delete, probe, action reboot".split()
    )
    assert main(["sliver", "hosts"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["h1", "h2"]
