"""What cannot be installed fails, unless the machine is said to be offline."""

from __future__ import annotations

import time
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


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_registry_may_fail_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: int) -> None:
    (tmp_path / "ryu.txt").write_text("one==1\n# then\ntwo==2\n")
    monkeypatch.setattr(environments, "LISTS", tmp_path)
    monkeypatch.setattr(environments, "PLACE", tmp_path / "place")
    asked = []

    def run(name: str, words: list[str]) -> None:
        asked.append(words[-1])
        (tmp_path / "place" / name).mkdir(exist_ok=True)
        if asked.count("one==1") <= failures and words[-1] == "one==1":
            raise NotToBeHadError("no answer")

    monkeypatch.setattr(environments, "_run", run)
    if failures == 2:
        with pytest.raises(NotToBeHadError):
            environments.environment("ryu")
        return
    environments.environment("ryu")
    assert asked[1:] == ["one==1"] * (failures + 1) + ["two==2"]
    asked.clear()
    environments.environment("ryu")
    assert not asked, "it is there"


def test_it_is_made_once_when_two_ask_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ryu.txt").write_text("one==1\n")
    monkeypatch.setattr(environments, "LISTS", tmp_path)
    monkeypatch.setattr(environments, "PLACE", tmp_path / "place")
    asked = []

    def run(name: str, words: list[str]) -> None:
        asked.append(words[-1])
        (tmp_path / "place" / name).mkdir(exist_ok=True)
        time.sleep(0.1)  # long enough for the other one to ask

    monkeypatch.setattr(environments, "_run", run)
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(environments.environment, ["ryu"] * 2))) == 1
    assert len(asked) == 2, "one environment, one list of packages"
