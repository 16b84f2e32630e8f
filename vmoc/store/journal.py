"""The flow journal's file: batches of records, appended; read once at the next start.

Beside the state file, named after it: ``vmoc.db.flows``, while it is being
written anew also ``vmoc.db.flows.next``, and the lock ``vmoc.db.flows.lock``.

    file    "VMOCFLOW", format (3) 2, zero 2, boot id 16, own id 16, id of the file it goes on from 16, CRC 4
    batch   length 4, CRC of the records 4, CRC of these 8 bytes 4, records
    end     length 0xffffffff, CRC of the own id, CRC of these 8 bytes: closed in an orderly way and synced

Rules of this file:
- A batch is written with one system call before the bytes it is about leave,
  and not synced: the kernel keeps it when this process is killed. What a crash
  of the machine kept of it nobody can tell, so a journal of another boot counts
  only if it was closed.
- A batch that is cut short at the end was never acted upon; anything else
  that is wrong makes the whole journal worthless.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final
from zlib import crc32

_FILE: Final = Struct("!8sHH16s16s16s")
_CRC: Final = Struct("!I")
_BATCH: Final = Struct("!II")
_MAGIC: Final = b"VMOCFLOW"
_FORMAT: Final = 3
_END: Final = 0xFFFFFFFF
_LONGEST: Final = 1 << 30
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
HEADER: Final = _FILE.size + _CRC.size
SMALLEST: Final = 16 << 20
GROWTH: Final = 4
"""A file is written anew at this many times its size when it was new, but not below ``SMALLEST`` bytes."""


class JournalUnusableError(Exception):
    """There is a journal, and it cannot be relied on; says why."""


class JournalInUseError(Exception):
    """Another process writes it."""


def boot_id() -> bytes:
    """Sixteen bytes that name this boot of the machine; all zero where it has no such name."""
    try:
        return bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))[:16].ljust(16, b"\0")
    except (OSError, ValueError):
        return bytes(16)


class JournalFile:
    """The file of one VMOC process, from ``open`` (which locks it) to ``close``.

    ``failed`` is told, once, when it cannot be written any more; the file is
    gone then, so that no later start relies on it.
    """

    def __init__(self, state: Path, failed: Callable[[str], None], *, boot: bytes | None = None) -> None:
        self.path = state.with_name(state.name + ".flows")
        self._next = state.with_name(state.name + ".flows.next")
        self._lock_path = state.with_name(state.name + ".flows.lock")
        self._failed = failed
        self._boot = boot_id() if boot is None else boot
        self._lock = self._fd = -1
        self._id = bytes(16)
        self._size = 0
        self._rewriting = False
        self._limit = SMALLEST

    # -- starting ----------------------------------------------------------------------------------

    def lock(self) -> None:
        """Keep other processes away. Raises ``JournalInUseError``, and ``OSError`` where nothing can be written."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(fd)
            raise JournalInUseError(
                f"{self.path} is written by another vmoc; stop it, or set another state.path"
            ) from exc
        self._lock = fd

    def read(self) -> Iterator[bytes]:
        """Every whole batch of records there is. Raises ``JournalUnusableError``, sooner or later."""
        expected: bytes | None = None
        for path in (self.path, self._next):
            try:
                with path.open("rb") as file:
                    own, before = self._read_header(file, path)
                    if expected is not None and before != expected:
                        return  # a rewriting of another file
                    if expected is None and path == self._next:
                        return
                    yield from self._read_batches(file, path, own)
                    expected = own
            except FileNotFoundError:
                if path == self.path:
                    return
            except OSError as exc:
                raise JournalUnusableError(f"{path} cannot be read: {exc.strerror}") from exc

    def _read_header(self, file: BinaryIO, path: Path) -> tuple[bytes, bytes]:
        raw = file.read(HEADER)
        if len(raw) < HEADER and path == self._next and raw == _MAGIC[: len(raw)] + raw[8:]:
            return b"", b"cut short"  # killed while it was begun; it holds nothing
        if len(raw) < HEADER or raw[:8] != _MAGIC:
            raise JournalUnusableError(f"{path} is not a flow journal")
        _, version, _, boot, own, before = _FILE.unpack_from(raw)
        if version != _FORMAT:
            raise JournalUnusableError(f"{path} is of format {version}, this version reads format {_FORMAT}")
        if _CRC.unpack_from(raw, _FILE.size)[0] != crc32(raw[: _FILE.size]):
            raise JournalUnusableError(f"{path} is damaged at its beginning")
        if (boot != self._boot or not any(boot)) and not _closed(file, own):
            raise JournalUnusableError(f"{path} was not closed before the machine stopped, and may be incomplete")
        file.seek(HEADER)
        return own, before

    @staticmethod
    def _read_batches(file: BinaryIO, path: Path, own: bytes) -> Iterator[bytes]:
        while True:
            at = file.tell()
            head = file.read(_BATCH.size + _CRC.size)
            if len(head) < _BATCH.size + _CRC.size:
                return
            length, crc = _BATCH.unpack_from(head)
            if _CRC.unpack_from(head, _BATCH.size)[0] != crc32(head[: _BATCH.size]):
                raise JournalUnusableError(f"{path} is damaged at byte {at}")
            if length == _END and crc == crc32(own):
                return
            if length > _LONGEST:
                raise JournalUnusableError(f"{path} is damaged at byte {at}")
            batch = file.read(length)
            if len(batch) < length:
                return
            if crc32(batch) != crc:
                raise JournalUnusableError(f"{path} is damaged at byte {at}")
            yield batch

    def remove(self) -> None:
        """No later start is to find a journal."""
        for path in (self._next, self.path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def begin(self, *, goes_on: bool) -> None:
        """Start a new file. ``goes_on``: the old one counts until ``rewritten``. Raises ``OSError``."""
        with contextlib.suppress(FileNotFoundError):
            self._next.unlink()
        before = bytes(16)
        if goes_on:
            with self.path.open("rb") as file:
                before = _FILE.unpack(file.read(_FILE.size))[4]
        self._open_next(before)

    def _open_next(self, before: bytes) -> None:
        own = os.urandom(16)
        fd = os.open(self._next, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            head = _FILE.pack(_MAGIC, _FORMAT, 0, self._boot, own, before)
            os.write(fd, head + _CRC.pack(crc32(head)))
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._id, self._size, self._rewriting = fd, own, HEADER, True

    # -- running -----------------------------------------------------------------------------------

    def write(self, records: bytes) -> bool:
        """Append a batch. True: the file has grown so much that it should be written anew (``rewrite``)."""
        if self._fd < 0:
            return False
        head = _BATCH.pack(len(records), crc32(records))
        batch = head + _CRC.pack(crc32(head)) + records
        try:
            if os.write(self._fd, batch) != len(batch):
                raise OSError(0, "the disk is full")
        except OSError as exc:
            self._give_up(exc)
            return False
        self._size += len(batch)
        return self._size > self._limit and not self._rewriting

    def rewrite(self) -> None:
        """From now on into a new file, which replaces the old one with ``rewritten``."""
        try:
            self._open_next(self._id)
        except OSError as exc:
            self._give_up(exc)

    def rewritten(self) -> None:
        """The new file holds everything."""
        if self._fd < 0 or not self._rewriting:
            return
        try:
            self._next.rename(self.path)
        except OSError as exc:
            self._give_up(exc)
            return
        self._rewriting = False
        self._limit = max(SMALLEST, GROWTH * self._size)

    def _give_up(self, exc: OSError) -> None:
        os.close(self._fd)
        self._fd = -1
        with contextlib.suppress(OSError):
            self.remove()
        self._failed(f"{self.path} cannot be written: {exc.strerror or exc}")

    def finish(self) -> None:
        """Say that nothing follows, and see it on disk."""
        if self._fd >= 0:
            head = _BATCH.pack(_END, crc32(self._id))
            with contextlib.suppress(OSError):
                os.write(self._fd, head + _CRC.pack(crc32(head)))
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """``finish``, and let others have the file."""
        self.finish()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _closed(file: BinaryIO, own: bytes) -> bool:
    """Whether the file ends with the end mark."""
    head = _BATCH.pack(_END, crc32(own))
    mark = head + _CRC.pack(crc32(head))
    size = file.seek(0, os.SEEK_END)
    if size < HEADER + len(mark):
        return False
    file.seek(size - len(mark))
    return file.read(len(mark)) == mark
