"""``python -m bench.micro``: the hot path alone, in this process, without sockets: microseconds per message.

The same bytes go through a ``Mux`` again and again: packet-ins up (classify,
check, rewrite), flow-mods and packet-outs down (vet, rewrite, new xid, account).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.table import Table

from bench import report
from tests.emulation import E, EmulatedSwitch
from tests.emulation import wire as of
from vmoc.model import Attachment, Endpoint, Limits, Origin, Segment, Slice
from vmoc.mux.core import Mux
from vmoc.mux.effects import Dial, Output
from vmoc.registry import Registry

SOUTH, CHUNK, HOSTS = 1, 64, 1024
FIRST = 101
"""The first slice's VLAN."""
UNLIMITED = Limits(0, 0, 0, 0, 0, 0, 0, 0)
DPID = 0xAA
Build = Callable[[int, int, int], bytes]


class Rig:
    """A mux with one switch and slices on VLAN 101, 102, ..., all connected, everything in memory."""

    def __init__(self, version: int, slices: int = 2, *, journal: bool = True) -> None:
        self.version = version
        self.slices = slices
        self.now = 0.0
        self.switch = EmulatedSwitch(("", 0), DPID, version)
        self.north: list[int] = []
        self._next = 100
        registry = Registry()
        wanted = [
            Slice(
                f"bench-{vlan}",
                (Segment(vlan, (Endpoint("tcp", "127.0.0.1", vlan),), attachments=(Attachment(DPID),)),),
                UNLIMITED,
            )
            for vlan in range(FIRST, FIRST + slices)
        ]
        registry.adopt(registry.plan(wanted, origin=Origin.FILE))
        self.mux = Mux(registry.snapshot, journal=journal)
        self.mux.south_opened(SOUTH, "bench", 0, self.now)
        self.up(of.hello(version, 1, (version,) if version == of.V13 else None))
        self.settle()
        if len(self.north) != slices:
            raise RuntimeError(f"only {len(self.north)} of {slices} slices came up")

    def settle(self) -> None:
        """Play the switch and both controllers until nobody has anything left to say."""
        for _ in range(200):
            output = self.mux.take()
            deadline = self.mux.next_deadline()
            if not output.writes and not output.effects:
                if len(self.north) == self.slices or deadline is None or deadline > self.now + 5:
                    return
                self.now = deadline
                self.mux.wake(self.now)
            for effect in output.effects:
                if isinstance(effect, Dial):
                    self._dial(effect.link)
            for cid, parts in output.writes.items():
                if cid == SOUTH:
                    self._answer(b"".join(parts))

    def _dial(self, link: int) -> None:
        cid, self._next = self._next, self._next + 1
        self.mux.dialled(link, cid, self.now)
        self.north.append(cid)
        self.mux.north_data(
            cid, of.hello(self.version, 1, (self.version,) if self.version == of.V13 else None), self.now
        )
        self.mux.north_data(cid, of.message(self.version, "features_request", b"", 2), self.now)

    def _answer(self, data: bytes) -> None:
        while data:
            length = int.from_bytes(data[2:4], "big")
            for reply in self.switch.answer(data[:length]):
                self.up(reply)
            data = data[length:]

    def up(self, data: bytes) -> None:
        """Bytes from the switch."""
        self.mux.south_data(SOUTH, data, self.now)

    def down(self, data: bytes) -> None:
        """Bytes from the first slice's controller."""
        self.mux.north_data(min(self.north), data, self.now)

    def drain(self) -> int:
        """Throw the output away, the switch's barriers aside; how many messages it was."""
        return self.carry(self.mux.take())

    def carry(self, output: Output) -> int:
        """The same of output that has been taken."""
        count = 0
        for cid, parts in output.writes.items():
            data = b"".join(parts)
            while data:
                length = int.from_bytes(data[2:4], "big")
                count += 1
                if cid == SOUTH and data[1] == (18 if self.version == of.V10 else 20):
                    self.up(of.message(self.version, "barrier_reply", b"", int.from_bytes(data[4:8], "big")))
                data = data[length:]
        return count


def _address(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def packet_in(version: int, vlan: int, number: int) -> bytes:
    """A packet-in of host ``number``."""
    frame = E(vlan, src=_address(number), size=64)
    if version == of.V10:
        body = of.NO_BUFFER.to_bytes(4, "big") + len(frame).to_bytes(2, "big") + b"\0\1\0\0" + frame
    else:
        head = of.NO_BUFFER.to_bytes(4, "big") + len(frame).to_bytes(2, "big") + b"\0\0" + b"\xff" * 8
        body = head + of.match(version, in_port=1) + b"\0\0" + frame
    return of.message(version, "packet_in", body, number)


def flow_mod(version: int, vlan: int, number: int) -> bytes:
    """What a learning controller installs for host ``number``."""
    match = of.match(version, vlan=vlan, in_port=1, eth_src=_address(number), eth_dst="0e:00:00:00:00:01")
    return of.flow_mod(version, match_=match, actions=of.output(version, 2), xid=number, idle=60)


def packet_out(version: int, vlan: int, number: int) -> bytes:
    """A frame of host ``number`` sent out."""
    return of.packet_out(version, E(vlan, src=_address(number), size=64), of.output(version, 2), in_port=1, xid=number)


def measure(rig: Rig, send: Callable[[bytes], None], messages: list[bytes], seconds: float) -> float:
    """Median CPU microseconds per message over rounds of all messages, ``CHUNK`` of them to a call."""
    chunks = [b"".join(messages[i : i + CHUNK]) for i in range(0, len(messages), CHUNK)]
    rounds: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 3:
        spent = 0
        passed = 0
        for chunk in chunks:
            begun = time.process_time_ns()
            send(chunk)
            spent += time.process_time_ns() - begun
            passed += rig.drain()
            rig.now += 0.001
        if passed < len(messages):
            raise RuntimeError(f"only {passed} of {len(messages)} messages came out at the other side")
        rounds.append(spent / 1000)
    return statistics.median(rounds) / len(messages)


@dataclass(frozen=True)
class Cost:
    """CPU microseconds per message inside the core."""

    message: str
    of10: float
    of13: float


def run(seconds: float) -> Iterator[Cost]:
    """Every kind of message."""
    rigs = [Rig(of.V10), Rig(of.V13)]
    for title, build in (("packet-in, up", packet_in), ("flow-mod, down", flow_mod), ("packet-out, down", packet_out)):
        yield Cost(
            title,
            *(
                measure(
                    rig,
                    rig.up if build is packet_in else rig.down,
                    [build(rig.version, FIRST, number) for number in range(HOSTS)],
                    seconds,
                )
                for rig in rigs
            ),
        )


def table(costs: Iterable[Cost]) -> Table:
    """For people."""
    shown = Table(title=f"CPU us per message, {CHUNK} messages to a chunk, {HOSTS} hosts", title_justify="left")
    shown.add_column("message")
    for name in ("OpenFlow 1.0", "OpenFlow 1.3"):
        shown.add_column(name, justify="right")
    for c in costs:
        shown.add_row(c.message, f"{c.of10:.2f}", f"{c.of13:.2f}")
    return shown


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__, seconds=1.5).parse_args()
    return 1 if report.measured(lambda: run(options.seconds), table, options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
