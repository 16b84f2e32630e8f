"""The programs of docs/am-guide.md do what the page says, against a real VMOC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from am_bridge.client.errors import client_error
from am_bridge.reasons import API_REASONS, ApiReason
from tests.emulation import VmocProcess
from tests.emulation.process import is_listening
from tests.emulation.waiting import wait_until

PAGE = Path(__file__).resolve().parents[3] / "docs" / "am-guide.md"
DOCUMENTED = "127.0.0.1:50051"
PROGRAMS = re.findall(r"```python\n(.*?)```(?:(?!```).)*```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
pytestmark = pytest.mark.slow  # a VMOC is started


@pytest.fixture(scope="module")
def vmoc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VmocProcess]:
    """One for all programs: each leaves nothing behind."""
    folder = tmp_path_factory.mktemp("vmoc")
    with VmocProcess(folder, {"state": {"path": str(folder / "vmoc.db")}}) as process:
        _, _, port = process.config["grpc"]["listen"].rpartition(":")
        wait_until(lambda: is_listening(int(port)), "the API to listen")
        yield process


@pytest.fixture
def load(vmoc: VmocProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], dict[str, Any]]:
    """Run one of the page's programs, against that VMOC, in an empty folder."""
    (tmp_path / "am-state").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(number: int, name: str = "__main__") -> dict[str, Any]:
        text = PROGRAMS[number][0].replace(DOCUMENTED, vmoc.config["grpc"]["listen"])
        scope: dict[str, Any] = {"__name__": name}
        exec(compile(text, f"{PAGE.name}, program {number + 1}", "exec"), scope)
        return scope

    return run


def test_every_program_has_its_output() -> None:
    assert len(PROGRAMS) == PAGE.read_text().count("```python") == 4
    assert all(DOCUMENTED in program for program, _ in PROGRAMS)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_prints_what_the_page_says(
    number: int, load: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    load(number)
    assert capsys.readouterr().out == PROGRAMS[number][1]


def test_the_complete_manager_goes_on_over_restarts(
    load: Callable[..., dict[str, Any]], vmoc: VmocProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manager: Any = load(0, "guide")["AggregateManager"]

    async def story() -> None:
        async with manager(tmp_path, vmoc.config["grpc"]["listen"]) as am:
            assert await am.allocate("exp-1", "alice", "192.0.2.10:6640", {"0x1": [1]}) == 200
            await asyncio.to_thread(vmoc.kill)
            late = asyncio.create_task(am.allocate("exp-2", "bob", "192.0.2.11:6640", {"0x1": [1]}))
            await asyncio.to_thread(vmoc.start)
            assert await asyncio.wait_for(late, 30) == 201, "made when VMOC is back"
        assert set(am.reservations) == {"exp-1", "exp-2"}
        am.reservations.pop("exp-2")
        am.save()  # promised no more while the manager was not there
        async with manager(tmp_path, vmoc.config["grpc"]["listen"]) as am:
            await am.vmoc.settled(30)
            assert [one.slice.id async for one in am.vmoc.slices(manager="geni")] == ["exp-1"]
            await am.delete("exp-1")
            await asyncio.to_thread(wait_until, am.token.exists, "an event to be written down", 10)
            assert am.reservations == {} and [one async for one in am.vmoc.slices(manager="geni")] == []

    asyncio.run(story())
    assert "VMOC was restarted; the client compares and goes on" in capsys.readouterr().out


class Refused(grpc.RpcError):  # type: ignore[misc]
    """A refusal as the channel raises it."""

    def __init__(self, reason: ApiReason) -> None:
        self.reason = reason


def test_every_reason_is_beside_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    from am_bridge.client import errors
    from am_bridge.status import ApiError

    monkeypatch.setattr(errors, "from_rpc_error", lambda refused: ApiError(refused.reason))
    wanted: dict[str, list[str]] = {}
    for one in API_REASONS.values():
        wanted.setdefault(type(client_error(Refused(one))).__name__, []).append(one.code)
    rows = re.findall(r"^\| `(\w+Error)` \| [^|]+ \| (.*) ?\|$", PAGE.read_text(), re.MULTILINE)
    assert {name: re.findall(r"`(\w+)`", reasons) for name, reasons in rows if reasons.strip()} == wanted
    assert all(hasattr(errors, name) for name, _ in rows)
