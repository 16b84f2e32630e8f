"""The switches and controllers of a fuzzed world: what they hear is judged, what they say may be garbled."""

from __future__ import annotations

import struct
from collections import deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from fuzz import judges
from fuzz.mutate import mutate
from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.switch import EmulatedSwitch
from tests.vmoc.mux.ends import FEATURES_XID, ControllerEnd, SwitchEnd
from vmoc.model import Presentation

if TYPE_CHECKING:
    from fuzz.world import World

NATIVE: Final = {0xCC: 400}
"""VLAN of the listener, by the DPID of those that connect to one."""
_ANSWERS: Final = {1: {17: (16,), 19: (18,), 21: (20,), 6: (5,)}, 4: {19: (18,), 21: (20,), 23: (22,), 6: (5,)}}


class SwitchConnection(SwitchEnd):
    """A switch that remembers what it was asked, and may garble its answers."""

    book: World

    def __init__(self, book: World, cid: int, model: EmulatedSwitch, native: int) -> None:
        super().__init__(book, cid, model, native)
        self.negotiated = False
        self.asked: deque[tuple[int, int, int]] = deque(maxlen=64)  # type, kind of statistics, xid
        self.garble: Random | None = None
        self.garbles = 0
        self.judge = book.judge(model.version, model.dpid, native)

    def hear(self, data: bytes) -> None:
        session = self.book.mux._south.get(self.cid)
        if self.book.hostile and session is not None and session.switch is not None:
            # It may have said that it is another: then it has that one's slices, as far as anybody can know.
            self.judge = self.book.judge(self.version, session.switch.dpid, self.native)
        for raw in _split(data):
            message = Message(raw)
            self.book.judged(partial(self.judge.message, message=message, negotiated=self.negotiated))
            self.negotiated |= message.name == "features_request"
            kind = struct.unpack_from("!H", raw, 8)[0] if message.name == "stats_request" else 0
            self.asked.append((message.type, kind, message.xid))
        before = len(self._outbox)
        super().hear(data)
        self.inbox.clear()
        if self.garbles:
            assert self.garble is not None
            for at in range(before, len(self._outbox)):
                if self.garbles:
                    self.garbles -= 1
                    self._outbox[at] = mutate(self._outbox[at], self.garble)
        del self.model.transmitted[:]

    def answering_to(self, data: bytes, back: int) -> bytes:
        """``data`` under the xid of a late request that it could answer, or of any."""
        if not self.asked or len(data) < 12:
            return data
        kinds = _ANSWERS[self.version].get(data[1], ())
        about = struct.unpack_from("!H", data, 8)[0] if 18 in kinds or 16 in kinds else 0
        fitting = [xid for kind, what, xid in self.asked if kind in kinds and what == about]
        among = fitting or [xid for _, _, xid in self.asked]
        return data[:4] + among[-1 - back % len(among)].to_bytes(4, "big") + data[8:]

    def flush(self) -> bool:
        return self.book.carry_out(self)


class Controller(ControllerEnd):
    """A controller's connection; its slice is the name of its host."""

    book: World

    @property
    def owner(self) -> str:
        return self.endpoint.host

    @property
    def native(self) -> bool:
        return self.features is not None and self.dpid & 0xFFFFFFFFFFFF in NATIVE

    def hides_tag(self, rights: judges.Rights) -> bool:
        """As they are, or were where a change of slices is on its way."""
        one = rights.slices.get(self.owner)
        return self.native or (one is not None and one.segments[0].presentation is Presentation.TRANSPARENT)

    def hear(self, data: bytes) -> None:
        for raw in _split(data):
            honest = not self.book.hostile
            self.book.judged(partial(judges.to_controller, end=self, message=Message(raw), honest=honest))
            if self.owner == "vera" and not self.book.hostile:
                self.book.overheard.append(Message(raw))
            self._react(Message(raw))

    def _react(self, message: Message) -> None:
        if message.name == "hello" and self.book.greet and not self.version:
            self.version = message.version
            self._outbox.append(of.hello(self.version, 1, (4,) if self.version == of.V13 else None))
            self._outbox.append(of.message(self.version, "features_request", b"", FEATURES_XID))
        elif message.name == "features_reply" and message.xid == FEATURES_XID:
            dpid, buffers, tables = struct.unpack_from("!QIB", message.raw, 8)
            self.features = of.Features(dpid, buffers, tables, 0, 0, 0, [])
        elif message.name == "echo_request":
            self._outbox.append(of.message(message.version, "echo_reply", message.body, message.xid))

    def flush(self) -> bool:
        return self.book.carry_out(self)


def _split(data: bytes) -> list[bytes]:
    found = []
    while data:
        judges.check(len(data) >= 8, "half a message was written", data.hex())
        (length,) = struct.unpack_from("!H", data, 2)
        judges.check(8 <= length <= len(data), "a wrong length was written", data[:64].hex())
        found.append(data[:length])
        data = data[length:]
    return found
