"""``python -m bench.page``: the tables and plots of docs/performance.md, from figures.

Without options they are made again from the figures in docs/performance; with
``--take FOLDER`` those of a folder, such as ``make bench`` leaves, come there first.
In the page a table stands between two comments, ``figures: NAME`` and ``end``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from bench import figures, flowvisor, plots

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "performance.md"
FIGURES: Final = ROOT / "docs" / "performance"
PLACE: Final = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str, known: figures.All) -> str:
    """The page with the tables of these figures. Raises ``KeyError`` for a table of something that is not known."""

    def fill(found: re.Match[str]) -> str:
        name = found[2]
        if name == "flowvisor":
            return f"{found[1]}\n{figures.markdown(flowvisor.table(known))}\n{found[3]}"
        kind = known[name]
        return f"{found[1]}\n{_where(kind)}\n\n{figures.markdown(kind.table())}\n{found[3]}"

    return PLACE.sub(fill, text)


def _where(kind: figures.Figures) -> str:
    """What they were measured on."""
    m = kind.machine
    stolen = f", {m['stolen_percent']} % of the CPUs' time taken by other guests" if "stolen_percent" in m else ""
    return (
        f"*{m['cpus']} CPUs ({m['cpu']}), {m['memory_gb']} GB, Linux {m['kernel']}, Python {m['python']}, {m['date']}, "
        f"revision {m['revision']}, load average before it {m['load_1min']}{stolen}.*"
    )


def main() -> int:
    """Write them."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--take", type=Path, metavar="FOLDER", help=f"figures to take over, of {figures.FOLDER}")
    options = parser.parse_args()
    if options.take:
        FIGURES.mkdir(exist_ok=True)
        for file in options.take.glob("*.json"):
            shutil.copy(file, FIGURES)
    PAGE.write_text(render(PAGE.read_text(), figures.read(FIGURES)))
    for file in plots.draw(FIGURES, FIGURES):
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
