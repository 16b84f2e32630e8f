"""Output ports: which may be named, what FLOOD and ALL become, and how many copies are too many."""

from __future__ import annotations

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v10, v13
from vmoc.policy.grant import Grant

ANYWHERE = -1
"""in_port of a packet that came from no port: FLOOD then leaves nothing out, IN_PORT leads nowhere."""


class Outputs:
    """Judges the outputs of one action list and counts them.

    ``in_port`` is the exact input port if known, None if any of the slice's,
    ``ANYWHERE`` for a packet-out without one. ``in_set``: write-actions or a
    bucket, where one output is all there is and nothing can be expanded.
    ``packet_out``: TABLE is allowed, unless a VLAN may be shared and the packet has no port;
    CONTROLLER is not, if a VLAN may be shared.
    """

    __slots__ = ("_count", "_grant", "_in_port", "_in_set", "_packet_out", "_per_port", "floods")

    def __init__(self, grant: Grant, in_port: int | None, *, in_set: bool = False, packet_out: bool = False) -> None:
        self._grant = grant
        self._in_port = in_port
        self._in_set = in_set
        self._packet_out = packet_out
        self._count = 0
        self._per_port: dict[int, int] = {}
        self.floods = False

    def expand(self, port: int) -> list[int]:
        """The ports to write for an output to ``port``; ``FOREIGN_OUT_PORT`` or ``TOO_MANY_ACTIONS``."""
        ports = self._ports(port)
        for each in ports:
            self._count += 1
            self._per_port[each] = self._per_port.get(each, 0) + 1
            if self._count > self._grant.max_outputs or self._per_port[each] > self._grant.policy.max_dup_outputs:
                raise Refused(errors.TOO_MANY_ACTIONS, "too many copies of one packet")
        return ports

    def _ports(self, port: int) -> list[int]:
        grant = self._grant
        if port in grant.ports:
            return [port]
        numbers = v10 if grant.version == 1 else v13
        if port == numbers.IN_PORT and self._in_port != ANYWHERE:
            return [port]
        # Where slices share a VLAN, whose a packet is depends on its input port.
        if port == numbers.CONTROLLER and not (grant.slot and self._packet_out):
            return [port]
        if port == numbers.TABLE and self._packet_out and not (grant.slot and self._in_port == ANYWHERE):
            return [port]
        if port in (numbers.FLOOD, numbers.ALL) and not self._in_set:
            self.floods = True
            return grant.flood_ports(self._in_port, honour_no_flood=port == numbers.FLOOD and grant.version == 1)
        raise Refused(errors.FOREIGN_OUT_PORT, f"output to port {port:#x}")
