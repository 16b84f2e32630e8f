"""How problems read, and where the state goes for a user without a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmoc.config import ConfigError, Problem
from vmoc.config.settings import user_state_path


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("f.yaml", 3, 7, "a.b", "is wrong"), "f.yaml:3:7: a.b: is wrong"),
        (Problem("f.yaml", 3, 7, "", "is wrong"), "f.yaml:3:7: is wrong"),
        (Problem("f.yaml", 0, 0, "", "is wrong"), "f.yaml: is wrong"),
    ],
)
def test_a_problem_in_one_line(problem: Problem, text: str) -> None:
    assert str(problem) == text
    assert str(ConfigError((problem, problem))) == f"{text}\n{text}"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert user_state_path() == "/var/lib/vmoc/vmoc.db"
