"""The supervised child: ready, restarted, its words kept, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.vmoc.net.stage import play, until
from vmoc.model import Endpoint
from vmoc.net.supervise import Supervisor

GOOD = "import sys,time; print('chatter'); print('listening 127.0.0.1:{port}', flush=True); {rest}"
FOREVER = "sys.stdin.read()"


def _python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


class Watcher:
    def __init__(self, command: list[str]) -> None:
        self.ready: list[Endpoint] = []
        self.gone: list[str] = []
        self.lines: list[str] = []
        self.supervisor = Supervisor(
            command, ready=self.ready.append, gone=self.gone.append, log=self.lines.append, backoff_first=0.02
        )


def _alive(pid: int) -> bool:
    try:
        # A zombie still has its /proc entry.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_reports_its_address_and_is_ended_on_stop(loop_kind: str) -> None:
    async def scene() -> None:
        watcher = Watcher(_python(GOOD.format(port=4242, rest=FOREVER)))
        watcher.supervisor.start()
        watcher.supervisor.start()
        await until(lambda: watcher.ready, "the child")
        assert watcher.ready == [Endpoint("tcp", "127.0.0.1", 4242)]
        pid = watcher.supervisor.pid
        assert pid is not None
        await watcher.supervisor.stop()
        assert not _alive(pid)
        assert not watcher.gone
        assert not watcher.supervisor.started
        await watcher.supervisor.stop()

    play(loop_kind, scene)


def test_a_killed_child_comes_back(loop_kind: str) -> None:
    async def scene() -> None:
        watcher = Watcher(_python(GOOD.format(port=4242, rest=FOREVER)))
        watcher.supervisor.start()
        await until(lambda: watcher.ready, "the child")
        first = watcher.supervisor.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(watcher.ready) == 2, "the next one")
        assert watcher.gone[0].startswith("it was killed by SIGKILL; restarting in ")
        assert watcher.supervisor.pid != first
        assert watcher.supervisor.restarts == 1
        await watcher.supervisor.stop()

    play(loop_kind, scene)


def test_a_child_that_fails_says_why_and_backs_off(loop_kind: str) -> None:
    async def scene() -> None:
        watcher = Watcher(_python("import sys; print('cannot', file=sys.stderr); sys.exit(3)"))
        watcher.supervisor.start()
        await until(lambda: len(watcher.gone) == 2, "two attempts")
        await watcher.supervisor.stop()
        assert watcher.gone == [
            "it ended with status 3; restarting in 0.02 s",
            "it ended with status 3; restarting in 0.04 s",
        ]
        assert watcher.lines[0] == "cannot"
        assert not watcher.ready

    play(loop_kind, scene)


def test_a_program_that_does_not_exist(loop_kind: str) -> None:
    async def scene() -> None:
        watcher = Watcher(["/nonexistent/program"])
        watcher.supervisor.start()
        await until(lambda: watcher.gone, "the failure")
        await watcher.supervisor.stop()
        assert watcher.gone[0].startswith("it cannot be started: No such file")

    play(loop_kind, scene)


def test_overlong_lines_do_no_harm(loop_kind: str) -> None:
    async def scene() -> None:
        rest = "sys.stderr.write('x' * 300000 + '\\nafter\\n'); sys.stderr.flush(); " + FOREVER
        watcher = Watcher(_python(GOOD.format(port=4242, rest=rest)))
        watcher.supervisor.start()
        await until(lambda: "after" in watcher.lines, "the line after")
        await watcher.supervisor.stop()

    play(loop_kind, scene)


def test_whoever_is_cancelled_while_the_child_ends_is_cancelled_and_the_child_ends(loop_kind: str) -> None:
    async def scene() -> None:
        slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), exit())); "
        watcher = Watcher(_python(slow + GOOD.format(port=4242, rest="time.sleep(60)")))
        watcher.supervisor.start()
        await until(lambda: watcher.ready, "the child")
        pid = watcher.supervisor.pid
        assert pid is not None
        waiting = asyncio.create_task(watcher.supervisor.stop())
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert _alive(pid)
        watcher.supervisor.start()  # wanted again before it has ended: its successor waits
        await watcher.supervisor.stop()
        assert not _alive(pid)
        watcher.supervisor.start()
        await until(lambda: len(watcher.ready) == 2, "the next child")
        await watcher.supervisor.stop()
        assert not watcher.gone

    play(loop_kind, scene)


def test_a_child_deaf_to_sigterm_is_killed(loop_kind: str) -> None:
    async def scene() -> None:
        rest = (
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', file=sys.stderr, flush=True); "
        )
        watcher = Watcher(_python(GOOD.format(port=4242, rest=rest + "time.sleep(60)")))
        watcher.supervisor.start()
        await until(lambda: "deaf" in watcher.lines, "the child")
        pid = watcher.supervisor.pid
        assert pid is not None
        await watcher.supervisor.stop()
        assert not _alive(pid)

    play(loop_kind, scene)
