"""The root file system of a container, as the host reads and writes it.

The container's root owns what is in it and may have made links of any part of
a path; so paths are walked step by step, and no link is followed.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_READ = 1 << 20
_FOLDERS = {"bin": 0o755, "etc/init.d": 0o755, "home": 0o755, "root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
_PLACES = ("dev", "proc", "sys", "run", "mnt", "usr", "var", "etc")
_LINKS = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin"}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/inittab": "::sysinit:/etc/init.d/rcS\n::shutdown:/bin/true\n",
    "etc/profile": "export PATH=/sbin:/bin:/usr/sbin:/usr/bin\n",
    "etc/init.d/rcS": '#!/bin/sh\necho "$(hostname) is up"\n[ ! -x /etc/rc.local ] || /etc/rc.local\n',
}


class Root:
    """A folder, and where the container's user ids begin on the host."""

    def __init__(self, path: str, first_uid: int) -> None:
        self.path = path
        self.first_uid = first_uid

    @contextmanager
    def folder(self, steps: Iterable[str], uid: int | None = None, mode: int = 0o755) -> Iterator[int]:
        """That folder, opened; missing ones are made for ``uid`` when it is given. ``OSError`` when one is a link."""
        held = os.open(self.path, _DIRECTORY)
        try:
            for step in steps:
                if uid is not None:
                    with suppress(FileExistsError):
                        os.mkdir(step, mode, dir_fd=held)
                        os.chown(step, self.first_uid + uid, self.first_uid + uid, dir_fd=held, follow_symlinks=False)
                inner = os.open(step, _DIRECTORY, dir_fd=held)
                os.close(held)
                held = inner
            yield held
        finally:
            os.close(held)

    def read(self, path: str) -> str | None:
        """The text of a plain file; None when there is none."""
        *steps, name = path.split("/")
        with suppress(OSError), self.folder(steps) as folder:
            number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with open(number, "rb") as file:
                if stat.S_ISREG(os.fstat(number).st_mode):
                    return file.read(MAX_READ).decode(errors="replace")
        return None

    def write(self, path: str, text: str, uid: int = 0, mode: int = 0o644) -> None:
        """Replace a file of the container's user ``uid``, whatever was there."""
        *steps, name = path.split("/")
        with self.folder(steps, uid) as folder:
            fresh = f".{name[:200]}.vmoc"
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=folder)
            number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
            with open(number, "w") as file:
                file.write(text)
                os.fchown(number, self.first_uid + uid, self.first_uid + uid)
                os.fchmod(number, mode)
            os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, path: str) -> None:
        """Remove a folder and all in it, if it is one."""
        *steps, name = path.split("/")
        with suppress(OSError), self.folder(steps) as folder:
            shutil.rmtree(name, dir_fd=folder)

    def build(self, archive: str) -> None:
        """Make it: from an archive, or, without one, of busybox. Raises ``OSError`` or ``ValueError``."""
        fresh = f"{self.path}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        os.makedirs(fresh, mode=0o755)
        if archive:
            self._unpack(archive, fresh)
        else:
            self._compose(fresh)
        os.chown(fresh, self.first_uid, self.first_uid)
        os.replace(fresh, self.path)

    def _unpack(self, archive: str, place: str) -> None:
        """Devices are left out."""
        try:
            with tarfile.open(archive) as opened:
                opened.extraction_filter = lambda member, _: member  # what ``contained`` has made of it
                self._extract(opened, place)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"{archive}: {error}") from None

    def _extract(self, opened: tarfile.TarFile, place: str) -> None:
        for member in opened:
            if member.isdev():
                continue
            mode, member = member.mode, contained(member, place)
            opened.extract(member, place, set_attrs=True, numeric_owner=True)
            path = os.path.join(place, member.name)
            uid, gid = (self.first_uid + min(one, 65534) for one in (member.uid, member.gid))
            os.chown(path, uid, gid, follow_symlinks=False)
            if not member.issym() and not member.islnk():
                os.chmod(path, mode & 0o7777)  # with what ``contained`` and chown took away: sudo, /tmp

    def _compose(self, place: str) -> None:
        busybox = shutil.which("busybox", path="/bin:/usr/bin:/sbin:/usr/sbin") or ""
        if not busybox or not is_static(busybox):
            raise ValueError("there is no static busybox on this host; install busybox-static")
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for name in _PLACES:
            os.mkdir(os.path.join(place, name), 0o755)
        for name, mode in _FOLDERS.items():
            os.makedirs(os.path.join(place, name), exist_ok=True)
            os.chmod(os.path.join(place, name), mode)
        shutil.copy(busybox, os.path.join(place, "bin/busybox"))
        for name in applets:
            if name != "busybox":
                os.symlink("busybox", os.path.join(place, "bin", name))
        for name, target in _LINKS.items():
            os.symlink(target, os.path.join(place, name))
        for name, text in _FILES.items():
            with open(os.path.join(place, name), "w") as file:
                file.write(text)
        os.chmod(os.path.join(place, "etc/init.d/rcS"), 0o755)
        for folder, names, files in os.walk(place):
            for name in (*names, *files):
                os.chown(os.path.join(folder, name), self.first_uid, self.first_uid, follow_symlinks=False)


def is_static(program: str) -> bool:
    """Whether an ELF program needs no dynamic linker."""
    with open(program, "rb") as file:
        start = file.read(4096)
    return start.startswith(b"\x7fELF") and b"/ld-" not in start and b"/ld64" not in start


def merge_accounts(text: str, lines: list[str], first: int, names: Iterable[str]) -> str:
    """A passwd or group file with our lines at its end: ids from ``first`` to 65000 and those names are ours."""
    taken = set(names)
    kept = []
    for line in text.splitlines():
        fields = line.split(":")
        number = int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else 0
        if fields[0] not in taken and not first <= number < 65000:
            kept.append(line)
    return "".join(f"{line}\n" for line in [*kept, *lines])


def contained(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo:
    """A member of an archive as it may be unpacked into ``place``, without the bits that give rights.

    A symbolic link may lead anywhere: it is followed in the container. Raises ``ValueError`` for a name or a hard link
    that leads out. (``tarfile.tar_filter`` is not in Python 3.11.2, and lets hard links lead anywhere.)
    """
    place, inner = os.path.realpath(place), copy(member)
    inner.name, inner.mode = member.name.lstrip("/"), member.mode & 0o755
    ends = [os.path.join(place, inner.name)]
    if member.islnk():
        ends.append(os.path.join(place, os.path.dirname(member.linkname)))
    if any(os.path.commonpath((place, os.path.realpath(end))) != place for end in ends):
        raise ValueError(f"{member.name} leads out of the archive")
    return inner
