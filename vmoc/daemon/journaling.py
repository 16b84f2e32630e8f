"""The flow journal at the start of the service: found, read, and begun anew (vetting D.6).

What is wrong with a journal costs the slices' flows (they are flushed when
their switches connect) and is said in the log; it does not keep VMOC from
starting. A second VMOC on the same journal does not start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from vmoc.config import Settings
from vmoc.daemon.errors import StartError
from vmoc.mux.core import Mux
from vmoc.mux.journal import JournalError, Kept, replay
from vmoc.store.journal import JournalFile, JournalInUseError, JournalUnusableError

MEMORY = ":memory:"


class Log(Protocol):
    """The part of a logger that is used."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


def start(settings: Settings, log: Log, *, boot: bytes | None = None) -> tuple[JournalFile | None, list[Kept]]:
    """The journal to write, None where none is wanted or possible, and what the one before came to.

    Raises ``StartError`` when another process has it.
    """
    if settings.state_path == MEMORY:
        return None, []

    def failed(why: str) -> None:
        log.error(f"{why}; the slices' flows will not survive a restart")

    file = JournalFile(Path(settings.state_path), failed, boot=boot)
    try:
        return _start(file, settings, log)
    except JournalInUseError as exc:
        raise StartError([str(exc)], 1) from exc
    except OSError as exc:
        file.close()
        log.warning(f"{file.path} cannot be written: {exc.strerror}; the slices' flows will not survive a restart")
        return None, []


def _start(file: JournalFile, settings: Settings, log: Log) -> tuple[JournalFile | None, list[Kept]]:
    if settings.policy.on_restart == "flush":
        if file.path.exists():
            file.lock()
            file.remove()  # a later start that wants one must not take it for recent
            file.close()
        return None, []
    file.lock()
    kept: list[Kept] = []
    try:
        kept = replay(file.read())
    except (JournalUnusableError, JournalError) as exc:
        log.warning(f"the flow journal is not used, the slices' flows are flushed: {exc}", path=str(file.path))
        file.remove()
    else:
        if kept:
            flows = sum(len(one.flows) for one in kept)
            log.info(f"the flow journal knows {flows} flow(s) of {len(kept)} virtual datapath(s)", path=str(file.path))
    file.begin(goes_on=file.path.exists())
    return file, kept


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
