"""Packet-outs on their way down: vetted, and written to the switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmoc.mux.pending import Expected, Sent
from vmoc.policy.verdict import Refusal

if TYPE_CHECKING:
    from vmoc.mux.north import NorthSession

_NOTHING: Final = Expected.NOTHING


def send_packet(session: NorthSession, message: bytes, given: bytes, now: float) -> bool:
    """Vet a PACKET_OUT and write it; ``given`` is the controller's own message behind it.

    Returns whether it was allowed.
    """
    datapath, switch = session.datapath, session.switch
    pending = switch.pending
    xid = pending.fresh()
    data = datapath.packet_policy.vet(message, xid)
    if isinstance(data, Refusal):
        session.refuse(given, data, now)
        return False
    pending.waiting[xid] = Sent(_NOTHING, session, given)
    switch.write(data)
    if len(data) > switch.HEAVY:
        datapath.heavy += len(data)
    unacked = datapath.unacked
    unacked.append(xid)
    if len(unacked) == 1 or len(unacked) >= switch.ACK_EVERY:
        switch.acknowledge(datapath, now)
    return True
