"""``python -m bench.instructions``: the hot path alone: instructions per message, which no busy hour changes.

Like ``bench.micro``, but exact: two runs of the compiled form differ by a few
in a thousand, also where the machine is others' as well. What is counted is
what a connection does with what it has read; the difference between a short
run and a long one is taken, so that what happens once is not in it. Needs
valgrind; takes three minutes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from bench import micro, report, tools
from tests.emulation import wire as of
from vmoc import native

ROUNDS: Final = (2, 6)
MESSAGES: Final = 512
COUNTED: Final = ("north___NorthSession___receive", "south___SouthSession___receive")
KINDS: Final = {
    "packet-in, up": micro.packet_in,
    "flow-mod, down": micro.flow_mod,
    "packet-out, down": micro.packet_out,
}


@dataclass(frozen=True)
class Count:
    """Instructions per message."""

    message: str
    of10: int
    of13: int


def play(kind: str, version: int, rounds: int) -> None:
    """What is counted: so many times ``MESSAGES`` messages, in chunks."""
    rig, build = micro.Rig(version), KINDS[kind]
    send = rig.up if build is micro.packet_in else rig.down
    messages = [build(version, micro.FIRST, number) for number in range(MESSAGES)]
    chunks = [b"".join(messages[start : start + micro.CHUNK]) for start in range(0, MESSAGES, micro.CHUNK)]
    for _ in range(rounds):
        for chunk in chunks:
            send(chunk)
            rig.drain()
            rig.now += 0.001


def collected(told: str) -> int:
    """The instructions that valgrind says it has counted. Raises ``ToolError`` where there are none."""
    found = re.search(r"Collected : (\d+)", told)
    if found is None or not int(found[1]):
        raise tools.ToolError(f"valgrind counted nothing; what it said ends so: {told[-500:]}")
    return int(found[1])


def count(kind: str, version: int, rounds: int) -> int:
    """Instructions of ``play``. Raises ``ToolError``."""
    with tempfile.TemporaryDirectory(prefix="vmoc-bench-") as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--collect-atstart=no"]
        command += [f"--toggle-collect=CPyPy_{name}" for name in COUNTED]
        program = f"from bench import instructions; instructions.play({kind!r}, {version}, {rounds})"
        done = subprocess.run([*command, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise tools.ToolError(f"valgrind ended with {done.returncode}: {done.stderr[-500:]}")
    return collected(done.stderr)


def per_message(kind: str, version: int) -> int:
    """Of messages that come again and again."""
    short, long = (count(kind, version, rounds) for rounds in ROUNDS)
    return (long - short) // ((ROUNDS[1] - ROUNDS[0]) * MESSAGES)


def run() -> Iterator[Count]:
    """Every kind of message. Raises ``ToolError``."""
    if shutil.which("valgrind") is None:
        raise tools.ToolError("This needs valgrind: apt-get install valgrind.")
    if native.form() != "compiled":
        raise tools.ToolError("Only the compiled form can be counted: run make native, without VMOC_PURE.")
    for kind in KINDS:
        yield Count(kind, per_message(kind, of.V10), per_message(kind, of.V13))


def table(counts: Iterable[Count]) -> Table:
    """For people."""
    shown = Table(title=f"instructions per message, {micro.CHUNK} messages to a chunk", title_justify="left")
    shown.add_column("message")
    for name in ("OpenFlow 1.0", "OpenFlow 1.3"):
        shown.add_column(name, justify="right")
    for one in counts:
        shown.add_row(one.message, report.number(one.of10), report.number(one.of13))
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 counted; 1 could not."""
    options = report.parser(__doc__).parse_args(arguments)
    return 1 if report.measured(run, table, options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
