"""Users come in by ssh, through the published port, with the key that the specification gives them."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import HostEntry, Nic, PublishedPort, SliverSpec, User
from tests.ovs.handlers.backend import Container, Netns
from tests.ovs.handlers.quick import call_module

NETNS = pytest.mark.parametrize("backend", ["netns"], indirect=True)
CONTAINER = pytest.mark.parametrize("backend", ["container"], indirect=True)
PORT = 3160 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
"""The whole machine's, so each worker of the test run has its own."""


def call(backend: Netns, verb: str, spec: SliverSpec, **more: Any) -> dict[str, Any]:
    document = {**backend.arguments, "sshd": True, "verb": verb, "spec": encode(spec), **more}
    return call_module("netns_sliver", document)


def make_key(folder: Path, name: str) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True, timeout=30
    )
    return (folder / f"{name}.pub").read_text().strip()


def login(folder: Path, user: str, key: str, *command: str) -> subprocess.CompletedProcess[str]:
    options = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "20",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    ssh = ["ssh", "-F", "/dev/null", *words, "-i", str(folder / key), "-p", str(PORT), f"{user}@127.0.0.1"]
    return subprocess.run([*ssh, *command], capture_output=True, text=True, timeout=60, check=False)


def name_at_login(folder: Path, user: str, key: str) -> str:
    done = login(folder, user, key, "id -un")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@NETNS
def test_a_user_with_a_key_comes_in_and_nobody_else(backend: Netns) -> None:
    folder = backend.folder
    alice, bob = make_key(folder, "alice"), make_key(folder, "bob")
    spec = backend.spec("login", hostname="node.example", users=[{"name": "alice", "keys": [alice]}])
    spec = replace(spec, published_ports=(PublishedPort(22, PORT),), hosts=(HostEntry("10.0.1.9", ("peer",)),))
    answer = call(backend, "create", spec)
    result = answer["vmoc_result"]
    assert result["state"] == "ready" and result["logins"] == [{"host": "", "port": PORT, "user": "alice"}]
    assert not call(backend, "create", spec)["changed"] and not call(backend, "probe", spec)["changed"]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{PORT} {result['facts']['ssh_host_key']}\n")

    inside = login(folder, "alice", "alice", "id -un; pwd; grep peer /etc/hosts; ip -br addr show eth1")
    assert inside.returncode == 0, inside.stderr
    name, home, entry, card = inside.stdout.splitlines()
    assert (name, entry) == ("alice", "10.0.1.9 peer") and home.endswith("/home/alice") and "10.0.1.1/24" in card
    for user, key in (("alice", "bob"), ("root", "alice"), ("daemon", "alice")):
        refused = login(folder, user, key, "true")
        assert refused.returncode == 255 and "Permission denied" in refused.stderr, (user, key)

    # Another user, and alice's key is another one: the host key stays.
    changed = replace(spec, users=(User("alice", (bob,)), User("bob", (bob,))))
    call(backend, "modify", changed)
    assert name_at_login(folder, "bob", "bob") == "bob"
    assert login(folder, "alice", "alice", "true").returncode == 255
    call(backend, "add_keys", changed, parameters={"user": "alice", "keys": [alice]})
    assert name_at_login(folder, "alice", "alice") == "alice"

    call(backend, "stop", changed)
    assert login(folder, "bob", "bob", "true").returncode == 255
    assert call(backend, "start", changed)["vmoc_result"]["state"] == "ready"
    assert name_at_login(folder, "bob", "bob") == "bob"
    assert call(backend, "delete", changed)["vmoc_result"]["leftovers"] == []


@NETNS
def test_no_server_where_the_host_does_not_allow_it(backend: Netns) -> None:
    key = "ssh-ed25519 AAAA"
    spec = backend.spec("none", users=[{"name": "alice", "keys": [key]}])
    spec = replace(spec, published_ports=(PublishedPort(22),))
    call(backend, "create", spec, sshd=False)
    pids = subprocess.run(
        ["ip", "netns", "pids", backend.instance("none")], capture_output=True, text=True, check=True, timeout=30
    )
    assert pids.stdout == ""
    call(backend, "delete", spec)


