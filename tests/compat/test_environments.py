"""What cannot be installed fails, unless the machine is said to be offline."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.compat import conftest, environments
from tests.compat.environments import NotToBeHadError


def not_to_be_had(name: str) -> Path:
    raise NotToBeHadError(f"no packages of {name}")


FAILS, SKIPS = pytest.fail.Exception, pytest.skip.Exception


@pytest.mark.parametrize(
    ("offline", "answers", "outcome"), [(None, True, FAILS), (None, False, SKIPS), ("1", True, SKIPS)]
)
def test_only_a_machine_that_is_offline_skips(
    monkeypatch: pytest.MonkeyPatch, offline: str | None, answers: bool, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(conftest, "environment", not_to_be_had)
    monkeypatch.setattr(conftest, "registry_answers", lambda: answers)
    monkeypatch.delenv("VMOC_OFFLINE", raising=False)
    if offline is not None:
        monkeypatch.setenv("VMOC_OFFLINE", offline)
    with pytest.raises(outcome, match="no packages of faucet"):
        conftest._environment("faucet")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Packages that were installed, or not, of the lists in ``tmp_path``."""
    monkeypatch.setattr(environments, "LISTS", tmp_path)
    monkeypatch.setattr(environments, "PLACE", tmp_path / "place")
    found: list[str] = []

    def run(name: str, words: list[str]) -> None:
        found.append(words[-1])
        (tmp_path / "place" / name).mkdir(exist_ok=True)

    monkeypatch.setattr(environments, "_run", run)
    return found


def and_then(monkeypatch: pytest.MonkeyPatch, happens: Callable[[str], None]) -> None:
    """Have something more happen with each package."""
    before = environments._run

    def run(name: str, words: list[str]) -> None:
        before(name, words)
        happens(words[-1])

    monkeypatch.setattr(environments, "_run", run)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_registry_may_fail_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str], failures: int
) -> None:
    (tmp_path / "ryu.txt").write_text("one==1\n# then\ntwo==2\n")

    def fail(package: str) -> None:
        if package == "one==1" and asked.count(package) <= failures:
            raise NotToBeHadError("no answer")

    and_then(monkeypatch, fail)
    if failures == 2:
        with pytest.raises(NotToBeHadError):
            environments.environment("ryu")
        return
    environments.environment("ryu")
    assert asked[1:] == ["one==1"] * (failures + 1) + ["two==2"]
    asked.clear()
    environments.environment("ryu")
    assert not asked, "it is there"


def test_it_is_made_once_when_two_ask_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str]
) -> None:
    (tmp_path / "ryu.txt").write_text("one==1\n")
    and_then(monkeypatch, lambda package: time.sleep(0.1))  # long enough for the other one to ask
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(environments.environment, ["ryu"] * 2))) == 1
    assert len(asked) == 2, "one environment, one list of packages"
