"""What stands in for the core and its loop in tests of os-ken applications."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.vmoc.apps.raw_switch import features, port_desc
from vmoc.apps import multiplexer
from vmoc.apps.bridge import Bridge, Key
from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchVanished


class Core:
    """Records what applications send; ``answer`` may react to it."""

    def __init__(self) -> None:
        self.sent: list[tuple[Key, bytes]] = []
        self.answer: Callable[[Key, bytes], None] = lambda key, message: None
        self._turn = threading.RLock()
        self.bridge = Bridge(self._deliver, self._call_soon)

    def _call_soon(self, call: Callable[[], None]) -> None:
        with self._turn:
            call()

    def _deliver(self, batch: Sequence[tuple[Key, bytes]]) -> None:
        for key, message in batch:
            self.sent.append((key, message))
            self.answer(key, message)

    def appear(self, dpid: int, version: int, ports: tuple[int, ...], native: int = 0) -> Key:
        key = (dpid, native)
        described = (port_desc(ports),) if version == 4 else ()
        self.bridge.sink(SwitchAppeared(key, version, features(version, dpid, ports), described, "192.0.2.1:40000"))
        return key

    def vanish(self, key: Key) -> None:
        self.bridge.sink(SwitchVanished(key))

    def input(self, key: Key, message: bytes) -> None:
        self.bridge.sink(OperatorInput(key, message))

    def of_kind(self, key: Key, kind: int) -> list[bytes]:
        return [message for where, message in list(self.sent) if where == key and message[1] == kind]


@contextmanager
def running(*apps: str) -> Iterator[Core]:
    core = Core()
    multiplexer.start(apps, core.bridge)
    try:
        yield core
    finally:
        assert multiplexer.stop()
