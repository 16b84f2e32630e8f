"""The coverage gate judges lines and branches each for itself, package by package."""

from __future__ import annotations

import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    loader = SourceFileLoader("coverage_gate", str(ROOT / "scripts" / "coverage"))
    spec = spec_from_loader("coverage_gate", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def summary(lines: tuple[int, int], branches: tuple[int, int]) -> dict[str, int]:
    names = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    return dict(zip(names, (*lines, *branches), strict=True))


def report(lines: tuple[int, int], branches: tuple[int, int]) -> dict[str, Any]:
    found = summary(lines, branches)
    module = {"summary": found, "missing_lines": [7], "missing_branches": [[3, -1], [4, 6]]}
    return {"totals": found, "files": {"vmoc/mux/x.py": module}}


@pytest.mark.parametrize(
    ("lines", "branches", "wrong"),
    [
        ((95, 100), (95, 100), []),
        ((1000, 1000), (94, 100), ["branches"]),  # 99 % in one figure, and yet not enough
        ((94, 100), (100, 100), ["lines"]),
        ((9499, 10000), (0, 1), ["lines", "branches"]),
        ((10, 10), (0, 0), []),
        ((0, 0), (0, 0), ["nothing"]),
    ],
)
def test_lines_and_branches_count_each_for_themselves(
    gate: ModuleType, lines: tuple[int, int], branches: tuple[int, int], wrong: list[str]
) -> None:
    found = gate.judge("vmoc/mux", report(lines, branches))
    assert len(found) == len(wrong)
    assert all(word in text and "vmoc/mux" in text for word, text in zip(wrong, found, strict=True))


def test_a_module_that_is_below_is_shown_with_what_is_missing(
    gate: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.judge("vmoc/mux", report((100, 100), (90, 100)))
    assert "never reached: 7, 3->exit, 4->6" in capsys.readouterr().out


def test_every_package_has_its_mirrored_tests(gate: ModuleType) -> None:
    for package in gate.PACKAGES:
        assert (ROOT / "vmoc" / package).is_dir() and (ROOT / "tests" / "vmoc" / package).is_dir()


def test_tests_that_fail_are_no_coverage(
    gate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, "one failed", "")
    monkeypatch.setattr(gate.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="vmoc/mux"):
        gate.measure("mux", tmp_path)
    assert "one failed" in capsys.readouterr().out
