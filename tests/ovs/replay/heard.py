"""What a controller was told, without what depends on time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.ovs.replay.alike import frame, matched


@dataclass
class Heard:
    """``answers``: (name, xid, error) of whatever was asked for, fragments once; the rest came unasked."""

    answers: set[tuple[str, int, tuple[int, int]]] = field(default_factory=set)
    removed: Counter[Any] = field(default_factory=Counter)
    packets: Counter[Any] = field(default_factory=Counter)

    def errors(self, xid: int) -> list[tuple[int, int]]:
        """The errors of one message."""
        return [error for name, answered, error in self.answers if name == "error" and answered == xid]


def digest(messages: Iterable[Message]) -> Heard:
    """Sort what a controller received."""
    found = Heard()
    for message in messages:
        if message.name == "packet_in":
            seen = of.parse_packet_in(message)
            where = (seen.in_port, seen.reason, seen.table, seen.cookie, matched(seen.match))
            found.packets[*where, frame(seen.data)] += 1
        elif message.name == "flow_removed":
            gone = of.parse_flow_removed(message)
            found.removed[matched(gone.match), gone.cookie, gone.priority, gone.reason, gone.table, gone.idle] += 1
        elif message.name == "error":
            error = of.parse_error(message)
            found.answers.add((message.name, message.xid, (error.type, error.code)))
        elif message.name not in ("port_status", "hello", "echo_request"):
            found.answers.add((message.name, message.xid, (0, 0)))
    return found
