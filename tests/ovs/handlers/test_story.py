"""Create a network, then two slivers on it, on two hosts: they talk through VMOC. Remove them: nothing is left."""

from __future__ import annotations

import subprocess

import pytest

from mininet_scenarios.processes import wait_until
from tests.ovs.handlers.stand import Stand
from tests.ovs.lab import VMOC_ADDRESS, Lab


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_network_then_two_slivers_that_talk(lab: Lab) -> None:
    stand = Stand(lab, str(lab.directory / "state.db"))
    stand.start()
    lab.ovs.set_controller("br0", VMOC_ADDRESS)
    lab.ovs.wait_connected("br0")
    (lab.directory / "slice.yaml").write_text("id: alice\nsegments: []\n")
    stand.run("slice", "register", "-f", str(lab.directory / "slice.yaml"))
    network = stand.document(
        *("sliver", "create", "lan", "--slice", "alice", "--type", "L2Bridge"),
        *("--set", "properties.follow=true", "--set", "properties.subnet=10.9.0.0/24"),
    )
    vlan = network["response"]["status"]["facts"]["vlan"]
    made = {}
    for name, host in (("left", "h1"), ("right", "h2")):
        card = "interfaces=[{name: eth1, network: lan}]"
        made[name] = stand.document(
            *("sliver", "create", name, "--slice", "alice", "--type", "netns", "--host", host, "--set", card)
        )["response"]
    for number, one in enumerate(made.values(), 1):
        (card,) = one["status"]["interfaces"]
        assert card["dpid"] == f"0x{0xA:016x}" and card["port"] == number and card["vlan_id"] == vlan
        assert card["ip_addresses"] == [f"10.9.0.{number}/24"] and card["network"] == "lan"
    (segment,) = wait_for_ports(stand)
    assert segment["attachments"][0]["ports"] == [1, 2], "the segment is where the slivers are"
    wait_until(lambda: ping(made["left"]["status"]["instance"], "10.9.0.2"), "left to reach right", timeout=20)
    assert stand.run("sliver", "delete", "lan", code=1).count("2 slivers are on network alice/lan")

    instance = made["left"]["status"]["instance"]
    assert instance not in stand.run("sliver", "reconcile", "h1")
    stand.run("sliver", "forget", "left")
    assert f"stray: instance {instance}" in stand.run("sliver", "reconcile", "h1")
    card = "interfaces=[{name: eth1, network: lan}]"
    again = ("sliver", "create", "left", "--slice", "alice", "--type", "netns", "--host", "h1", "--set", card)
    assert stand.document(*again)["response"]["status"]["interfaces"] == made["left"]["status"]["interfaces"]

    probed = stand.document("sliver", "probe", "left")
    assert probed["status"]["state"] == "active" and probed["status"]["interfaces"][0]["port"] == 1
    stand.run("sliver", "forget", "left")
    told = stand.run("sliver", "reconcile", "h1", "--remove")
    assert instance in told and stand.traces("left", slice_id="alice") == stand.traces(slice_id="alice"), told
    assert len(stand.traces("right", slice_id="alice")) > 1, "it has a record, and so is none"
    for name in ("right", "lan"):
        stand.run("sliver", "delete", name)
    assert stand.document("sliver", "list") == []
    assert not stand.document("slice", "show", "alice").get("segments")
    assert stand.traces("left", "right", slice_id="alice") == []
    shown = stand.run("operation", "list")
    assert shown.count(" done ") == 10 and shown.count("failed") == 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_doctor_lets_two_slivers_ping_each_other(lab: Lab) -> None:
    stand = Stand(lab)
    stand.start()
    lab.ovs.set_controller("br0", VMOC_ADDRESS)
    lab.ovs.wait_connected("br0")
    configuration = ("-c", str(stand.vmoc.file), "--synthetic")
    found = {one["subject"]: one for one in stand.document("doctor", *configuration)}
    told = {name: one["verdict"] for name, one in found.items() if name.startswith("synthetic")}
    subjects = ("synthetic network", "synthetic slivers", "synthetic ping", "synthetic slice")
    assert told == dict.fromkeys(subjects, "ok"), found
    assert found["synthetic slivers"]["text"].startswith("two of type netns on h1 and h2")
    assert stand.document("sliver", "list") == stand.document("slice", "list") == []
    assert stand.traces(slice_id="none") == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_failure_says_where_and_why(lab: Lab) -> None:
    stand = Stand(lab)
    stand.start()
    stand.run("slice", "register", "alice", "--vlan", "101", "--controller", "tcp:127.0.0.1:6640")
    words = ("sliver", "create", "bad", "--slice", "alice", "--type", "netns", "--set", "commands=[reboot]")
    told = stand.run(*words, code=1)
    assert "this host runs no commands of slivers" in told
    assert "(playbook netns.yml, task Sliver as a network namespace, host h1)" in told
    operation = stand.document("operation", "list")[0]
    assert operation["error"].startswith("this host runs no commands") and operation["done"]
    assert stand.document("sliver", "list") == [] and stand.traces("bad", slice_id="alice") == []


def wait_for_ports(stand: Stand) -> list[dict[str, object]]:
    def there() -> bool:
        segments = stand.document("slice", "show", "alice")["segments"]
        return bool(segments and segments[0].get("attachments") and len(segments[0]["attachments"][0]["ports"]) == 2)

    wait_until(there, "the segment to follow its cards", every=0.2)
    found: list[dict[str, object]] = stand.document("slice", "show", "alice")["segments"]
    return found


def ping(instance: str, address: str) -> bool:
    words = ["ip", "netns", "exec", instance, "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
