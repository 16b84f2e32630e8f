"""The mock switch of the test vectors: the emulated switch, with answers that a vector scripts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tests.emulation import EmulatedSwitch
from tests.emulation import wire as of
from tests.emulation.answers import flow_entry
from tests.emulation.layout import Message
from tests.emulation.peer import Peer
from tests.emulation.table import Entry

GUARD = 0xFFFE << 48
_QUIET = frozenset({"hello", "error", "echo_request", "echo_reply", "barrier_request"})


class MockSwitch(EmulatedSwitch):
    """``script[name]`` is called with each message of that name; True says that it has been answered.

    ``mark`` begins a vector: ``derived`` are the messages since then that are
    neither barriers nor echoes nor guards.
    """

    def __init__(self, address: tuple[str, int], dpid: int, version: int, **knobs: Any) -> None:
        super().__init__(address, dpid, version, **({"reconnect": None} | knobs))
        self.script: dict[str, Callable[[Message], object]] = {}
        self._mark = 0

    def _handle(self, peer: Peer, msg: Message) -> None:
        scripted = self.script.get(msg.name)
        if peer is self.peers[-1] and scripted is not None and scripted(msg):
            return
        super()._handle(peer, msg)

    # --- what came -------------------------------------------------------------------------------

    def mark(self) -> None:
        """What came so far is of no interest."""
        with self.changed:
            self._mark = len(self.peer.log)

    def since(self) -> list[Message]:
        """Everything since the mark."""
        with self.changed:
            return self.peer.log[self._mark :]

    def derived(self) -> list[Message]:
        """What was sent because of the vector's messages."""
        return [m for m in self.since() if m.name not in _QUIET and not is_guard(m)]

    def flow_mods_since(self) -> list[of.FlowMod]:
        """The FLOW_MODs since the mark, guards too."""
        return [of.parse_flow_mod(m) for m in self.since() if m.name == "flow_mod"]

    # --- what it says ----------------------------------------------------------------------------

    def stats_reply(self, to: Message, body: bytes, *, flags: int = 0, kind: int | None = None) -> bytes:
        """A STATS or MULTIPART reply to a request of its kind."""
        number = struct.unpack_from("!H", to.raw, 8)[0] if kind is None else kind
        head = struct.pack("!HH" if self.version == of.V10 else "!HH4x", number, flags)
        return of.message(self.version, "stats_reply", head + body, to.xid)

    def answer_stats(self, kind: str, body: Callable[[Message], bytes] | bytes) -> None:
        """Answer every request of that kind with one fragment."""
        number = of.STATS[self.version][kind]

        def scripted(msg: Message) -> bool:
            if struct.unpack_from("!H", msg.raw, 8)[0] != number:
                return False
            self.peer.send(self.stats_reply(msg, body if isinstance(body, bytes) else body(msg)))
            return True

        self.script["stats_request"] = scripted

    def dump(self, entries: list[Entry] | None = None) -> bytes:
        """A FLOW reply's body with these entries, or all there are."""
        with self.changed:
            return b"".join(flow_entry(self.version, e) for e in (self.table.entries if entries is None else entries))

    def entry(self, match: dict[str, of.Value], *, cookie: int = 0, priority: int = 100, table: int = 0,
              actions: bytes = b"", flags: int = 0) -> Entry:  # fmt: skip
        """An entry that came from elsewhere; not in the table until ``table.entries.append``."""
        raw = of.match(self.version, **match)
        fields, _ = of.parse_match(self.version, raw)
        return Entry(table, fields, raw, priority, cookie, actions, flags=flags)

    def plant(self, entry: Entry) -> Entry:
        """Put an entry into the table by another way than OpenFlow."""
        with self.changed:
            self.table.entries.append(entry)
        return entry


def is_guard(msg: Message) -> bool:
    """Whether a message is a FLOW_MOD of the proxy's own."""
    return msg.name == "flow_mod" and of.parse_flow_mod(msg).cookie & 0xFFFF << 48 == GUARD
