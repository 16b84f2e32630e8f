"""Starts a container: the first process of new namespaces, with nothing of the host but its kernel.

Its user namespace owns the network namespace and is entered last, so that it
owns none of the others: the container's root configures its cards, listens and
sends as it likes, and is an ordinary user in all else, so that it can change
neither its mounts nor its host name nor anything of the host.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
UIDS = 65536
"""User ids of a container: its 0 is the host's ``first_uid``."""
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_NS_GET_USERNS = 0xB701  # ioctl_ns(2)
_DONE = "done"
_libc = ctypes.CDLL(None, use_errno=True)


def make_network(first_uid: int, attach: Callable[[int], None]) -> str:
    """Have ``attach`` name a new network namespace, that of a process it is given; "" or why there is none.

    Its user namespace is a new one, too, and lives as long as it: the
    container's users, whose root is master of the cards and of nothing else.
    """
    told, alone, mapped = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        for end in (told[0], alone[0], mapped[1]):
            os.close(end)
        _guarded(told[1], lambda: _own_network(told[1], alone[1], mapped[0]))
    for end in (told[1], alone[1], mapped[0]):
        os.close(end)
    try:
        if os.read(alone[0], 1):
            for kind in ("uid", "gid"):
                with open(f"/proc/{child}/{kind}_map", "w") as file:
                    file.write(f"0 {first_uid} {UIDS}\n")
            os.write(mapped[1], b"x")
        if text := os.read(told[0], 4096).decode(errors="replace").removeprefix(_DONE):
            return text
        attach(child)
        return ""
    finally:
        for end in (told[0], alone[0], mapped[1]):
            os.close(end)  # the child ends
        os.waitpid(child, 0)


def _own_network(told: int, alone: int, mapped: int) -> None:
    _check(_libc.unshare(CLONE_NEWUSER), "make a user namespace")
    os.write(alone, b"x")
    if os.read(mapped, 1):
        _check(_libc.unshare(CLONE_NEWNET), "make a network namespace")
        os.write(told, _DONE.encode())
        os.read(mapped, 1)
    os._exit(0)


def start(
    namespace: str, root: str, hostname: str, console: str, environment: dict[str, str], join: Callable[[], None]
) -> str:
    """Run ``/sbin/init`` of ``root`` in that network namespace; "" once it runs, else why it does not.

    ``join`` is called in the process that is to be its parent: it may take it into control groups.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        words = (writer, namespace, root, hostname, console, environment, join)
        _guarded(writer, lambda: _enclose(*words))
    os.close(writer)
    with open(reader, "rb") as told:
        text = told.read(4096).decode(errors="replace")
    os.waitpid(child, 0)
    return text


def _enclose(
    told: int,
    namespace: str,
    root: str,
    hostname: str,
    console: str,
    environment: dict[str, str],
    join: Callable[[], None],
) -> None:
    """In a child: make the namespaces, and have the grandchild be the first process."""
    join()
    os.setsid()
    with open(f"/run/netns/{namespace}", "rb") as net:
        users = fcntl.ioctl(net.fileno(), _NS_GET_USERNS)
        _check(_libc.setns(net.fileno(), CLONE_NEWNET), "enter the network namespace")
    with suppress(OSError), open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
        file.write(f"0 {UIDS - 1}")  # every user may ping
    output = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWCGROUP
    _check(_libc.unshare(flags), "make namespaces")
    if os.fork() == 0:
        _guarded(told, lambda: _become_init(root, hostname, output, users, environment))
    os._exit(0)


def _become_init(root: str, hostname: str, output: int, users: int, environment: dict[str, str]) -> None:
    _mount("", "/", "", MS_REC | MS_PRIVATE)
    _mount(root, root, "", MS_BIND)
    os.chdir(root)
    # The old root comes to lie over the new one and is taken off. What follows resolves paths inside: a tenant may have
    # made a link of /proc.
    _check(_libc.syscall(_PIVOT_ROOT.get(os.uname().machine, 41), b".", b"."), "change the root")
    _check(_libc.umount2(b".", MNT_DETACH), "leave the host's files")
    os.chdir("/")
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
    os.umask(0)
    for name, numbers in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(*numbers))
    os.mkdir("/dev/pts", 0o755)
    _mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    for name, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdout": "/proc/self/fd/1"}.items():
        os.symlink(target, f"/dev/{name}")
    os.umask(0o022)
    socket.sethostname(hostname)
    for end, descriptor in enumerate((os.open("/dev/null", os.O_RDONLY), output, output)):
        os.dup2(descriptor, end)
    os.setsid()
    _check(_libc.setns(users, CLONE_NEWUSER), "enter the user namespace")
    os.close(users)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(1, signal.NSIG):
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execve("/sbin/init", ["init"], environment)


def _guarded(told: int, act: object) -> None:
    """In a child: whatever goes wrong is told to the parent, and the process ends here."""
    try:
        assert callable(act)
        act()
    except BaseException as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        what = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
        os.write(told, f"{type(error).__name__}: {reason}{what}"[:2000].encode())
    finally:
        os._exit(1)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = (source.encode() or None, target.encode(), kind.encode() or None, flags, data.encode() or None)
    _check(_libc.mount(*words), f"mount {target}")


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")
