"""``python -m bench.plots``: the figures of a folder, drawn as SVG files.

growth.svg: round trips a second with ever more switches, virtual datapaths and
slices, beside FlowVisor's, and the tools' own over as many connections.
cost.svg: CPU per message with ever more flows and slices. neighbour.svg: a
quiet slice's latency beside a loud one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from bench import figures, flowvisor, spread

COLOURS: Final = {"1.0": "#1f5f99", "1.3": "#c2571a", "FlowVisor": "#777777"}
SLOWER: Final = 3.0


def _pyplot() -> Any:
    os.environ.setdefault("MPLCONFIGDIR", "/tmp/vmoc-matplotlib")
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file: no date, no random ids. Letters stay letters, so that a page can be searched.
    matplotlib.rcParams |= {
        "svg.hashsalt": "vmoc",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
    import matplotlib.pyplot

    return matplotlib.pyplot


def _curves(axes: Any, lines: Iterable[Any], x: str, y: str, label: str = "OpenFlow {}", **style: Any) -> None:
    """One for each OpenFlow version."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        points.setdefault(line.version, []).append((getattr(line, x), getattr(line, y)))
    for version, each in points.items():
        common = {"color": COLOURS[version], "label": label.format(version), "marker": "o"}
        axes.plot(*zip(*sorted(each), strict=True), **common, **style)


def _theirs(axes: Any, points: dict[int, tuple[float, float]]) -> None:
    """FlowVisor's, where there are any: from its worst run to its best."""
    middles, reach = zip(*(((worst + best) / 2, (best - worst) / 2) for worst, best in points.values()), strict=True)
    style = {"fmt": "s--", "color": COLOURS["FlowVisor"], "label": "FlowVisor 1.4", "capsize": 3}
    axes.errorbar(list(points), middles, reach, **style)


def _finish(axes: Any, x: str, y: str, *, logarithmic: bool = True) -> None:
    if logarithmic:
        axes.set_xscale("log")
        ticks = axes.get_lines()[0].get_xdata()
        axes.set_xticks(ticks, [f"{tick:,.0f}".replace(",", " ") for tick in ticks])
        axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.legend()


def growth(plt: Any, known: figures.All) -> Any:
    """Round trips a second."""
    lines = known["spread"].lines
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for title, style in (("flow-mods", "-"), ("packet-outs", ":")):
        chosen = [line for line in lines if line.title == f"switches, {title}"]
        _curves(panels[0], chosen, "switches", "per_second", f"OpenFlow {{}}, {title}", linestyle=style)
    _theirs(panels[0], flowvisor.SWITCHES)
    _curves(panels[1], [line for line in lines if line.title == "VLANs, flow-mods"], "datapaths", "per_second")
    _theirs(panels[1], flowvisor.DATAPATHS)
    alone = [line for line in lines if line.title == spread.ALONE]
    _curves(panels[1], alone, "switches", "per_second", "{}, tools alone, 1 outstanding each", linestyle=":")
    _curves(panels[2], [line for line in lines if line.title == "slices, flow-mods"], "slices", "per_second")
    _theirs(panels[2], flowvisor.SLICES)
    for axes, what in zip(panels, ("switches", "virtual datapaths, 16 switches", "slices, 16 switches"), strict=True):
        _finish(axes, what, "round trips/s" if axes is panels[0] else "")
    return figure


def cost(plt: Any, known: figures.All) -> Any:
    """CPU inside the core."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    lines = known["scale"].lines
    for axes, what, chosen in (
        (panels[0], "entries", [line for line in lines if line.slices == 1]),
        (panels[1], "slices", [line for line in lines if line.entries == 1000]),
    ):
        for operation, style in (("add", "-"), ("modify_strict", "--"), ("delete_strict", ":")):
            _curves(axes, chosen, what, operation, f"{{}}, {operation.replace('_', ' ')}", linestyle=style)
    _finish(panels[0], "flows of the slice", "CPU us per flow-mod")
    _finish(panels[1], "slices on the switch, 1000 flows", "CPU us per flow-mod")
    _curves(panels[2], known["flow_statistics"].lines, "entries", "per_entry_us")
    _finish(panels[2], "flows of the slice", "CPU us per flow told of")
    return figure


def neighbour(plt: Any, known: figures.All) -> Any:
    """What a quiet slice notices."""
    lines = known["fairness"].lines
    kinds = list(dict.fromkeys(line.noise for line in lines))
    versions = list(dict.fromkeys(line.version for line in lines))
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for number, version in enumerate(versions):
        mine = {line.noise: line for line in lines if line.version == version}
        places = [kinds.index(kind) + 0.8 * (number + 0.5) / len(versions) - 0.4 for kind in mine]
        heights = [line.p99_us for line in mine.values()]
        axes.bar(places, heights, 0.7 / len(versions), color=COLOURS[version], label=f"OpenFlow {version}, p99")
        axes.plot(places, [line.p50_us for line in mine.values()], "k_", label="p50" if not number else None)
        axes.plot(
            places, [SLOWER * line.alone_p99_us for line in mine.values()], ":", color=COLOURS[version], linewidth=1
        )
    axes.set_xticks(range(len(kinds)), kinds)
    _finish(axes, "what the loud slice sends; dotted: three times the p99 alone", "latency, us", logarithmic=False)
    return figure


PLOTS: Final[dict[str, tuple[Callable[[Any, figures.All], Any], frozenset[str]]]] = {
    "growth": (growth, frozenset({"spread"})),
    "cost": (cost, frozenset({"scale", "flow_statistics"})),
    "neighbour": (neighbour, frozenset({"fairness"})),
}
"""How each is drawn, and from what."""


def draw(source: Path, target: Path) -> list[Path]:
    """Every plot that the figures in ``source`` suffice for; the files."""
    plt, known, files = _pyplot(), figures.read(source), []
    for name, (make, needed) in PLOTS.items():
        if needed <= known.keys():
            files.append(target / f"{name}.svg")
            picture = make(plt, known)
            picture.savefig(files[-1], metadata={"Date": None})
            plt.close(picture)
    return files


def main() -> int:
    """Draw."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=figures.FOLDER, help=f"({figures.FOLDER})")
    folder = parser.parse_args().folder
    files = draw(folder, folder)
    print("\n".join(map(str, files)) or f"There are no figures in {folder}; run: make bench")
    return 0 if files else 1


if __name__ == "__main__":
    sys.exit(main())
