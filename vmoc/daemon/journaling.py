"""The flow journals at the start of the service: found, dealt out, read, and begun anew (vetting D.6).

A single process keeps one journal, beside the state file; each of several
workers keeps its own, named after the state file and its number. While the
single one is there it is the truth, and the others are left-overs; else the
others are. So a change of their number can be killed at any moment.

What is wrong with a journal costs the slices' flows (they are flushed when
their switches connect) and is said in the log; it does not keep VMOC from
starting. A second VMOC on the same journal does not start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, Protocol

from vmoc.daemon.errors import StartError
from vmoc.daemon.workers.placing import Placing
from vmoc.mux.core import Mux
from vmoc.mux.journal import JournalError, Kept, replay
from vmoc.store.journal import JournalFile, JournalInUseError, JournalUnusableError

if TYPE_CHECKING:
    from vmoc.config import Settings

MEMORY = ":memory:"
GONE: Final = 2.0
"""Seconds a worker whose parent is gone may take to be gone too."""
BATCH: Final = 1 << 20
"""Bytes of records that are written at a time."""


class Log(Protocol):
    """The part of a logger that is used."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


def start(
    settings: Settings, log: Log, *, workers: int = 0, boot: bytes | None = None
) -> tuple[JournalFile | None, list[Kept]]:
    """The journal to write, None where none is wanted or possible, and what the one before came to.

    With ``workers`` the file is nobody's to write: it
    keeps others away, and those of the workers are ready. Raises ``StartError``
    when another process has it.
    """
    if settings.state_path == MEMORY:
        return None, []
    state = Path(settings.state_path)
    file = _file(state, log, boot)
    try:
        if settings.policy.on_restart == "flush":
            left = [one for one in (file, *_left_by_workers(state, log, boot).values()) if one.path.exists()]
            if left:
                file.lock()
                _remove(left)  # a later start that wants one must not take it for recent
                file.close()
            return None, []
        file.lock()
        settle(state, file, workers, log, boot)
        return (file, []) if workers else _begin(file, log)
    except JournalInUseError as exc:
        raise StartError([str(exc)], 1) from exc
    except OSError as exc:
        file.close()
        log.warning(f"{file.path} cannot be written: {exc.strerror}; the slices' flows will not survive a restart")
        return None, []


def start_worker(
    state_path: str, number: int, log: Log, *, boot: bytes | None = None
) -> tuple[JournalFile | None, list[Kept]]:
    """As ``start``, for one worker. Raises ``JournalInUseError``."""
    file = _file(of_worker(Path(state_path), number), log, boot)
    try:
        _lock(file)
        return _begin(file, log)
    except OSError as exc:
        file.close()
        log.warning(f"{file.path} cannot be written: {exc.strerror}; the slices' flows will not survive a restart")
        return None, []


def _file(state: Path, log: Log, boot: bytes | None) -> JournalFile:
    def failed(why: str) -> None:
        log.error(f"{why}; the slices' flows will not survive a restart")

    return JournalFile(state, failed, boot=boot)


def _lock(file: JournalFile) -> None:
    """A worker ends with its parent, but not in the same instant. Raises ``JournalInUseError``."""
    deadline = monotonic() + GONE
    while True:
        try:
            file.lock()
            return
        except JournalInUseError:
            if monotonic() > deadline:
                raise
            sleep(0.02)


def _begin(file: JournalFile, log: Log) -> tuple[JournalFile, list[Kept]]:
    kept = _read(file, log)
    if kept:
        flows = sum(len(one.flows) for one in kept)
        log.info(f"the flow journal knows {flows} flow(s) of {len(kept)} virtual datapath(s)", path=str(file.path))
    file.begin(goes_on=file.path.exists())
    return file, kept


def _read(file: JournalFile, log: Log) -> list[Kept]:
    try:
        return replay(file.read())
    except (JournalUnusableError, JournalError) as exc:
        log.warning(f"the flow journal is not used, the slices' flows are flushed: {exc}", path=str(file.path))
        file.remove()
        return []


def write_anew(file: JournalFile, core: Mux) -> None:
    """Everything that was kept, in a file of its own: the old one is not needed any more."""
    core.rewrite_journal()
    while True:
        more = core.rewrite_some()
        output = core.take()
        assert not output.writes, "nobody is connected yet"
        if output.journal:
            file.write(output.journal)
        if not more:
            file.rewritten()
            return


# -- one journal or several --------------------------------------------------------------------------


def of_worker(state: Path, number: int) -> Path:
    """What a worker's journal is named after."""
    return state.with_name(f"{state.name}.{number}")


def settle(state: Path, single: JournalFile, workers: int, log: Log, boot: bytes | None = None) -> None:
    """Have what is known where ``workers`` (0: the service itself) look for it; ``single`` is locked, no worker runs.

    Raises ``OSError`` and ``JournalInUseError``.
    """
    others = _left_by_workers(state, log, boot)
    if single.path.exists():
        _remove(others.values())  # killed after the single one was complete, or before the others were
        if not workers:
            return
    elif others and (not workers or max(others) >= workers):
        _write(single, [one for number in sorted(others) for one in _read_locked(others[number], log)])
        _remove(others.values())
        if not workers:
            return
    else:
        return
    for number, part in enumerate(_deal(_read(single, log), workers)):
        if part:
            file = _file(of_worker(state, number), log, boot)
            _lock(file)
            _write(file, part)
            file.close()
    single.remove()


def _left_by_workers(state: Path, log: Log, boot: bytes | None) -> dict[int, JournalFile]:
    pattern = re.compile(re.escape(state.name) + r"\.(\d{1,4})\.flows(?:\.next)?")
    if not state.parent.is_dir():
        return {}
    numbers = {int(found[1]) for path in state.parent.iterdir() if (found := pattern.fullmatch(path.name))}
    return {number: _file(of_worker(state, number), log, boot) for number in sorted(numbers)}


def _read_locked(file: JournalFile, log: Log) -> list[Kept]:
    _lock(file)
    try:
        return _read(file, log)
    finally:
        file.close()


def _write(file: JournalFile, kept: list[Kept]) -> None:
    """All of it, complete and on disk, under numbers of its own; the file can be locked or begun anew afterwards."""
    file.begin(goes_on=False)
    batch: list[bytes] = []
    size = 0
    for handle, one in enumerate(kept, 1):
        one.handle = handle
        records = one.records()
        batch += records
        size += sum(map(len, records))
        if size > BATCH:
            file.write(b"".join(batch))
            batch, size = [], 0
    if batch:
        file.write(b"".join(batch))
    file.rewritten()
    file.finish()


def _deal(kept: Iterable[Kept], workers: int) -> list[list[Kept]]:
    parts: list[list[Kept]] = [[] for _ in range(workers)]
    placing, everyone = Placing(workers), range(workers)
    for number, one in enumerate(kept, 1):
        worker = placing.choose(one.dpid, everyone)
        assert worker is not None
        if placing.worker_of(one.dpid) is None:
            placing.put(one.key, worker, number)
        parts[worker].append(one)
    return parts


def _remove(files: Iterable[JournalFile]) -> None:
    for file in files:
        file.remove()
