"""The commands against a real ``vmoc run`` with a switch and controllers, one test for each group of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulation import E, EmulatedController, wait_until
from tests.emulation import wire as of
from tests.emulation.process import vmoc_command
from tests.loopback.scene import VLAN_A, Scene
from vmoc.cli import main

Captured = pytest.CaptureFixture[str]
Run = Callable[..., Any]
pytestmark = pytest.mark.slow  # programs start, and a VMOC


@pytest.fixture
def vmoc(scene13: Scene, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command; its standard output, read if it is JSON or YAML, or its error if it is to fail."""
    scene13.vmoc.wait_log("the API is at")
    monkeypatch.setenv("VMOC_SERVER", scene13.vmoc.config["grpc"]["listen"])

    def run(line: str, *, code: int = 0) -> Any:
        ended = main(line.split())
        said = capsys.readouterr()
        assert ended == code, f"vmoc {line}: {ended}, not {code}: {said.err}{said.out}"
        if code:
            return said.err
        if "-o json" in line and not line.startswith("events"):
            return json.loads(said.out)
        return yaml.safe_load(said.out) if "-o yaml" in line else said.out

    yield run
    main("slice unregister carol --allow-missing".split())
    capsys.readouterr()


def dpid(scene: Scene) -> str:
    return f"0x{scene.dpid:016x}"


def test_slice(scene13: Scene, vmoc: Run, tmp_path: Path) -> None:
    carol = EmulatedController(of.V13, name="controller C")
    scene13.others.append(carol)
    where = dpid(scene13)
    words = f"slice register carol --vlan 333 --controller {carol.address} --attach {where}:5,6 --owner c --label a=b"
    assert vmoc(f"{words} --dry-run").startswith("carol")
    assert "SLICE_NOT_FOUND" in vmoc("slice show carol", code=1)
    assert "carol added, VLAN 333" in vmoc(words)
    assert "carol unchanged" in vmoc(words)
    c = carol.wait_up(333 << 48 | scene13.dpid)
    assert [p.number for p in c.ports] == [5, 6]
    shown = vmoc("slice show carol -o json")
    (datapath,) = shown["status"]["virtual_datapaths"]
    assert (datapath["state"], datapath["dpid"], datapath["ports"]) == ("active", where, [5, 6])
    assert datapath["controllers"][0]["address"] == carol.address and "carol" in vmoc("slice show carol")
    assert [one["slice_id"] for one in vmoc("slice list --origin api -o json")] == ["carol"]
    assert {"alice", "bob", "carol"} <= {one["slice_id"] for one in vmoc("slice list -o yaml")}
    taken = vmoc(f"slice register dave --vlan 333 --attach {where}:5", code=1)
    assert "carol" in taken and "VLAN_OWNED_ELSEWHERE" in taken
    assert "SLICE_FROM_FILE" in vmoc("slice unregister alice", code=1)
    ours = f"tcp:127.0.0.1:{scene13.vmoc.port}"
    assert "OWN_LISTENER" in vmoc(f"slice register dave --vlan 334 --controller {ours}", code=1)
    vmoc("slice update carol --owner new")
    assert "ETAG_MISMATCH" in vmoc(f"slice update carol --owner x --etag {shown['etag']}", code=1)
    vmoc("slice disable carol")
    c.expect_closed()
    vmoc("slice enable carol")
    carol.wait_up(333 << 48 | scene13.dpid)
    (tmp_path / "saved.yaml").write_text(yaml.safe_dump(vmoc("slice list --origin api -o yaml")))
    assert "carol" in vmoc("slice unregister carol")
    scene13.switch.wait_for(lambda: not scene13.switch.flows(333), "end of carol's flows, guards included")
    assert vmoc("slice list --origin api -o json") == []
    vmoc(f"slice register -f {tmp_path / 'saved.yaml'}")
    assert vmoc("slice show carol -o json")["owner"] == "new"


def test_switch(scene13: Scene, vmoc: Run) -> None:
    scene13.A.flow_mod(match=of.match(of.V13, in_port=1), actions=of.output(of.V13, 2), priority=7)
    scene13.A.barrier()
    where = dpid(scene13)
    (one,) = [each for each in vmoc("switch list --state up -o json") if each["dpid"] == where]
    assert (one["state"], one["openflow_version"], one["flow_count"]) == ("up", "1.3", 1)
    assert where in vmoc("switch list --slice alice") and where in vmoc("switch list")
    shown = vmoc(f"switch show {where} -o json")
    assert [port["name"] for port in shown["ports"]][:2] == ["p1", "p2"]
    assert {each["slice_id"] for each in shown["virtual_datapaths"]} == {"alice", "bob"}
    assert "LOCAL" in vmoc(f"switch show {where}")
    (flow,) = vmoc(f"switch flows {where} --kind slice -o json")
    assert flow["slice_id"] == "alice" and f"vlan_vid=0x{0x1000 | VLAN_A:04x}" in flow["text"]
    assert "vlan_vid" not in flow["virtual_text"] and flow["priority"] == 7
    guards = vmoc(f"switch flows {where} --kind guard --vlan {VLAN_A} -o json")
    assert guards and {each["slice_id"] for each in guards} == {"alice"}
    assert "actions=output:2" in vmoc(f"switch flows {where} --slice alice --virtual")
    assert vmoc(f"switch flows {where} --table 1 -o json") == []
    assert "SWITCH_NOT_FOUND" in vmoc("switch show 0xdead", code=1)


