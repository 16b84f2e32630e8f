"""docs/performance.md has the figures of docs/performance, and is made from them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import figures, flow_statistics, flowvisor, page, plots, scale, suite

SPREAD = {
    "version": "1.0",
    "title": "VLANs, flow-mods",
    "presentation": "tagged",
    "switches": 16,
    "vlans": 2,
    "slices": 1,
    "datapaths": 32,
    "per_second": 100_000.0,
    "p50_us": 500.0,
    "p99_us": 900.0,
    "cpu_us": 7.0,
    "resident_mb": 80.0,
    "ready": 0.3,
    "lost": 0,
    "cross": 0,
    "other_cpu": 0.0,
}
MACHINE = {
    "cpu": "a CPU",
    "cpus": 2,
    "memory_gb": 4.0,
    "kernel": "6.1",
    "python": "3.11.2",
    "revision": "abc",
    "date": "2026-01-02",
    "load_1min": 0.1,
    "stolen_percent": 1.5,
}


def test_the_page_shows_the_figures_that_lie_beside_it() -> None:
    text = page.PAGE.read_text()
    assert page.render(text, figures.read(page.FIGURES)) == text, "run: python -m bench.page"


def test_every_kind_of_figures_has_a_table_there() -> None:
    places = {found[2] for found in page.PLACE.finditer(page.PAGE.read_text())}
    assert places == {*figures.KINDS, "flowvisor"}
    assert {name.partition("-")[0] for name in suite.PARTS} == set(figures.KINDS)


def test_every_plot_is_there_and_shown() -> None:
    text = page.PAGE.read_text()
    for name in plots.PLOTS:
        assert f"(performance/{name}.svg)" in text
        assert (page.FIGURES / f"{name}.svg").read_text().rstrip().endswith("</svg>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Figures of a spread load over 2 VLANs, where 4000 virtual datapaths cost an eighth of the trips."""
    lines = [SPREAD, SPREAD | {"vlans": 250, "datapaths": 4000, "per_second": 87_500.0}]
    disturbed = MACHINE | {"stolen_percent": 2.5}
    (tmp_path / "spread-1.0.json").write_text(json.dumps({"machine": disturbed, "lines": lines}))
    (tmp_path / "spread-1.3.json").write_text(
        json.dumps({"machine": MACHINE, "lines": [one | {"version": "1.3"} for one in lines]})
    )
    return tmp_path


def test_a_table_is_filled_from_the_files_of_its_kind(folder: Path) -> None:
    text = "before\n<!-- figures: spread -->\nold\n<!-- end -->\nafter\n"
    made = page.render(text, figures.read(folder))
    assert made.startswith("before\n") and made.endswith("<!-- end -->\nafter\n") and "old" not in made
    assert made.count("| 87 500 |") == 2 and "2026-01-02" in made and "2.5 % of the CPUs' time" in made
    assert page.render(made, figures.read(folder)) == made
    with pytest.raises(KeyError):
        page.render(text.replace("spread", "trips"), figures.read(folder))


def test_the_comparison_says_what_is_not_reached(folder: Path) -> None:
    known = figures.read(folder)
    (row,) = [row for row in flowvisor.ROWS if "4 000 virtual" in row.what]
    assert flowvisor.held(row, known) is False, "less than 90 % of what it is over 2 VLANs"
    better = [dataclasses.replace(line, per_second=95_000.0) for line in known["spread"].lines]
    assert flowvisor.held(row, known | {"spread": dataclasses.replace(known["spread"], lines=better)}) is True
    assert flowvisor.held(flowvisor.ROWS[0], known) is None, "not measured"
    shown = figures.markdown(flowvisor.table(known))
    assert "| 8 000 /s to 11 000 /s | 87 500 /s | 7.95 x to 10.94 x | >= 90 000 /s | no |" in shown


def test_plots_are_drawn_from_what_there_is(folder: Path) -> None:
    (file,) = plots.draw(folder, folder)
    first = file.read_text()
    assert file.name == "growth.svg" and "virtual datapaths" in first and "FlowVisor" in first
    plots.draw(folder, folder)
    assert file.read_text() == first, "the same figures, the same file"


def run_suite(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.suite", *words]
    return subprocess.run(command, cwd=page.ROOT, capture_output=True, text=True, timeout=55, check=False)


@pytest.mark.slow
def test_a_part_of_the_suite_leaves_figures_and_plots(tmp_path: Path) -> None:
    done = run_suite("scale", "flow_statistics", "--quick", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    known = figures.read(tmp_path)
    assert {(line.entries, line.slices) for line in known["scale"].lines} == set(scale.POINTS)
    assert {line.entries for line in known["flow_statistics"].lines} == set(flow_statistics.ENTRIES)
    assert (tmp_path / "cost.svg").exists() and "drawn: " in done.stdout


def test_an_unknown_part_is_a_usage_error_that_names_them_all() -> None:
    done = run_suite("tea")
    assert done.returncode == 2 and all(name in done.stderr for name in suite.PARTS)
