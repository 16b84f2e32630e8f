"""Flow dumps for people who look: asked of the switch in VMOC's own name, and not more often than it can bear.

Rules of this file: one dump of a kind at a time for each switch, everybody who
wants the same shares it; at most ``RATE`` a second are begun; the answer is
kept in its bytes, up to ``LONGEST``, and is taken apart elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vmoc.mux import proving
from vmoc.mux.buckets import Bucket
from vmoc.openflow import header, stats

if TYPE_CHECKING:
    from vmoc.mux.south import SouthSession
    from vmoc.mux.switch import Switch

RATE: Final = 2
LONGEST: Final = 16 << 20
"""Bytes of all parts."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The parts of an answer, whole messages; or why there is none, and when (seconds) to try again."""

    version: int
    parts: tuple[bytes, ...] = ()
    problem: str = ""
    retry_after: float | None = None


Taker = Callable[[Dump], object]


@dataclass(slots=True)
class _Running:
    session: SouthSession
    takers: list[Taker]
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class FlowDumps:
    """All dumps of one mux."""

    def __init__(self) -> None:
        self._running: dict[tuple[tuple[int, int], int], _Running] = {}
        self._budget: dict[tuple[int, int], Bucket] = {}

    def ask(self, switch: Switch, vlan: int | None, done: Taker, now: float) -> None:
        """Dump a switch, or what is in one VLAN of its slices; ``done`` is called once, or never if the switch goes."""
        session = switch.session
        if session is None or not switch.up:
            away = "is not connected" if session is None else "is being looked through; ask again in a moment"
            done(Dump(switch.version, problem=f"the switch {away}"))
            return
        datapath = next(iter(switch.datapaths.on_vlan(vlan)), None)
        if vlan is not None and datapath is None:
            done(Dump(switch.version))
            return
        key = switch.key, vlan or 0
        running = self._running.get(key)
        if running is not None and running.session is session:
            running.takers.append(done)
            return
        budget = self._budget.get(switch.key)
        if budget is None:
            budget = self._budget[switch.key] = Bucket(RATE, now)
        if not budget.take(now):
            wait = max(budget.ready_at() - now, 0.0)
            done(Dump(switch.version, problem="the switch has just been asked for its flows", retry_after=wait))
            return
        self._running[key] = running = _Running(session, [done])

        def end(dump: Dump) -> None:
            if self._running.get(key) is running:
                del self._running[key]
            takers, running.takers = running.takers, []
            for taker in takers:
                taker(dump)

        def part(message: bytes, _: float) -> None:
            if message[1] == header.ERROR:
                end(Dump(switch.version, problem="the switch did not tell its flows"))
                return
            running.size += len(message)
            if running.size > LONGEST:
                running.parts.clear()
                end(Dump(switch.version, problem=f"the switch has more than {LONGEST >> 20} MiB of flows"))
                return
            if running.takers:
                running.parts.append(message)
                if not stats.head(message)[1] & 1:
                    end(Dump(switch.version, tuple(running.parts)))

        if datapath is None:
            proving.dump(switch, part, now)
        else:
            proving.dump_match(switch, datapath.vlan_match(), part, now)
