"""Builds the guest of the vm tests from Debian packages: the cloud kernel, and busybox, modules and the guest agent
in an initial RAM disk. ``python build.py FOLDER``; what is there already is left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

INIT: Final = Path(__file__).with_name("init")
MODULES: Final = "virtio_console virtio_pci virtio_blk virtio_net virtio_rng isofs 8021q"
"""With all that these depend on."""
PACKAGES: Final = ("busybox-static", "qemu-guest-agent", "cloud-init")
SCHEMA: Final = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
"""All of cloud-init that is used: what its users may write."""
PROGRAMS: Final = {
    "shutdown": "case $1 in -r) exec reboot -f ;; *) exec poweroff -f ;; esac",
    "useradd": "eval name=\\${$#}; uid=$((1000 + $(wc -l </etc/passwd))); "
    'echo "$name:x:$uid:$uid::/home/$name:/bin/sh" >>/etc/passwd; mkdir -p "/home/$name"; chown "$uid" "/home/$name"',
    "userdel": 'eval name=\\${$#}; sed -i "/^$name:/d" /etc/passwd; rm -rf "/home/$name"',
}
"""What busybox lacks."""


def build(folder: Path) -> None:
    """``kernel``, ``initrd`` and ``cloud-config-schema.json`` in that folder."""
    folder = folder.resolve()
    stamp = folder / "made-with"
    if (folder / "initrd").exists() and stamp.exists() and stamp.read_bytes() == _sources():
        return
    print("Building the guest of the vm tests from Debian packages ...", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        root = Path(place)
        os.chmod(root, 0o755)  # apt's own user reads it
        kernel = _newest_kernel()
        for package in (kernel, *PACKAGES):
            _run("apt-get", "-qq", "download", package, cwd=root)
        for package in sorted(root.glob("*.deb")):
            _run("dpkg-deb", "-x", str(package), str(root / "x"), cwd=root)
        version = kernel.removeprefix("linux-image-")
        entries = dict(_entries(root / "x", version))
        (root / "initrd").write_bytes(_archive(entries))
        os.replace(root / "initrd", folder / "initrd")
        shutil.copy(root / "x" / SCHEMA, folder / "cloud-config-schema.json")
        shutil.copy(root / "x" / "boot" / f"vmlinuz-{version}", folder / "kernel")
    stamp.write_bytes(_sources())


def _sources() -> bytes:
    return Path(__file__).read_bytes() + INIT.read_bytes()


def _newest_kernel() -> str:
    text = _run("apt-cache", "depends", "linux-image-cloud-amd64")
    found = re.search(r"Depends: (linux-image-[0-9][a-z0-9.+-]*)", text)
    if found is None:
        raise SystemExit("apt knows no linux-image-cloud-amd64; run apt-get update")
    return found[1]


def _entries(tree: Path, version: str) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Path to (mode, contents) of all that goes into the RAM disk."""
    for name in "dev proc sys bin sbin lib lib64 usr usr/sbin etc tmp root home var var/lib".split():
        yield name, (stat.S_IFDIR | 0o755, b"")
    yield "dev/console", (stat.S_IFCHR | 0o600, b"")
    yield "init", (stat.S_IFREG | 0o755, INIT.read_bytes())
    yield "bin/busybox", (stat.S_IFREG | 0o755, (tree / "bin" / "busybox").read_bytes())
    yield "bin/sh", (stat.S_IFLNK | 0o777, b"busybox")
    for name, script in PROGRAMS.items():
        yield f"sbin/{name}", (stat.S_IFREG | 0o755, f"#!/bin/sh\n{script}\n".encode())
    for name, text in {"passwd": b"root:x:0:0::/root:/bin/sh\n", "group": b"root:x:0:\n", "shadow": b""}.items():
        yield f"etc/{name}", (stat.S_IFREG | 0o644, text)
    agent = tree / "usr" / "sbin" / "qemu-ga"
    yield "usr/sbin/qemu-ga", (stat.S_IFREG | 0o755, agent.read_bytes())
    for library in _libraries(agent):
        yield str(library).lstrip("/").removeprefix("usr/"), (stat.S_IFREG | 0o755, library.read_bytes())
    modules = tree / "lib" / "modules" / version
    order = _in_order(modules)
    yield "lib/modules", (stat.S_IFDIR | 0o755, b"")
    yield "lib/modules.order", (stat.S_IFREG | 0o644, "".join(f"{path.stem}\n" for path in order).encode())
    for path in order:
        yield f"lib/modules/{path.name}", (stat.S_IFREG | 0o644, path.read_bytes())


def _libraries(program: Path) -> list[Path]:
    """The shared libraries of the program, its loader too. They come with QEMU, which needs them as well."""
    text = _run("ldd", str(program))
    if "not found" in text:
        raise SystemExit(f"the guest agent's libraries are not here: {text}")
    return [Path(word) for word in re.findall(r"(/\S+) \(0x", text)]


def _in_order(folder: Path) -> list[Path]:
    """The modules and what they need, each after what it needs."""
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    done: dict[str, Path] = {}

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in done or name not in files:
            return
        needed = re.search(rb"depends=([^\0]*)\0", files[name].read_bytes())
        for other in needed[1].decode().split(",") if needed else []:
            if other:
                add(other)
        done[name] = files[name]

    for name in MODULES.split():
        add(name)
    return list(done.values())


def _archive(entries: dict[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the "newc" format: 13 hexadecimal fields, the name, the contents, each padded to 4 bytes."""
    folders = {str(parent) for name in entries for parent in Path(name).parents} - {".", *entries}
    entries = {**dict.fromkeys(sorted(folders), (stat.S_IFDIR | 493, b"")), **entries}
    parts: list[bytes] = []
    listed = [*sorted(entries.items(), key=lambda one: (one[0].count("/"), one[0])), ("TRAILER!!!", (0, b""))]
    for number, (name, (mode, data)) in enumerate(listed, 1):
        major, minor = (5, 1) if name == "dev/console" else (0, 0)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
    return b"".join(parts)


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    build(Path(sys.argv[1]))