def test_controller(scene13: Scene, vmoc: Run) -> None:
    where = dpid(scene13)
    found = vmoc(f"controller list --dpid {where} -o json")
    assert {(one["slice_id"], one["state"]) for one in found} == {("alice", "active"), ("bob", "active")}
    scene13.b.kill()

    def failing() -> list[Any]:
        return list(vmoc(f"controller list --slice bob --dpid {where} --state backoff -o json"))

    wait_until(failing, "bob's connection to be waiting")
    (one,) = failing() or wait_until(failing, "and again")
    assert one["last_error"] and one["failed_attempt_count"] >= 0 and one["vlan_id"] == 102
    assert scene13.b.address in vmoc(f"controller list --address {scene13.b.address}")
    assert vmoc("controller list --vlan 4000 -o json") == []


def test_vlan(scene13: Scene, vmoc: Run) -> None:
    used = vmoc("vlan list -o json")["vlans"]
    assert {one["vlan_id"] for one in used if one["state"] == "used"} >= {101, 102}
    assert used[0]["holders"][0]["slice_id"] == "alice"
    assert "alice" in vmoc("vlan list")
    assert "103-" in vmoc("vlan free")


def test_topology(scene13: Scene, vmoc: Run) -> None:
    where = dpid(scene13)
    whole = vmoc("topology -o json")
    assert where in {one["dpid"] for one in whole["switches"]}
    own = vmoc("topology --slice bob -o json")
    mine = [one for one in own["slice_ports"] if one["dpid"] == where]
    assert mine == [{"slice_id": "bob", "vlan_id": 102, "dpid": where, "ports": [2, 3, 4]}]
    assert where in vmoc("topology") and "LOCAL" in vmoc("topology")
    assert vmoc("topology -o dot").startswith("graph vmoc {")
    assert "SLICE_NOT_FOUND" in vmoc("topology --slice nobody", code=1)


def test_events(scene13: Scene, vmoc: Run) -> None:
    where = dpid(scene13)

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for line in vmoc(f"events --dpid {where} -o json").splitlines()]

    told = wait_until(lambda: len(found := events()) >= 5 and found, "all that the worker tells, later")
    names = [one["name"] for one in told]
    assert names.index("datapath-state") < names.index("switch-up") < names.index("controller-connected")
    assert {one["dpid"] for one in told} == {where}
    scene13.A.flow_mod(actions=of.output(of.V13, 5))
    scene13.A.barrier()
    token = told[-1]["resume_token"]
    found = [json.loads(line) for line in vmoc(f"events --since {token} --kind refusal -o json").splitlines()]
    refusal = next(one for one in found if one["dpid"] == where)
    assert refusal["slice_id"] == "alice" and refusal["refusal"]["reason"] == "foreign-out-port"
    assert "actions=output:5" in refusal["refusal"]["message_summary"]
    assert refusal["refusal"]["openflow_error"]["name"] == "BAD_ACTION/BAD_OUT_PORT"
    state = vmoc(f"events --state --dpid {where} --slice alice")
    assert "virtual datapath is active" in state and "bob" not in state
    assert vmoc("events --new") == ""
    assert "RESUME_TOKEN_EXPIRED" in vmoc("events --since gone.7", code=1)


def test_events_that_are_followed(scene13: Scene, vmoc: Run) -> None:
    def change(vlan: int) -> None:
        vmoc(f"slice register followed --vlan {vlan} --controller tcp:127.0.0.1:1")
        vmoc("slice unregister followed")

    change(300)
    words = ["events", "--follow", "--slice", "followed", "--kind", "slice", "-o", "json"]
    program = subprocess.Popen([*vmoc_command(), *words], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None

        def name() -> str:
            return str(json.loads(program.stdout.readline())["name"])  # type: ignore[union-attr]

        assert [name(), name()] == ["slice-added", "slice-removed"], "what was"
        change(301)
        assert [name(), name()] == ["slice-added", "slice-removed"], "what is new"
    finally:
        program.terminate()
        program.communicate(timeout=20)


def test_status_misses_a_switch_that_slices_are_on(
    make_scene: Callable[..., Scene], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_scene(of.V13).up()
    own.vmoc.wait_log("the API is at")
    monkeypatch.setenv("VMOC_SERVER", own.vmoc.config["grpc"]["listen"])
    assert main(["status", "-o", "json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "ready" and status["counts"]["connected_switch_count"] == 1
    assert status["caller"] == {"name": "local", "role": "admin", "manager": ""}
    own.kill("switch")
    wait_until(lambda: main(["status"]) == 1, "the switch to be missed")
    assert "degraded" in capsys.readouterr().out
    own.start("switch")
    own.wait_up()
    wait_until(lambda: main(["status"]) == 0, "all to be well again")
    assert "ready" in capsys.readouterr().out


def test_doctor(scene13: Scene, vmoc: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{state: {path: ':memory:'}, grpc: {listen: off}, metrics: {listen: off}}")
    found = {one["subject"]: one for one in vmoc(f"doctor -c {tmp_path / 'c.yaml'} -o json")}
    degraded = "degraded" in found["service"]["text"]  # other tests' switches are away
    assert found["service"]["verdict"] == ("warning" if degraded else "ok")
    assert found["controllers"]["verdict"] in ("ok", "warning")
    assert "connected" in found["switches"]["text"] or "away" in found["switches"]["text"]


def test_who_has_a_frame_is_who_the_commands_say(scene13: Scene, vmoc: Run) -> None:
    owners = {one["vlan_id"]: one["holders"][0]["slice_id"] for one in vmoc("vlan list -o json")["vlans"]}
    scene13.switch.packet_in(2, E(VLAN_A))
    assert scene13.A.expect_packet_in().data == E(VLAN_A) and owners[VLAN_A] == "alice"
