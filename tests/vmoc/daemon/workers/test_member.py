"""A worker's process as its parent sees it: questions, ends, restarts. The process here is a script of a few lines."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from tests.vmoc.net import stage
from tests.vmoc.net.stage import play, sockets
from vmoc.daemon.workers import member as member_module
from vmoc.daemon.workers.member import Member
from vmoc.daemon.workers.messages import Drain, Load, Noted, Ready, unpack

# Says it is ready, answers "reading", ends at Drain; says a last word before it ends by itself at "topology".
SCRIPT = """
import os, socket, sys, time
from vmoc.daemon.workers.messages import *
from vmoc.net.channel import Frames, frame
end, frames = socket.socket(fileno=int(sys.argv[1])), Frames()
def say(message): end.sendall(frame(pack(message)))
say(Ready())
while True:
    data = end.recv(65536)
    if not data:
        os._exit(0)
    for payload, _ in frames.feed(data):
        message = unpack(payload)
        if isinstance(message, Drain):
            os._exit(0)
        if isinstance(message, Asked) and message.method == "reading":
            say(Answered(message.number, pack((os.getpid(), message.arguments, message.options))))
        if isinstance(message, Asked) and message.method == "topology":
            say(Noted("info", "last words"))
            os._exit(3)
        if isinstance(message, Asked) and message.method == "nonsense":
            end.sendall(b"\\xff" * 50)
            time.sleep(60)  # and does not go by itself
"""


class Host:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def begun(self, member: Member) -> None:
        self.events.append("begun")

    def heard(self, member: Member, message: Any) -> None:
        self.events.append(message)
        if isinstance(message, Ready):
            member.is_ready()

    def gone(self, member: Member, why: str) -> None:
        self.events.append(why)
        assert not member.ready and member.pid is None


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_module, "COMMAND", (sys.executable, "-c", SCRIPT))
    monkeypatch.setattr(member_module, "BACKOFF_FIRST", 0.01)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Processes are started here, which may take long on a busy machine."""
    await stage.until(condition, what, timeout=40)


async def answer(future: Future[bytes]) -> Any:
    return unpack(await asyncio.wrap_future(future))


def test_it_is_asked_and_ends_when_it_is_told_to(loop_kind: str) -> None:
    async def scene() -> None:
        before = sockets()
        host = Host()
        member = Member(0, asyncio.get_running_loop(), host)
        early = member.ask("reading", 1, timeout=10, key="value")  # before there is anybody
        member.start()
        pid, arguments, options = await answer(early)
        assert (pid, arguments, options) == (member.pid, (1,), {"key": "value"})
        member.stop()
        member.send(Drain())
        await until(lambda: host.events[-1] == "it ended with status 0", "its end")
        assert host.events == ["begun", Ready(), "it ended with status 0"] and member.restarts == 0
        await asyncio.sleep(0.05)
        assert member.pid is None and sockets() == before

    play(loop_kind, scene)


def test_a_killed_one_comes_again_and_answers_what_its_predecessor_did_not(loop_kind: str) -> None:
    async def scene() -> None:
        host = Host()
        member = Member(0, asyncio.get_running_loop(), host)
        member.start()
        await until(lambda: member.ready, "the first")
        first = member.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        late = member.ask("reading", timeout=40)
        await asyncio.sleep(0.02)
        os.kill(first, signal.SIGKILL)
        pid, _, _ = await answer(late)
        assert pid == member.pid != first and member.restarts == 1
        assert host.events == ["begun", Ready(), "it was killed by SIGKILL", "begun", Ready()]
        member.kill()

    play(loop_kind, scene)


def test_its_last_words_are_heard_before_its_end(loop_kind: str) -> None:
    async def scene() -> None:
        host = Host()
        member = Member(0, asyncio.get_running_loop(), host)
        member.start()
        await until(lambda: member.ready, "it")
        member.ask("topology", timeout=40)
        await until(lambda: "it ended with status 3" in host.events, "its end")
        at = host.events.index("it ended with status 3")
        assert host.events[at - 1] == Noted("info", "last words")
        member.kill()

    play(loop_kind, scene)


def test_one_that_talks_nonsense_is_ended(loop_kind: str) -> None:
    async def scene() -> None:
        host = Host()
        member = Member(0, asyncio.get_running_loop(), host)
        member.start()
        await until(lambda: member.ready, "it")
        member.ask("nonsense", timeout=40)
        await until(lambda: "it was killed by SIGKILL" in host.events, "its end")
        member.kill()
        assert member.pid is None

    play(loop_kind, scene)


def test_one_that_cannot_be_started_is_tried_again(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        host = Host()
        member = Member(0, asyncio.get_running_loop(), host)
        monkeypatch.setattr(member_module, "COMMAND", ("/nonexistent",))
        member.start()
        assert host.events == ["it cannot be started: No such file or directory"]
        await until(lambda: member.restarts >= 2, "another try")
        monkeypatch.setattr(member_module, "COMMAND", (sys.executable, "-c", SCRIPT))
        await until(lambda: member.ready, "one that works")
        member.kill()

    play(loop_kind, scene)


def test_questions_are_bounded_and_those_nobody_waits_for_are_dropped(
    loop_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_module, "MOST_QUESTIONS", 3)

    async def scene() -> None:
        member = Member(0, asyncio.get_running_loop(), Host())
        asked = [member.ask("reading", timeout=40) for _ in range(4)]
        await until(asked[3].cancelled, "one too many to be refused")
        assert not any(one.done() for one in asked[:3])
        asked[0].cancel()
        again = member.ask("reading", timeout=40)
        await asyncio.sleep(0)
        member.start()
        await asyncio.wrap_future(again)
        member.kill()

    play(loop_kind, scene)


def test_what_is_said_to_nobody_is_forgotten_and_a_descriptor_closed() -> None:
    async def scene() -> None:
        member = Member(0, asyncio.get_running_loop(), Host())
        read, write = os.pipe()
        member.send(Load(0.0, 0), write)
        assert os.read(read, 1) == b""
        os.close(read)

    play("uvloop", scene)
