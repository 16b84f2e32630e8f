"""Log lines: their forms, levels, collapsing, and that a slow reader holds up nobody."""

from __future__ import annotations

import io
import json
import logging
import queue
from collections.abc import Iterator

import pytest
import structlog

from tests.emulation.waiting import wait_until
from vmoc.telemetry import logs


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("os_ken", "OpenFlow", "asyncio", "grpc", "vmoc.net")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for handler in root.handlers[:]:
        if isinstance(handler, logs.LogWriter):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[str]:
    return out.getvalue().splitlines()


def test_json_lines_carry_the_context() -> None:
    out = io.StringIO()
    writer = logs.configure("info", "json", out)
    logs.get("daemon").warning("controller is gone", slice="alice", dpid="0x1", vlan=101, controller="tcp:h:1")
    writer.close()
    (line,) = [json.loads(line) for line in _lines(out)]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "controller is gone",
        "level": "warning",
        "logger": "vmoc.daemon",
        "slice": "alice",
        "dpid": "0x1",
        "vlan": 101,
        "controller": "tcp:h:1",
    }


def test_logfmt_is_the_form_of_pipes_and_keeps_one_line_per_event() -> None:
    out = io.StringIO()
    writer = logs.configure("info", "auto", out)
    logs.get("daemon").info("two words", note='a "quoted"\nline\r', slice="alice", **{"odd key": 1})
    writer.close()
    (line,) = _lines(out)
    assert 'level=info logger=vmoc.daemon event="two words" slice=alice' in line
    assert "odd_key=1" in line
    assert "dpid" not in line


def test_text_is_coloured_on_a_terminal_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, coloured in ((Terminal(), True), (io.StringIO(), False)):
        writer = logs.configure("info", "auto" if coloured else "text", out)
        logs.get("daemon").info("hello")
        writer.close()
        assert ("\x1b[" in out.getvalue()) is coloured
        assert "hello" in out.getvalue()


def test_foreign_lines_take_the_same_form_and_tracebacks_become_one_word() -> None:
    out = io.StringIO()
    writer = logs.configure("info", "logfmt", out)
    foreign = logging.getLogger("os_ken.something")
    foreign.info("not important enough")
    try:
        raise ValueError("broken")
    except ValueError:
        foreign.exception("failed on %s", "this")
    writer.close()
    (line,) = _lines(out)
    assert 'event="failed on this"' in line
    assert 'error="ValueError: broken"' in line


def test_levels_by_part() -> None:
    out = io.StringIO()
    writer = logs.configure("warning,net=debug", "logfmt", out)
    logs.get("daemon").info("hidden")
    logs.get("net").debug("shown")
    writer.close()
    assert [line.rpartition("event=")[2] for line in _lines(out)] == ["shown"]


def test_parsing_levels() -> None:
    assert logs.parse_levels("") == (logging.INFO, {})
    assert logs.parse_levels("Debug") == (logging.DEBUG, {})
    assert logs.parse_levels("info, os_ken.base=error ,mux=debug") == (
        logging.INFO,
        {"os_ken.base": logging.ERROR, "vmoc.mux": logging.DEBUG},
    )
    with pytest.raises(logs.LogOptionError, match="choose one of debug, info"):
        logs.parse_levels("loud")


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(logs.LogOptionError, match="choose one of auto, text"):
        logs.configure("info", "xml", io.StringIO())


def test_identical_lines_are_collapsed_with_a_count() -> None:
    out = io.StringIO()
    writer = logs.configure("info", "json", out)
    log = logs.get("daemon")
    for _ in range(7):
        log.info("again", dpid="0x1")
    log.info("again", dpid="0x2")
    for _ in range(3):
        logging.getLogger("os_ken").error("foreign %d", 1)
    writer.close()
    events = [(line["event"], line.get("dpid")) for line in map(json.loads, _lines(out))]
    assert events == [
        ("again", "0x1"),
        ("again", "0x2"),
        ("foreign 1", None),
        ("again (and 6 more like this)", "0x1"),
        ("foreign 1 (and 2 more like this)", None),
    ]


def test_repetitions_are_told_while_nothing_else_is_logged() -> None:
    out = io.StringIO()
    writer = logs.LogWriter(out, logging.Formatter("%(message)s"), repeat=0.05)
    for _ in range(3):
        writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "same", None, None))
    wait_until(lambda: "same (and 2 more like this)" in out.getvalue(), "the count")
    writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "same", None, None))
    wait_until(lambda: len(_lines(out)) == 3, "the line to count as new")
    writer.close()


def test_a_full_queue_loses_lines_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = logs.LogWriter(io.StringIO(), logging.Formatter())

    def full(_: object) -> None:
        raise queue.Full

    monkeypatch.setattr(writer._queue, "put_nowait", full)
    writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "lost", None, None))
    assert writer.lost == 1
    writer.close()
    writer.close()


def test_a_closed_stream_or_an_unprintable_line_does_not_end_the_logging() -> None:
    out = io.StringIO()
    writer = logs.LogWriter(out, logging.Formatter("%(message)s"))
    writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None))
    writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "fine", None, None))
    writer.close()
    assert _lines(out) == ["level=error event='a log line could not be written' logger=x", "fine"]
    out.close()
    writer = logs.LogWriter(out, logging.Formatter("%(message)s"))
    writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "to nobody", None, None))
    writer.close()
    assert writer.lost == 1
