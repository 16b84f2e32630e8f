"""Private network namespaces, entered by the calling thread.

Everything a scenario makes lives in a namespace of its own, because Open
vSwitch's userspace datapath needs that: its ``ovs-netdev`` device exists once
per namespace, and its taps are persistent, so they outlive a crash. A
namespace goes away, with all that is in it, when its last process and file
descriptor do.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_STXCSUM: Final = 0x17
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """One network namespace, held by a file descriptor.

    ``with NetworkNamespace.create() as ns, ns.entered(): ...`` puts the
    calling thread, and every process and thread it starts, into it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def create(cls) -> NetworkNamespace:
        """A new namespace with loopback up and IPv6 off (its neighbour discovery would be noise in captures).

        Raises ``PermissionError`` without the right to make one.
        """
        before = _current()
        try:
            _check(_libc.unshare(_CLONE_NEWNET))
            try:
                namespace = cls(_current())
                _loopback_up()
                _ipv6_off()
            finally:
                _check(_libc.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)
        return namespace

    @classmethod
    def of_process(cls, pid: int) -> NetworkNamespace:
        """The namespace process ``pid`` is in."""
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @property
    def path(self) -> str:
        """A path other processes can give to ``nsenter --net=``."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread here for the length of the block."""
        before = _current()
        try:
            _check(_libc.setns(self._fd, _CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)

    def occupants(self) -> list[int]:
        """The processes whose first thread is in it."""
        number, found = os.fstat(self._fd).st_ino, []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if (entry / "ns" / "net").stat().st_ino == number:
                        found.append(int(entry.name))
        return sorted(found)

    def close(self) -> None:
        """Let go of the namespace; harmless when repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> NetworkNamespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def interfaces() -> set[str]:
    """The interfaces of the calling thread's namespace."""
    return {name for _, name in socket.if_nameindex()}


def set_up(interface: str) -> None:
    """Switch an interface on, without an address and without IPv6."""
    with contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")
    _set_flags(interface, _IFF_UP)


def whole_checksums(interface: str) -> None:
    """Have a veth's checksums filled in: Open vSwitch's userspace datapath passes on what it gets.

    Needed where programs talk TCP over an interface whose other end is a port of a bridge.
    """
    value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP8x", interface.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, _SIOCETHTOOL, request)


def set_down(interface: str) -> None:
    """Switch an interface off."""
    _set_flags(interface, 0)


def listening(port: int) -> bool:
    """Whether something listens on a TCP port of the calling thread's namespace. Asks the kernel, does not connect."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
                local, _, state = line.split()[1:4]
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False


def _set_flags(interface: str, flags: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, _SIOCSIFFLAGS, struct.pack("16sh22x", interface.encode(), flags))


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _loopback_up() -> None:
    _set_flags("lo", _IFF_UP)


def _ipv6_off() -> None:
    for scope in ("all", "default"):
        with contextlib.suppress(OSError):  # a kernel without IPv6 has nothing to switch off
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")


def _check(result: int) -> None:
    if result == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.EPERM, errno.EACCES):
        raise PermissionError(code, "making a network namespace needs root (or CAP_SYS_ADMIN); run this with sudo")
    raise OSError(code, os.strerror(code))
