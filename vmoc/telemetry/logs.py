"""Log lines: coloured text on a terminal, logfmt elsewhere, JSON on request; one event name and key=value pairs.

Everything goes through the standard library's logging, so os-ken's and
grpc's lines come out in the same form. A thread of its own formats and
writes, because a terminal or pipe that is slow to read must not hold up the
event loop; the queue to it is bounded and what does not fit is counted.
Lines that repeat within ``REPEAT`` seconds are collapsed into one with a count.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

from vmoc.errors import VmocError

REPEAT: Final = 10.0
"""Seconds in which identical lines are collapsed."""
QUEUE: Final = 10_000
"""Lines waiting for the writer, at most."""
DISTINCT: Final = 1000
"""Different lines watched for repetition, at most."""
FORMATS: Final = ("auto", "text", "logfmt", "json")
LEVELS: Final = ("debug", "info", "warning", "error")
_CONTEXT: Final = ("slice", "dpid", "vlan", "controller")

EventDict = MutableMapping[str, Any]


class LogOptionError(VmocError):
    """A log level or format that does not exist."""


class LogWriter(logging.Handler):
    """Hands records to a thread that collapses, formats and writes them."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter, repeat: float = REPEAT) -> None:
        super().__init__()
        self.lost = 0
        self._stream = stream
        self._formatter = formatter
        self._repeat = repeat
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE)
        self._seen: dict[tuple[str, int, str], _Repeated] = {}
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; never blocks."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what is queued, counts of repetitions included, and end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout=2.0)
        super().close()

    def _run(self) -> None:
        while True:
            try:
                record = self._queue.get(timeout=self._repeat / 4)
            except queue.Empty:
                self._report_repeats(time.monotonic() - self._repeat)
                continue
            if record is None:
                self._report_repeats(float("inf"))
                return
            try:
                self._collapse(record)
            except Exception:
                # A line that cannot be formatted must not end all logging.
                self._write(f"level=error event='a log line could not be written' logger={record.name}\n")

    def _collapse(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        self._report_repeats(now - self._repeat)
        key = (record.name, record.levelno, _essence(record))
        seen = self._seen.get(key)
        if seen is not None:
            seen.count += 1
            seen.record = record
            return
        if len(self._seen) < DISTINCT:
            self._seen[key] = _Repeated(now, record)
        self._write(self._formatter.format(record) + "\n")

    def _report_repeats(self, since: float) -> None:
        """Forget lines first seen before ``since``, and say how often they came again."""
        while self._seen:
            key = next(iter(self._seen))
            seen = self._seen[key]
            if seen.first > since:
                return
            del self._seen[key]
            if seen.count:
                record = seen.record
                note = f" (and {seen.count} more like this)"
                if isinstance(record.msg, dict):
                    record.msg = {**record.msg, "event": f"{record.msg.get('event', '')}{note}"}
                else:
                    record.msg, record.args = record.getMessage() + note, None
                self._write(self._formatter.format(record) + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1  # nobody is left to tell


class _Repeated:
    __slots__ = ("count", "first", "record")

    def __init__(self, first: float, record: logging.LogRecord) -> None:
        self.first = first
        self.count = 0
        self.record = record


def _essence(record: logging.LogRecord) -> str:
    """What makes two lines the same: everything but the time."""
    if isinstance(record.msg, dict):
        return repr(sorted((key, value) for key, value in record.msg.items() if key != "timestamp"))
    return record.getMessage()


def configure(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> LogWriter:
    """Set up logging for the process and return the writer to close at the end.

    ``level`` is a level, or a list such as ``info,net=debug``: names are
    loggers below ``vmoc``, or whole logger names (``os_ken=warning``). Raises
    ``LogOptionError``.
    """
    out = stream if stream is not None else sys.stderr
    if style not in FORMATS:
        raise LogOptionError(f"{style!r} is not a log format; choose one of {', '.join(FORMATS)}")
    root_level, others = parse_levels(level)
    on_terminal = out.isatty()
    if style == "auto":
        style = "text" if on_terminal else "logfmt"
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _one_line_failures,
            *_renderer(style, on_terminal),
        ],
    )
    writer = LogWriter(out, formatter)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(writer)
    root.setLevel(root_level)
    # Foreign libraries speak of their own affairs at info.
    for chatty in ("os_ken", "OpenFlow", "asyncio", "grpc"):
        logging.getLogger(chatty).setLevel(
            max(root_level, logging.WARNING) if root_level > logging.DEBUG else root_level
        )
    for name, value in others.items():
        logging.getLogger(name).setLevel(value)
    return writer


def parse_levels(text: str) -> tuple[int, dict[str, int]]:
    """The level of everything, and those of single loggers. Raises ``LogOptionError``."""
    root, others = logging.INFO, {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, word = part.rpartition("=")
        if word.lower() not in LEVELS:
            raise LogOptionError(f"{word!r} is not a log level; choose one of {', '.join(LEVELS)}")
        value = getattr(logging, word.upper())
        if not name:
            root = value
        else:
            known = name.split(".")[0] in ("vmoc", "os_ken", "OpenFlow", "asyncio", "grpc")
            others[name if known else f"vmoc.{name}"] = value
    return root, others


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; ``name`` is that of a part of VMOC (``daemon``, ``net``)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"vmoc.{name}")
    return logger


def _renderer(style: str, colours: bool) -> list[Any]:
    if style == "json":
        return [structlog.processors.JSONRenderer()]
    if style == "logfmt":
        order = ["timestamp", "level", "logger", "event", *_CONTEXT]
        return [_printable, structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True)]
    return [structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, pad_level=False)]


def _printable(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Keys without spaces and values without line ends, as logfmt needs them."""
    return {
        key.replace(" ", "_"): value.replace("\r", "\\r") if isinstance(value, str) else value
        for key, value in event.items()
    }


def _one_line_failures(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Exceptions of foreign libraries become ``error=Type: text``: no traceback reaches the log."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    exc = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    if exc is not None:
        event["error"] = f"{type(exc).__name__}: {exc}"
    return event
