"""A libvirt of the test's own: in its network namespace, with its Open vSwitch, in folders that nobody else sees.

A libvirt that already runs here is of no use: its cards would be elsewhere.
``libvirtd`` knows only fixed folders when it runs as root. So it gets a mount
namespace where these are others, and where /dev has no kvm: software emulation
is what the tests want, and probing a kvm that is visible but odd takes a
minute. What QEMU leaves behind becomes a child of ours, because not every
first process of a machine reaps in time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.processes import Process, wait_until

SHELL: Final = r"""
set -eu
here=$1
for place in etc run/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt dev; do mkdir -p "$here/$place"; done
mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
mount -t tmpfs -o mode=755 dev "$here/dev"
mkdir "$here/dev/net" "$here/dev/pts" "$here/dev/shm"
for node in null zero full random urandom tty net/tun; do
    : >"$here/dev/$node"
    mount --bind "/dev/$node" "$here/dev/$node"
done
mount --bind /dev/pts "$here/dev/pts"; ln -s pts/ptmx "$here/dev/ptmx"
mount -t tmpfs shm "$here/dev/shm"
mount --rbind "$here/dev" /dev
# Without libvirt's system package its user is not there; it is looked up even if root is to run QEMU.
for list in passwd group; do
    { cat /etc/$list; echo "libvirt-qemu:x:64055:$([ $list = group ] || echo 64055::/:/bin/false)"; } >"$here/$list"
    mount --bind "$here/$list" /etc/$list
done
mount --bind "$here/etc" /etc/libvirt
mount --bind "$here/run/libvirt" /run/libvirt
mount --bind "$here/var/lib/libvirt" /var/lib/libvirt
mount --bind "${2:-$here/var/cache/libvirt}" /var/cache/libvirt
mount --bind "$here/var/log/libvirt" /var/log/libvirt
exec libvirtd --pid-file "$here/libvirtd.pid"
"""
QEMU_CONF: Final = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
_PR_SET_CHILD_SUBREAPER: Final = 36


class Libvirt:
    """``with Libvirt(folder, ovs, cache): ...``; ``cache`` is where it remembers what QEMU can do."""

    def __init__(self, folder: Path, ovs: PrivateOvs, cache: Path) -> None:
        self._folder = folder
        self._ovs = ovs
        self._cache = cache
        self._process: Process | None = None

    @property
    def uri(self) -> str:
        """What virsh wants."""
        return f"qemu+unix:///system?socket={self._socket}"

    @property
    def _socket(self) -> Path:
        return self._folder / "run" / "libvirt" / "libvirt-sock"

    def __enter__(self) -> Libvirt:
        (self._folder / "etc").mkdir(parents=True)
        (self._folder / "etc" / "qemu.conf").write_text(QEMU_CONF)
        (self._folder / "etc" / "libvirtd.conf").write_text('auth_unix_rw = "none"\nlisten_tls = 0\n')
        self._cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(self._folder), str(self._cache)]
        self._process = Process("libvirtd", command, log=self._folder / "log", env=self._ovs.env)
        process = self._process
        wait_until(lambda: self._socket.exists() or not process.alive, "libvirtd's socket", timeout=30)
        assert process.alive, process.output()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.stop(grace=10)


def main(folder: str, cache: str) -> None:
    """Be the parent of libvirtd and of all that it leaves behind; at the end of ourselves end them all."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    child = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", SHELL, "sh", folder, cache], env=environment
    )
    try:
        while True:
            pid, _ = os.wait()
            if pid == child.pid:
                break
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 3
            while (left := _children()) and time.monotonic() < deadline:
                for pid in left:
                    with contextlib.suppress(OSError):
                        os.kill(pid, number)
                with contextlib.suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass
                time.sleep(0.02)


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
