"""The built-in controller is there exactly while it is needed."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import Any

from tests.vmoc.net.stage import play, until
from vmoc.config import DefaultController
from vmoc.config.ownership import is_loopback
from vmoc.daemon import default_controller
from vmoc.daemon.default_controller import Keeper, Need, needs
from vmoc.model import Endpoint, Origin, Segment, Slice
from vmoc.registry import Registry

CONTROLLER = Endpoint("tcp", "192.0.2.1", 6640)
STAND_IN = (sys.executable, "-c", "import sys; print('listening 127.0.0.1:4242', flush=True); sys.stdin.read()")


NEEDY = Slice("alice", (Segment(101, (CONTROLLER,)), Segment(102)))
CONTENT = Slice("alice", (Segment(101, (CONTROLLER,)),))


def test_needed_by_enabled_segments_without_a_controller() -> None:
    assert needs(NEEDY)
    assert not needs(CONTENT)
    assert not needs(None)
    assert not needs(Slice("alice", (Segment(101),), enabled=False))


def test_the_need_is_followed_plan_by_plan() -> None:
    registry = Registry()
    registry.adopt(registry.plan([NEEDY], origin=Origin.FILE))
    need = Need(registry.snapshot)
    seen = [bool(need)]
    for slices in ([NEEDY, replace(NEEDY, id="b", segments=(Segment(7),))], [NEEDY], [CONTENT], [], [NEEDY]):
        plan = registry.plan(slices, origin=Origin.FILE)
        registry.adopt(plan)
        need.follow(plan)
        seen.append(bool(need))
    assert seen == [True, True, True, False, False, True]


def test_it_follows_the_slices() -> None:
    async def scene() -> None:
        used: list[Endpoint | None] = []
        keeper = Keeper(used.append, STAND_IN)
        builtin = DefaultController("builtin")
        await keeper.arrange(builtin, False)
        assert keeper.pid is None
        assert used == [None]
        await keeper.arrange(builtin, True)
        await until(lambda: len(used) == 2, "the controller")
        assert used[-1] == Endpoint("tcp", "127.0.0.1", 4242)
        pid = keeper.pid
        await keeper.arrange(builtin, True)
        assert keeper.pid == pid
        await keeper.arrange(DefaultController("url", CONTROLLER), True)
        assert keeper.pid is None
        assert used[-1] == CONTROLLER
        await keeper.arrange(DefaultController("none"), True)
        assert used[-1] is None
        await keeper.stop()

    play("asyncio", scene)


def test_while_it_is_gone_there_is_none() -> None:
    async def scene() -> None:
        used: list[Any] = []
        keeper = Keeper(used.append, STAND_IN)
        await keeper.arrange(DefaultController("builtin"), True)
        await until(lambda: used, "the controller")
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        await until(lambda: len(used) == 3, "the next one")
        assert used[1] is None
        assert used[2] == used[0]
        assert keeper.restarts == 1
        await keeper.stop()
        assert keeper.restarts == 1

    play("asyncio", scene)


def test_the_real_one_reports_where_it_listens() -> None:
    async def scene() -> None:
        used: list[Endpoint | None] = []
        keeper = Keeper(used.append, default_controller.COMMAND)
        await keeper.arrange(DefaultController("builtin"), True)
        await until(lambda: used, "the controller", timeout=30)
        assert used[0] is not None
        assert is_loopback(used[0].host)
        await keeper.stop()

    play("asyncio", scene)
