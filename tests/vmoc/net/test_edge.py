"""The pump: what the core says is written, asked effects are performed, the timer keeps its time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import cast

from tests.vmoc.net.stage import play, stage, until
from vmoc.events import Event, Kind
from vmoc.model import Endpoint
from vmoc.mux.effects import AbandonDial, Close, Dial, OperatorInput, PauseReading, Report, ResumeReading
from vmoc.net.edge import FEW, GATHER, Edge
from vmoc.net.wire import Wire


def test_bytes_of_one_call_leave_in_one_write_and_in_order(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            listener = s.listen()

            def answer(cid: int, data: bytes) -> None:
                s.core.say(cid, b"one ")
                s.core.say(cid, b"two ")
                s.core.say(cid, data)

            s.core.on["south_data"] = answer
            reader, writer = await s.connect(listener.port)
            writer.write(b"three")
            assert await reader.readexactly(13) == b"one two three"
            writer.close()
            await until(lambda: s.core.named("south_closed"), "the core to be told")
            cid, why = s.core.named("south_closed")[0]
            assert why == "closed by the peer"
            assert cid not in s.edge.wires

    play(loop_kind, scene)


def test_reports_and_mirror_effects_go_where_they_belong(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            event = Event(Kind.SWITCH_UP, dpid=1)
            seen = OperatorInput((1, 0), b"x")
            s.do(Report(event), seen)
            assert s.events == [event]
            assert s.mirrored == [seen]
            s.edge.use_mirror(None)
            s.do(seen)
            assert s.mirrored == [seen]

    play(loop_kind, scene)


def test_effects_for_connections_that_are_gone_do_nothing(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            s.core.say(99, b"nobody")
            s.do(Close(99), PauseReading(99), ResumeReading(99), AbandonDial(7))

    play(loop_kind, scene)


def test_the_timer_wakes_the_core_at_its_deadline_and_not_before(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            deadline = time.monotonic() + 0.05
            s.core.deadline = deadline

            def woken(now: float) -> None:
                s.core.deadline = None

            s.core.on["wake"] = woken
            s.edge.pump()
            await until(lambda: s.core.named("wake"), "the timer")
            assert s.core.named("wake")[0][0] >= deadline

    play(loop_kind, scene)


def test_an_earlier_deadline_moves_the_timer_forward(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            s.core.on["wake"] = lambda now: setattr(s.core, "deadline", None)
            s.core.deadline = time.monotonic() + 600
            s.edge.pump()
            s.core.deadline = time.monotonic() + 0.02
            s.edge.pump()
            await until(lambda: s.core.named("wake"), "the earlier deadline", timeout=5)

    play(loop_kind, scene)


def test_a_failing_timer_is_reported_and_comes_back(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            attempts = []

            def fail(now: float) -> None:
                attempts.append(now)
                s.core.deadline = None
                if len(attempts) == 1:
                    raise ValueError("broken")

            s.core.on["wake"] = fail
            s.core.deadline = time.monotonic()
            s.edge.pump()
            await until(lambda: len(attempts) == 2, "the second wake")
            assert len(s.bugs) == 1
            assert "the timer: ValueError: broken" in s.bugs.pop()

    play(loop_kind, scene)


def test_other_threads_hand_over_calls_and_get_answers(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            answers = []

            def elsewhere() -> None:
                s.edge.call(lambda: s.core.ask(Report(Event(Kind.SLICE_ADDED))))
                answers.append(s.edge.ask(threading.get_ident).result(timeout=5))

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await until(lambda: answers, "the answer")
            thread.join()
            assert answers == [threading.get_ident()]
            assert [event.kind for event in s.events] == [Kind.SLICE_ADDED]

    play(loop_kind, scene)


def test_a_failing_call_from_elsewhere_is_a_bug_report_and_a_failing_question_an_exception(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:

            def fail() -> None:
                raise KeyError("gone")

            s.edge.call(fail)
            await until(lambda: s.bugs, "the report")
            assert "KeyError: 'gone'" in s.bugs.pop()
            future = s.edge.ask(fail)
            await until(future.done, "the answer")
            assert isinstance(future.exception(), KeyError)

    play(loop_kind, scene)


def test_calls_to_a_closed_loop_are_swallowed() -> None:
    loop = asyncio.new_event_loop()
    edges = []

    async def scene() -> None:
        async with stage() as s:
            edges.append(s.edge)

    loop.run_until_complete(scene())
    loop.close()
    edges[0].call(lambda: None)


def test_a_failing_effect_does_not_hold_back_the_next(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:

            class Broken:
                def dial(self, effect: Dial) -> None:
                    raise RuntimeError("no")

                def abandon(self, link: int) -> None: ...

            s.edge.use_dialler(Broken())
            s.do(Dial(1, Endpoint("tcp", "127.0.0.1", 1)), Report(Event(Kind.SWITCH_UP)))
            assert len(s.events) == 1
            assert "effect Dial: RuntimeError: no" in s.bugs.pop()

    play(loop_kind, scene)


def test_a_connection_that_cannot_be_written_to_is_lost_and_not_the_one_that_had_us_write(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            listener = s.listen()
            mute, _ = await s.connect(listener.port)
            await until(lambda: len(s.core.named("south_opened")) == 1, "the first switch")
            reader, writer = await s.connect(listener.port)
            await until(lambda: len(s.core.named("south_opened")) == 2, "the second switch")
            (first, *_), (second, *_) = s.core.named("south_opened")

            def broken(data: bytes) -> None:
                raise RuntimeError("the handler is closed")

            s.edge.wires[first].write = broken

            def answer(cid: int, data: bytes) -> None:
                s.core.say(first, data)
                s.core.say(cid, b"yes")

            s.core.on["south_data"] = answer
            writer.write(b"tell the other")
            assert await reader.readexactly(3) == b"yes"
            assert [cid for cid, _ in s.core.named("south_closed")] == [first]
            assert list(s.edge.wires) == [second]
            assert f"connection {first}: RuntimeError: the handler is closed" in s.bugs.pop()
            assert await mute.read() == b""
            writer.close()

    play(loop_kind, scene)


class Written:
    """Stands in for a connection."""

    congested = False

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.write = self.writes.append

    def abandon(self) -> None:
        pass


def crowd(edge: Edge, count: int) -> list[Written]:
    """So many connections, with cids from 1 on."""
    wires = [Written() for _ in range(count)]
    edge.wires.update(enumerate(cast("list[Wire]", wires), 1))
    return wires


def test_among_many_connections_what_one_turn_of_the_loop_reads_leaves_together(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            first, *_ = crowd(s.edge, FEW + 1)
            for word in (b"one", b"two", b"three"):
                s.core.say(1, word)
                s.edge.gather(len(word), time.monotonic())
            assert first.writes == [b"one"], "the first need not wait"
            await until(lambda: first.writes == [b"one", b"twothree"], "the end of the turn", timeout=5)
            s.core.say(1, b"four")
            s.edge.gather(4, time.monotonic())
            assert first.writes[2:] == [b"four"], "another turn"
            await asyncio.sleep(0)

    play(loop_kind, scene)


def test_nobody_waits_for_more_than_so_many_bytes_of_others(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            first, *_ = crowd(s.edge, FEW + 1)
            s.edge.gather(1, time.monotonic())
            s.core.say(1, b"quiet")
            s.edge.gather(5, time.monotonic())
            s.edge.gather(GATHER - 6, time.monotonic())
            assert first.writes == []
            s.edge.gather(1, time.monotonic())
            assert first.writes == [b"quiet"]
            await asyncio.sleep(0)

    play(loop_kind, scene)


def test_effects_do_not_wait_for_the_end_of_the_turn(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            crowd(s.edge, FEW + 1)
            s.edge.gather(1, time.monotonic())
            event = Event(Kind.SWITCH_UP, dpid=1)
            s.core.ask(Report(event))
            s.edge.gather(1, time.monotonic())
            assert s.events == [event]
            await asyncio.sleep(0)

    play(loop_kind, scene)


def test_with_few_connections_every_read_is_answered_by_itself(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            first, *_ = crowd(s.edge, FEW)
            for word in (b"one", b"two"):
                s.core.say(1, word)
                s.edge.gather(len(word), time.monotonic())
            assert first.writes == [b"one", b"two"]

    play(loop_kind, scene)


def test_what_is_read_is_told_to_who_looks_for_more(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            told: list[int] = []
            s.edge._came = lambda size, _: told.append(size)
            _, writer = await s.connect(s.listen().port)
            writer.write(b"three")
            await until(lambda: told == [5], "the five bytes")

    play(loop_kind, scene)


def test_a_failure_at_the_end_of_a_turn_is_reported(loop_kind: str) -> None:
    async def scene() -> None:
        async with stage() as s:
            crowd(s.edge, FEW + 1)
            s.edge.gather(1, time.monotonic())
            s.core.ask(Report(Event(Kind.SWITCH_UP)))
            s.edge.report = lambda _: 1 / 0  # type: ignore[assignment, return-value]
            await until(lambda: bool(s.bugs), "the report", timeout=5)
            assert "ZeroDivisionError" in s.bugs.pop()

    play(loop_kind, scene)
