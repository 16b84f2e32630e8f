"""``python -m bench.suite``: every benchmark, one after the other; figures as JSON in a folder, and plots of them.

Each part is a command of its own that ends within five minutes and writes
``FOLDER/PART.json``; a part that is there already is measured anew. What is in
the folder in the end is drawn. Needs a C compiler and no root. Where a
hypervisor has other guests, ``--patience`` waits for a quiet minute before each
part, and repeats parts that were disturbed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import plots
from bench.figures import FOLDER
from bench.patience import QUIET, Patience

SHORT: Final = ("--seconds", "1", "--runs", "1")
PARTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "trips-1.0": (("bench", "--version", "1.0", "--workers", "0", "2"), ("--quick",)),
    "trips-1.3": (("bench", "--version", "1.3", "--workers", "0", "2"), ("--quick",)),
    "spread-1.0": (("bench.spread", "--version", "1.0", "--seconds", "2"), SHORT),
    "spread-1.3": (("bench.spread", "--version", "1.3", "--seconds", "2"), SHORT),
    "fairness-1.0": (("bench.fairness", "--version", "1.0"), SHORT),
    "fairness-1.3": (("bench.fairness", "--version", "1.3"), SHORT),
    "micro": (("bench.micro",), ("--seconds", "0.3")),
    "scale": (("bench.scale",), ("--seconds", "0.3")),
    "flow_statistics": (("bench.flow_statistics",), ("--seconds", "0.3")),
    "journal": (("bench.journal",), ("--seconds", "1")),
    "registration": (("bench.registration",), ("--seconds", "4", "--singles", "300")),
}
"""Module and options, and those of ``--quick``."""


def measure(command: list[str], file: Path, patience: Patience) -> bool:
    """One part; its least disturbed figures stay. False if it could not be measured, or something crossed VLANs."""
    new, least = file.with_suffix(".new"), math.inf
    while True:
        patience.wait()
        new.unlink(missing_ok=True)
        status = subprocess.run([*command, "--json", str(new)], check=False).returncode
        if not new.exists():
            return False
        stolen = float(json.loads(new.read_text())["machine"]["stolen_percent"])
        if status or stolen < least:
            new.replace(file)
            least = stolen
        new.unlink(missing_ok=True)
        if status:
            return False
        if stolen <= QUIET:
            return True
        print(f"   other guests have taken {stolen} % of the CPUs' time", flush=True)
        if not patience.left:
            return True


def main() -> int:
    """Exit status: 0, or 1 if a part could not be measured or something crossed VLANs."""
    parser = argparse.ArgumentParser(prog="python -m bench.suite", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="a third of the time, less exact")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where the figures go ({FOLDER})")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help=f"in all, to wait and repeat while other guests take more than {QUIET:g} %% of the CPUs' time (0)",
    )
    options = parser.parse_args()
    patience = Patience(options.patience)
    for name in options.part:
        if name not in PARTS:
            parser.error(f"There is no part {name}; there are {', '.join(PARTS)}.")
    failed = []
    for name in options.part or PARTS:
        (module, *words), quick = PARTS[name]
        command = [sys.executable, "-m", module, *words, *(quick if options.quick else ())]
        print(f"== {name}: python {' '.join(command[1:])}", flush=True)
        if not measure(command, options.folder / f"{name}.json", patience):
            failed.append(name)
    for file in plots.draw(options.folder, options.folder):
        print(f"drawn: {file}")
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
