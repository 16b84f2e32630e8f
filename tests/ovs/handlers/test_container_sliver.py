"""What containers have and namespaces have not: processes, files, users and limits of their own."""

from __future__ import annotations

import io
import os
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import HostEntry, SliverSpec, User
from tests.ovs.handlers.backend import KEY, Container
from tests.ovs.handlers.quick import call_module

pytestmark = pytest.mark.parametrize("backend", ["container"], indirect=True)


def call(backend: Container, verb: str, spec: SliverSpec, **more: Any) -> dict[str, Any]:
    return call_module("container_sliver", {**backend.arguments, "verb": verb, "spec": encode(spec), **more})


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.01)


def test_a_machine_of_its_own(backend: Container) -> None:
    spec = backend.spec("own", hostname="node.example", users=[{"name": "alice", "keys": [KEY]}])
    spec = replace(spec, commands=("echo kept > /root/kept",), hosts=(HostEntry("10.0.1.9", ("peer",)),), memory_mib=64)
    result = call(backend, "create", spec)["vmoc_result"]
    assert result["state"] == "ready"

    assert backend.execute(spec, "cat", "/proc/1/comm") == "init\n"
    assert backend.execute(spec, "hostname") == "node.example\n"
    assert backend.execute(spec, "grep", "peer", "/etc/hosts") == "10.0.1.9 peer\n"
    processes = [one for one in backend.execute(spec, "ls", "/proc").split() if one.isdecimal()]
    assert len(processes) == 2, "its first process, and ls"
    wait_for(Path(result["facts"]["console"]), "node.example is up")

    # Its root is nobody on the host, and root of nothing but its cards.
    assert backend.root(spec).stat().st_uid == (backend.root(spec) / "root" / "kept").stat().st_uid >= 1 << 20
    assert (backend.root(spec) / "home" / "alice").stat().st_uid == backend.root(spec).stat().st_uid + 60000
    for forbidden in (
        ("hostname", "other"),
        ("mount", "-t", "tmpfs", "none", "/mnt"),
        ("mknod", "/tmp/x", "c", "1", "1"),
    ):
        with pytest.raises(AssertionError, match=r"not permitted|denied|are you root"):
            backend.execute(spec, *forbidden)
    backend.execute(spec, "ip", "address", "add", "192.0.2.1/32", "dev", "lo")

    # A reboot is a new first process with the old files; commands ran once.
    before = backend.first(spec)
    backend.execute(spec, "rm", "/root/kept")
    assert call(backend, "reboot", spec)["vmoc_result"]["state"] == "ready"
    assert backend.first(spec) != before and "kept" not in backend.execute(spec, "ls", "/root")

    # What it is asked to run again it does, once it has lost its first process.
    os.kill(backend.first(spec), 9)
    assert call(backend, "probe", spec)["vmoc_result"]["problems"] == [
        "its first process does not run; start it, or reboot"
    ]
    assert call(backend, "start", spec)["vmoc_result"]["state"] == "ready"
    assert call(backend, "delete", spec)["vmoc_result"]["leftovers"] == []


def test_limits(backend: Container) -> None:
    gulp = "dd if=/dev/zero of=/dev/null bs={}M count=1"
    spec = replace(backend.spec("lim"), memory_mib=48, commands=(gulp.format(8),))
    result = call(backend, "create", spec)["vmoc_result"]
    try:
        if "memory" not in result["facts"]["limits"]:
            pytest.skip("this machine lets nobody limit memory")
        raised = replace(spec, memory_mib=64)
        assert call(backend, "modify", raised)["changed"] and not call(backend, "modify", raised)["changed"]
        call(backend, "delete", spec)
        answer = call(backend, "create", replace(spec, commands=(gulp.format(100),)))
        assert answer["failed"] and "command 1 ended with 137" in answer["msg"]
    finally:
        call(backend, "delete", spec)


def test_the_container_s_links_lead_the_host_nowhere(backend: Container) -> None:
    """Its root makes links of what the host writes and reads; nothing outside is touched."""
    victim = backend.folder / "victim"
    victim.mkdir()
    (victim / "hosts").write_text("as it was")
    spec = replace(backend.spec("link"), users=(User("alice", (KEY,)),))
    call(backend, "create", spec)
    root = backend.root(spec)
    backend.execute(spec, "sh", "-c", f"rm -r /home/alice/.ssh; ln -s {victim} /home/alice/.ssh; rm /etc/hosts")
    backend.execute(spec, "ln", "-s", str(victim / "hosts"), "/etc/hosts")
    refused = call(backend, "add_keys", spec, parameters={"user": "alice", "keys": [f"{KEY} two"]})
    assert refused["failed"] and "cannot be written" in refused["msg"]
    backend.execute(
        spec, "sh", "-c", "rm /home/alice/.ssh; mv /etc /was; mkdir /etc; cp -r /was/init* /was/passwd /etc"
    )
    call(backend, "modify", spec)
    assert (root / "etc" / "hosts").read_text().startswith("127.0.0.1 localhost") and not (
        root / "etc/hosts"
    ).is_symlink()
    backend.execute(spec, "sh", "-c", f"rm -r /home/alice; ln -s {victim} /home/alice")
    call(backend, "modify", replace(spec, users=()))
    assert [one.name for one in victim.iterdir()] == ["hosts"] and (victim / "hosts").read_text() == "as it was"
    call(backend, "delete", spec)
    assert (victim / "hosts").exists()


def test_images(backend: Container) -> None:
    images = backend.folder / "images"
    images.mkdir()
    busybox = Path("/bin/busybox").read_bytes()
    with tarfile.open(images / "tiny.tar", "w") as archive:
        for name, mode, content in (("bin/busybox", 0o4755, busybox), ("etc/mine", 0o644, b"yes\n")):
            member = tarfile.TarInfo(name)
            member.mode, member.size, member.uid = mode, len(content), 0
            archive.addfile(member, io.BytesIO(content))
        for name, target in (("sbin/init", "/bin/busybox"), ("bin/sh", "busybox"), ("bin/cat", "busybox")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        device = tarfile.TarInfo("dev/disk")
        device.type, device.devmajor, device.devminor = tarfile.BLKTYPE, 8, 0
        archive.addfile(device)
        for name in ("dev", "proc", "tmp", "home"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
    with tarfile.open(images / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("../../escaped")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    (backend.folder / "outside.tar").write_bytes((images / "tiny.tar").read_bytes())
    (images / "torn.tar").write_bytes((images / "tiny.tar").read_bytes()[:100_000])
    good = backend.spec("img", image="tiny")
    assert call(backend, "create", good, images=str(images))["vmoc_result"]["state"] == "ready"
    assert backend.execute(good, "cat", "/etc/mine") == "yes\n"
    assert not (backend.root(good) / "dev" / "disk").exists()
    assert (backend.root(good) / "bin" / "busybox").stat().st_mode & 0o7777 == 0o4755
    call(backend, "delete", good)
    cannot = "root file system cannot be made"
    for image, reason in (
        ("evil", cannot),
        ("torn", cannot),
        ("none", "no image none"),
        ("x/../../outside", "no image"),
    ):
        bad = replace(good, image=image)
        answer = call(backend, "create", bad, images=str(images))
        assert answer["failed"] and reason in answer["msg"]
        assert call(backend, "delete", bad)["vmoc_result"]["leftovers"] == []
    assert not any("escaped" in one for _, _, files in os.walk(backend.folder) for one in files)
