"""The modules behind the netns and container back-ends, killed after each of their steps, and in check mode."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import PublishedPort, SliverSpec, User
from tests.ovs.handlers.backend import KEY, Netns
from tests.ovs.handlers.quick import call_module

DIRECT = Path(__file__).with_name("direct.py")
pytestmark = pytest.mark.parametrize("backend", ["netns", "container"], indirect=True)
PROGRAMS = ("ip", "ovs-vsctl", "nft", "nsenter")
LETHAL = """#!/bin/sh
{program} "$@"
status=$?
case "$*" in *" list "*|*"-j "*|*" find "*|*list-br*|*"netns pids"*|"list "*) exit $status;; esac
echo x >> "{count}"
[ "$(wc -l < "{count}")" -lt "$VMOC_DEADLY" ] || kill -9 $PPID
exit $status
"""


def call(
    backend: Netns, verb: str, spec: SliverSpec, deadly: int = 0, check: bool = False, **more: Any
) -> dict[str, Any] | None:
    """The module's answer; None when it was killed, which it is after its ``deadly``-th change."""
    folder = backend.folder / "bin"
    (backend.folder / "count").unlink(missing_ok=True)
    if not folder.exists():
        folder.mkdir()
        for program in PROGRAMS:
            real = next(
                p for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin") if (p := Path(place, program)).exists()
            )
            (folder / program).write_text(LETHAL.format(program=real, count=backend.folder / "count"))
            (folder / program).chmod(stat.S_IRWXU)
    arguments = {**backend.arguments, "verb": verb, "spec": encode(spec), "_ansible_check_mode": check, **more}
    path = f"{folder}:{os.environ['PATH']}" if deadly else os.environ["PATH"]
    done = subprocess.run(
        [sys.executable, str(DIRECT), backend.module, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{path}:/usr/sbin:/sbin", "VMOC_DEADLY": str(deadly)},
    )
    if done.returncode == -9:
        return None
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def spec(backend: Netns) -> SliverSpec:
    one = backend.spec("mod", users=[{"name": "alice", "keys": [KEY]}])
    return replace(one, published_ports=(PublishedPort(22),), commands=("true",), users=(User("alice", (KEY,)),))


@pytest.mark.slow
def test_killed_after_any_step_a_delete_leaves_nothing_and_a_create_mends(backend: Netns, spec: SliverSpec) -> None:
    step = 1 if backend.kind == "netns" else 2  # a container's steps are a namespace's and more: each one is tried once
    while call(backend, "create", spec, deadly=step) is None:
        if step % 4 < 2:
            mended = call(backend, "create", spec)
            assert mended is not None and mended["vmoc_result"]["state"] == "ready", mended
        gone = call(backend, "delete", spec)
        assert gone is not None and gone["vmoc_result"]["leftovers"] == [] and backend.traces() == [], step
        step += 2
    assert step > 12, "it has that many steps"
    whole = call(backend, "delete", spec)
    assert whole is not None and backend.traces() == []


def test_check_mode_changes_nothing(backend: Netns, spec: SliverSpec) -> None:
    planned = call(backend, "create", spec, check=True)
    assert planned is not None and planned["changed"] and backend.traces() == []
    call(backend, "create", spec)
    traces = backend.traces()
    removal = call(backend, "delete", spec, check=True)
    assert removal is not None and removal["changed"] and backend.traces() == traces
    call(backend, "delete", spec)


def test_half_a_namespace_is_made_whole(backend: Netns, spec: SliverSpec) -> None:
    place = Path("/run/netns", backend.instance(spec.sliver_id))
    place.parent.mkdir(exist_ok=True)
    place.touch()  # all that ``ip netns add`` had done when it was killed
    made = call(backend, "create", spec)
    assert made is not None and made["vmoc_result"]["state"] == "ready", made
    call(backend, "delete", spec)
    place.touch()
    gone = call(backend, "delete", spec)
    assert gone is not None and gone["vmoc_result"]["leftovers"] == [] and not place.exists()


def test_a_bridge_that_is_not_there(backend: Netns, spec: SliverSpec) -> None:
    backend.ovs.vsctl("del-br", "br-int")
    answer = call(backend, "create", spec)
    backend.ovs.add_bridge("br-int", 1)
    assert answer is not None and answer["failed"]
    assert answer["msg"] == f"there is no bridge br-int on this host; see {backend.kind}_bridge"


def test_cards_are_reported_where_the_uplink_ends(backend: Netns, spec: SliverSpec) -> None:
    backend.ovs.add_bridge("sw1", 7)
    backend.ovs.add_patch("br-int", 20, "sw1", 21)
    answer = call(backend, "create", replace(spec, published_ports=()), uplink="br-int-sw1")
    assert answer is not None
    (card,) = answer["vmoc_result"]["interfaces"]
    assert (card["dpid"], card["port"], card["vlan"]) == ("0x0000000000000007", 21, 101)
    call(backend, "delete", spec)


def test_what_a_killed_create_left_is_a_stray(backend: Netns, spec: SliverSpec) -> None:
    for step in (3, 8, 14):
        assert call(backend, "create", spec, deadly=step) is None
        name = backend.instance(spec.sliver_id)
        parameters = {"known": [], "remove": [name]}
        document = {**backend.arguments, "verb": "inventory", "spec": {}, "parameters": parameters}
        result = call_module(backend.module, document)
        assert result["changed"] and result["vmoc_result"]["leftovers"] == [] and backend.traces() == []


def test_a_full_disk_is_said_to_be_full(backend: Netns, spec: SliverSpec) -> None:
    folder = "/var/lib/vmoc/netns"
    os.makedirs(folder, exist_ok=True)
    words = json.dumps({**backend.arguments, "verb": "create", "spec": encode(spec)})
    full = (
        f'mount -t tmpfs -o size=4k tmpfs {folder} && (cat /dev/zero > {folder}/full || true) 2> /dev/null && exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", full, "sh", sys.executable, str(DIRECT), backend.module, words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert answer["failed"] and answer["msg"].endswith("No space left on device")
    assert backend.traces() == []
