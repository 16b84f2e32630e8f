"""Numbered frames from one port to another for as long as a test likes: not one may be lost, or one must not arrive."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mininet_scenarios.frames import BROADCAST, Wire, frame, vlan_of
from mininet_scenarios.processes import WaitedTooLongError, wait_until
from tests.ovs.lab import address


class Stream:
    """One every ``pace`` seconds, on wires of their own; to ``target``'s address, or to everybody. Until ``close``."""

    def __init__(self, vlan: int, source: str, target: str, *, pace: float = 0.002, broadcast: bool = False) -> None:
        self.vlan = vlan
        self.sent = 0
        self._pace = pace
        self._name = f"stream of {vlan} from {source}: ".encode()
        self._from, self._to = address(source), BROADCAST if broadcast else address(target)
        self._source, self._wire = Wire(source), Wire(target)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._pace):
            self.sent += 1
            self._source.send(frame(self._to, self._from, self._name + b"%d;" % self.sent, vlan=self.vlan))

    def heard(self) -> set[int]:
        """The numbers of the frames that have arrived."""
        text = b"\n".join(one for one in self._wire.listen() if vlan_of(one) == self.vlan)
        return {int(number) for number in re.findall(re.escape(self._name) + rb"(\d+);", text)}

    def arrives(self) -> None:
        """Wait until a frame arrives that is sent from now on."""
        now = self.sent
        wait_until(lambda: max(self.heard(), default=0) > now, f"{self._name!r} to arrive")

    def lost(self) -> list[int]:
        """End it; the numbers that did not arrive."""
        self._end()
        wanted = set(range(1, self.sent + 1))
        with suppress(WaitedTooLongError):
            wait_until(lambda: self.heard() >= wanted, "the last frame", timeout=3)
        return sorted(wanted - self.heard())

    def _end(self) -> None:
        self._over.set()
        self._thread.join()

    def close(self) -> None:
        """End it, whatever has arrived."""
        self._end()
        self._source.close()
        self._wire.close()


@contextmanager
def lossless(vlan: int, source: str, target: str, *, pace: float = 0.01, broadcast: bool = False) -> Iterator[Stream]:
    """Not one frame is lost from one port to another meanwhile."""
    stream = Stream(vlan, source, target, pace=pace, broadcast=broadcast)
    try:
        stream.arrives()
        yield stream
        assert stream.lost() == [], f"of {stream.sent} frames of VLAN {vlan}"
    finally:
        stream.close()