@NETNS
def test_a_tagged_card_has_an_interface_of_its_vlan_or_says_why_not(backend: Netns) -> None:
    plain = backend.spec("plain")
    card = Nic("eth1", 101, addresses=("10.0.1.77/24",), tagged=True)
    spec = replace(backend.spec("tagged"), interfaces=(card,))
    call(backend, "create", plain)
    answer = call(backend, "create", spec)
    if answer.get("failed"):
        assert answer["msg"].endswith("does the kernel have 8021q?")
    else:
        assert "10.0.1.77/24" in backend.execute(spec, "ip", "addr", "show", "eth1.101")
        backend.execute(spec, "ping", "-c1", "-W5", plain.interfaces[0].addresses[0].partition("/")[0])
    for one in (plain, spec):
        call(backend, "delete", one)


def make_image(path: Path) -> None:
    """A system of busybox and this machine's sshd, with what it is linked to."""
    programs = [str(Path(str(shutil.which(name, path="/usr/sbin:/usr/bin:/bin"))).resolve()) for name in ("sshd",)]
    needed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True, timeout=30).stdout
    files = {one: Path(one).read_bytes() for one in [*programs, *re.findall(r"(/\S+) \(0x", needed)]}
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    host_key = path.with_name("host_key")
    make_key(path.parent, host_key.name)
    accounts = "root:x:0:0::/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/false\n"
    files |= {
        "/bin/busybox": busybox,
        "/etc/passwd": accounts.encode(),
        "/etc/shadow": b"root:*:19000:0:99999:7:::\n",
        "/etc/inittab": b"::sysinit:/etc/rc\n",
        "/etc/rc": f"#!/bin/sh\nexec {programs[0]} -f /etc/sshd_config\n".encode(),
        "/etc/sshd_config": b"HostKey /etc/host_key\nUsePAM no\nPasswordAuthentication no\n",
        "/etc/host_key": host_key.read_bytes(),
    }
    with tarfile.open(path, "w") as archive:
        for name in ("run/sshd", "proc", "dev", "tmp", "home", "root"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, content in files.items():
            file = tarfile.TarInfo(name.lstrip("/"))
            file.size, file.mode = len(content), 0o600 if name == "/etc/host_key" else 0o755
            archive.addfile(file, io.BytesIO(content))
        for name in ("sbin/init", "bin/sh", "bin/id", "bin/hostname", "bin/cat"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            archive.addfile(link)


@CONTAINER
def test_a_container_s_own_ssh_server(backend: Container) -> None:
    folder = backend.folder
    alice = make_key(folder, "alice")
    make_image(folder / "debian.tar")
    spec = backend.spec("box", image="debian", users=[{"name": "alice", "keys": [alice], "sudo": True}])
    spec = replace(spec, published_ports=(PublishedPort(22, PORT),))
    document = {**backend.arguments, "images": str(folder), "spec": encode(spec)}
    answer = call_module("container_sliver", {**document, "verb": "create"})
    assert answer.get("vmoc_result", {}).get("state") == "ready", answer
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{PORT} {(folder / 'host_key.pub').read_text()}")
    deadline = time.monotonic() + 60
    while (done := login(folder, "alice", "alice", "id -un; hostname")).returncode:  # until it has started
        assert time.monotonic() < deadline, done.stderr
    assert done.stdout == "alice\nbox\n"
    sudoers = backend.root(spec) / "etc" / "sudoers.d" / "vmoc"
    assert sudoers.read_text() == "alice ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert "alice:*:" in (backend.root(spec) / "etc" / "shadow").read_text()
    nobody = replace(spec, users=())
    call_module("container_sliver", {**document, "verb": "modify", "spec": encode(nobody)})
    assert sudoers.read_text() == "" and "alice" not in (backend.root(spec) / "etc" / "shadow").read_text()
    assert login(folder, "alice", "alice", "true").returncode == 255
    assert call_module("container_sliver", {**document, "verb": "delete"})["vmoc_result"]["leftovers"] == []
