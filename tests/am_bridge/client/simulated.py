"""A server in a few lines, for the reconciler: it makes steps, loses answers, restarts, and is interfered with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from am_bridge import reasons
from am_bridge.client.backoff import Backoff
from am_bridge.client.errors import ClientError, ConflictError, UnreachableError
from am_bridge.client.reconcile import OnDrift, Reconciler
from am_bridge.client.steps import (
    Check,
    Greet,
    Greeting,
    ListAll,
    Register,
    Report,
    Step,
    Sync,
    Unregister,
    Wanted,
)
from am_bridge.status import ApiError
from vmoc.model import Origin, Segment, Slice

CLOCK = 1_000_000.0


def slice_of(name: str, *vlans: int, manager: str = "geni", **fields: object) -> Slice:
    one = Slice(name, tuple(Segment(vlan) for vlan in vlans), manager=manager, origin=Origin.API)
    return replace(one, **fields)  # type: ignore[arg-type]


def away() -> ClientError:
    return UnreachableError("the server is away")


def conflict(text: str) -> ClientError:
    return ConflictError(text, ApiError(reasons.VLAN_OWNED_ELSEWHERE, text))


@dataclass
class Server:
    """Slices of everybody by id; each VLAN is one slice's."""

    slices: dict[str, Slice] = field(default_factory=dict)
    boot: int = 1
    clock: float = CLOCK
    made: list[Step] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    most_batch: int = 1000

    def make(self, step: Step) -> object:
        """Raises ``ClientError``."""
        self.made.append(step)
        match step:
            case Greet():
                return Greeting(str(self.boot), "geni", self.most_batch, 50_000, self.clock)
            case ListAll():
                return [one for one in self.slices.values() if one.manager == "geni"]
            case Check(slice_id):
                return self.slices.get(slice_id)
            case Register(wanted):
                self.slices, answer = self._registered(self.slices, wanted)
                return answer
            case Unregister(slice_id):
                self.slices.pop(slice_id, None)
                return None
            case Sync(wanted):
                others = {key: one for key, one in self.slices.items() if one.manager != "geni"}
                # Kept VLANs of segments that ask for any are not modelled: the reconciler names them.
                self.slices, answer = self._registered(others, wanted)
                return answer

    def _registered(self, before: dict[str, Slice], wanted: Iterable[Wanted]) -> tuple[dict[str, Slice], list[Slice]]:
        after, answer = dict(before), []
        for each in wanted:
            after.pop(each.slice.id, None)
        for each in wanted:
            taken = {s.vlan: key for key, one in after.items() for s in one.segments}
            free = (vlan for vlan in range(1, 4095) if vlan not in taken)
            segments = tuple(replace(s, vlan=s.vlan or next(free)) for s in each.slice.segments)
            for segment in segments:
                if segment.vlan in taken:
                    raise conflict(f"VLAN {segment.vlan} is slice {taken[segment.vlan]}'s")
            if each.slice.id in self.forbidden:
                raise conflict(f"slice {each.slice.id} is not liked")
            after[each.slice.id] = replace(each.slice, segments=segments)
            answer.append(after[each.slice.id])
        return after, answer

    def restart(self, *, forget: bool = False) -> None:
        self.boot += 1
        if forget:
            self.slices = {}


class Pair:
    """A reconciler and a server, with a link that may be down or lose answers."""

    def __init__(
        self,
        initial: Iterable[Slice] | None = None,
        *,
        on_drift: OnDrift = OnDrift.RESTORE,
        server: Server | None = None,
    ) -> None:
        self.server = server or Server()
        self._ids = 0
        self.core = Reconciler(
            "geni", initial, new_id=self._new_id, on_drift=on_drift, backoff=Backoff(chance=lambda: 0.5)
        )
        self.now = 0.0
        self.reports: list[Report] = []
        self.fate: Callable[[Step], str] = lambda _: "works"
        """For a step: "works", "away" (it never reaches the server) or "lost" (its answer doesn't reach us)."""

    def _new_id(self) -> str:
        self._ids += 1
        return f"r{self._ids}"

    def turn(self) -> bool:
        """One step, or a wait; False if there is nothing to do."""
        step = self.core.next(self.now)
        if step is None:
            return False
        if isinstance(step, float):
            self.now = step
            return True
        fate = self.fate(step)
        try:
            if fate == "away":
                raise away()
            answer = self.server.make(step)
            if fate == "lost":
                raise away()
        except ClientError as error:
            self.core.failed(step, error, self.now)
        else:
            self.core.answered(step, answer, self.server.clock)
        self.reports += self.core.take_reports()
        return True

    def run(self, most: int = 10_000) -> list[Report]:
        """Until there is nothing to do; the reports since the last time."""
        while self.turn():
            most -= 1
            assert most, "it never comes to rest"
        reports, self.reports = self.reports, []
        return reports
