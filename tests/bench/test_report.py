"""How benchmarks are asked and answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from rich.table import Table

from bench import fairness, flow_statistics, journal, micro, registration, report, scale, spread, tools


@dataclass(frozen=True)
class Line:
    what: str
    other_cpu: float


def table(lines: Sequence[Line]) -> Table:
    shown = Table("what")
    for line in lines:
        shown.add_row(line.what)
    return shown


@pytest.mark.parametrize(
    "module", [fairness, flow_statistics, journal, micro, registration, scale, spread], ids=lambda m: m.__name__
)
def test_a_command_is_named_and_described_by_its_docstring(module: ModuleType) -> None:
    parser = report.parser(module.__doc__, seconds=2.0, runs=3, versions=True)
    assert parser.prog == f"python -m {module.__name__}" and parser.description
    options = parser.parse_args(["--version", "1.3"])
    assert (options.seconds, options.runs, options.json) == (2.0, 3, None)
    assert report.versions(options) == ("1.3",) and report.versions(parser.parse_args([])) == report.VERSIONS


def test_what_is_measured_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "there" / "figures.json"
    lines = report.measured(lambda: [Line("tea", 0.1), Line("rum", 0.7)], table, file)
    assert lines is not None and [line.what for line in lines] == ["tea", "rum"]
    found = json.loads(file.read_text())
    assert found["lines"] == [{"what": "tea", "other_cpu": 0.1}, {"what": "rum", "other_cpu": 0.7}]
    assert found["machine"]["cpus"] >= 1 and found["machine"]["date"]
    assert 0 <= found["machine"]["stolen_percent"] <= 100
    said = capsys.readouterr().out
    assert "tea" in said and "up to 0.7 CPUs during 1 of 2 lines" in said


def test_what_cannot_be_measured_is_a_sentence_and_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure() -> Iterator[Line]:
        yield Line("tea", 0.0)
        raise tools.ToolError("There is no rum.")

    assert report.measured(measure, table, tmp_path / "figures.json") is None
    assert "There is no rum." in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_fairness_is_judged_by_medians_of_turns_alone_and_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = {"alone": iter([100.0, 900.0, 200.0]), "flow-mods": iter([5000.0, 400.0, 600.0])}
    order = []

    def turn(version: str, kind: str, seconds: float, *, unlimited: bool = False) -> fairness.Turn:
        order.append(kind)
        p99 = next(turns[kind])
        return fairness.Turn(p99 / 2, p99, 1e6 / p99, 0, 0, 0.0)

    monkeypatch.setattr(fairness, "turn", turn)
    line = fairness.measure("1.3", "flow-mods", 1.0, 3)
    assert order == ["alone", "flow-mods"] * 3
    assert (line.p99_us, line.alone_p99_us) == (600.0, 200.0)
    assert not line.held, "a third of the answers"
    assert replace(line, per_second=line.alone_per_second).held
    assert not replace(line, per_second=line.alone_per_second, p99_us=601.0).held
    assert not replace(line, per_second=line.alone_per_second, lost=1).held


def test_turns_that_others_disturb_are_repeated_and_the_least_disturbed_count(monkeypatch: pytest.MonkeyPatch) -> None:
    others = iter([0.0, 0.1, 0.9, 0.0, 0.0, 0.5, 0.1, 0.0, 0.8, 0.7, 0.6, 0.6])  # two of six pairs are quiet
    lost = iter([0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0])
    numbers = iter(range(1, 13))

    def turn(version: str, kind: str, seconds: float, *, unlimited: bool = False) -> fairness.Turn:
        return fairness.Turn(1.0, float(next(numbers)), 1.0, next(lost), 0, next(others))

    monkeypatch.setattr(fairness, "turn", turn)
    line = fairness.measure("1.3", "flow-mods", 1.0, 3)
    assert next(numbers, None) is None, "twice as many turns as are meant, and no more"
    assert (line.alone_p99_us, line.p99_us, line.other_cpu) == (5.0, 6.0, 0.5), "of the first, the third, the fourth"
    assert line.lost == 2, "wherever it was"
