"""What the core asks of the edge. The core never does any of it itself.

Rules of this file: plain frozen values; a ``cid`` names one TCP connection
and is given out by the edge (south) or by the edge on a successful dial
(north); a ``link`` names one (virtual datapath, controller) pair for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmoc.events import Event
from vmoc.model import Endpoint


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection for ``link``; answer with ``Mux.dialled`` or ``Mux.dial_failed``."""

    link: int
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class AbandonDial:
    """The dial of ``link`` is no longer wanted; no answer is expected."""

    link: int


@dataclass(frozen=True, slots=True)
class Close:
    """Flush what was written, then close. No ``*_closed`` call is expected back, none does harm."""

    cid: int
    abort: bool = False  # do not flush, the peer is not worth waiting for


@dataclass(frozen=True, slots=True)
class PauseReading:
    """Stop reading from ``cid``: TCP pushes back on the peer."""

    cid: int


@dataclass(frozen=True, slots=True)
class ResumeReading:
    """Undo ``PauseReading``."""

    cid: int


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the operator."""

    event: Event


@dataclass(frozen=True, slots=True)
class SwitchAppeared:
    """For the os-ken mirror (only when the tap is on): a switch finished its handshake.

    ``features`` is the switch's own FEATURES_REPLY, ``ports`` (1.3) its
    PORT_DESC reply or replies, both whole messages.
    """

    key: tuple[int, int]  # (DPID, native VLAN or 0)
    version: int
    features: bytes
    ports: tuple[bytes, ...]
    peer: str


@dataclass(frozen=True, slots=True)
class SwitchVanished:
    """For the os-ken mirror: the switch of ``key`` is gone."""

    key: tuple[int, int]


@dataclass(frozen=True, slots=True)
class HandOver:
    """Only from ``Reception``: give the connection, as it is, to whoever serves the switch of ``key``.

    ``version`` was agreed on; ``data`` is the FEATURES_REPLY and all that came
    after it, to be told to ``Mux.south_data`` first.
    """

    cid: int
    key: tuple[int, int]
    version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SwitchForgotten:
    """Nothing is kept of the switch of ``key`` any more: whoever gets it next may be another mux."""

    key: tuple[int, int]


@dataclass(frozen=True, slots=True)
class OperatorInput:
    """For the os-ken mirror: one whole message of the switch that belongs to the operator.

    That is: untagged or unowned packet-ins, port-status, and the answers to
    what operator applications sent.
    """

    key: tuple[int, int]
    message: bytes


Effect = (
    Dial
    | AbandonDial
    | Close
    | PauseReading
    | ResumeReading
    | Report
    | SwitchAppeared
    | SwitchVanished
    | OperatorInput
    | HandOver
    | SwitchForgotten
)


@dataclass(slots=True)
class Output:
    """All that one or more calls into the core produced: records, bytes per connection, then effects in order.

    ``journal`` is to be written (not synced) before anything else is.
    """

    writes: dict[int, list[bytes]] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    journal: bytes = b""
