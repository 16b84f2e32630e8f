"""``python -m bench.flow_statistics``: what a controller's request for all its flows costs, with ever more of them.

A slice installs flows; the switch in this process answers the request with all
of them, in replies of 60 kB, as raw bytes through a ``Mux``: each entry is
checked to be the slice's, made its own view of it, and goes to its controller.
"""

from __future__ import annotations

import statistics
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from bench import report
from bench.micro import CHUNK, SOUTH, Rig
from bench.scale import VERSIONS, flow_mod
from tests.emulation import wire as of

ENTRIES = (10, 100, 1_000, 10_000)
REPLY = 60_000
"""Bytes of entries in one reply at most."""
XID = 77


@dataclass(frozen=True)
class Cost:
    """CPU microseconds inside the core for one entry of the answer, and milliseconds for the whole."""

    version: str
    entries: int
    per_entry_us: float
    whole_ms: float


def entry(version: int, message: bytes) -> bytes:
    """What a switch tells of a flow, from the flow-mod that made it (1.0 5.3.5, 1.3 7.3.5.2)."""
    if version == of.V10:
        idle, hard, priority = struct.unpack_from("!HHH", message, 58)
        head = struct.pack("!BxIIHHH6x", 0, 1, 0, priority, idle, hard)
        body = message[8:48] + head[2:] + message[48:56] + bytes(16) + message[72:]
        return struct.pack("!HBx", 4 + len(body), 0) + body
    idle, hard, priority = struct.unpack_from("!HHH", message, 26)
    (flags,) = struct.unpack_from("!H", message, 44)
    body = struct.pack("!BxIIHHHH4x", message[24], 1, 0, priority, idle, hard, flags) + message[8:16] + bytes(16)
    return struct.pack("!H", 2 + len(body) + len(message) - 48) + body + message[48:]


def messages(data: bytes) -> Iterator[bytes]:
    """The OpenFlow messages of a stream."""
    while data:
        length = int.from_bytes(data[2:4], "big")
        yield data[:length]
        data = data[length:]


class Line:
    """One line of the table while it is measured."""

    def __init__(self, name: str, entries: int) -> None:
        self.name, self.entries = name, entries
        self._rig = rig = Rig(VERSIONS[name])
        self._spent: list[int] = []
        known: list[bytes] = []
        for begin in range(0, entries, CHUNK):
            rig.down(b"".join(flow_mod(rig.version, "add", each) for each in range(begin, min(begin + CHUNK, entries))))
            output = rig.mux.take()
            sent = messages(b"".join(output.writes[SOUTH]))
            known += [entry(rig.version, message) for message in sent if message[1] == 14]
            rig.carry(output)
            rig.now += 0.001
        if len(known) != entries:
            raise RuntimeError(f"{len(known)} of {entries} flows reached the switch")
        self._parts = [b""]
        for one in known:
            if len(self._parts[-1]) + len(one) > REPLY:
                self._parts.append(b"")
            self._parts[-1] += one

    def turn(self) -> None:
        """Ask once."""
        rig = self._rig
        rig.now += 1
        begun = time.process_time_ns()
        rig.down(of.stats_request(rig.version, "flow", of.flow_stats_body(rig.version), xid=XID))
        (asked,) = messages(b"".join(rig.mux.take().writes[SOUTH]))
        spent = time.process_time_ns() - begun
        answered = 0
        for number, part in enumerate(self._parts, 1):
            head = asked[8:10] + struct.pack("!H", number < len(self._parts)) + (b"" if rig.version == 1 else bytes(4))
            reply = of.message(rig.version, "stats_reply", head + part, int.from_bytes(asked[4:8], "big"))
            begun = time.process_time_ns()
            rig.up(reply)
            writes = rig.mux.take().writes
            spent += time.process_time_ns() - begun
            for message in messages(b"".join(writes.get(min(rig.north), []))):
                if int.from_bytes(message[4:8], "big") == XID:
                    answered += len(of.parse_flow_stats(rig.version, message[8 + len(head) :]))
        if answered != self.entries:
            raise RuntimeError(f"the controller was told of {answered} of its {self.entries} flows")
        self._spent.append(spent)

    def cost(self) -> Cost:
        """Medians over all turns so far."""
        spent = statistics.median(self._spent)
        return Cost(self.name, self.entries, spent / 1e3 / self.entries, spent / 1e6)


def run(seconds: float, versions: Iterable[str] = tuple(VERSIONS), entries: Sequence[int] = ENTRIES) -> list[Cost]:
    """Every line, ``seconds`` each, by turns."""
    return [cost for name in versions for cost in report.by_turns([Line(name, count) for count in entries], seconds, 3)]


def table(costs: Iterable[Cost]) -> Table:
    """For people."""
    shown = Table(title="flow statistics inside the core, CPU", title_justify="left")
    for name in ("OpenFlow", "flows of the slice", "us per flow", "ms in all"):
        shown.add_column(name, justify="right")
    for c in costs:
        shown.add_row(c.version, report.number(c.entries), f"{c.per_entry_us:.2f}", f"{c.whole_ms:.2f}")
    return shown


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__, seconds=2.0).parse_args()
    return 1 if report.measured(lambda: run(options.seconds), table, options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
