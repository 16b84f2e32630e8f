"""An os-ken Datapath whose bytes travel by a transport of ours.

os-ken's own has two threads per connection, two system calls per message,
a send queue of 16 messages that blocks, and leaves both threads behind when
a switch closes cleanly (``hub.kill`` does nothing on native threads). Here
none of that exists: whoever owns the transport calls ``receive`` with whole
messages, and ``send`` hands bytes over.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable
from typing import Any

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.controller import Datapath
from os_ken.controller.handler import DEAD_DISPATCHER, HANDSHAKE_DISPATCHER
from os_ken.ofproto import ofproto_protocol

from vmoc.apps.safety import safe_for_osken

LOG = logging.getLogger(__name__)

Transmit = Callable[[bytes, bool], bool]
"""(message, close afterwards) -> whether it was taken."""


class TransportDatapath(Datapath):
    """Everything os-ken's applications know of a Datapath, without its socket and loops.

    ``transmit`` may be called from any thread and must not call back into
    os-ken. ``unreadable`` counts messages withheld from os-ken because it
    could hang on them or not parse them.
    """

    def __init__(self, address: tuple[str, int], transmit: Transmit) -> None:
        # Not Datapath.__init__: that one sets up a socket and the queue this class is there to avoid.
        ofproto_protocol.ProtocolDesc.__init__(self)
        self.address = address
        self.is_active = True
        self.unreadable = 0
        self.unreplied_echo_requests: list[int] = []
        self.id: int | None = None
        self._ports: dict[int, Any] | None = None
        self.flow_format = 0  # NXFF_OPENFLOW10
        self.xid = random.randint(0, 0xFFFFFFFF)
        self._xids = itertools.count(self.xid)  # next() is atomic: several applications may send at once
        self._transmit = transmit
        self.ofp_brick = app_manager.lookup_service_brick(ofp_event.NAME)
        self.state: str | None = None
        self.set_state(HANDSHAKE_DISPATCHER)

    # ---- what os-ken's applications call ------------------------------------------------------------------------

    def send(self, buf: bytes | bytearray, close_socket: bool = False) -> bool:
        """Hand a serialised message over; False if the datapath is gone."""
        if self.state == DEAD_DISPATCHER:
            return False
        return self._transmit(bytes(buf), close_socket)

    def set_xid(self, msg: Any) -> int:
        """Give ``msg`` the next transaction id and return it."""
        self.xid = next(self._xids) & 0xFFFFFFFF
        msg.set_xid(self.xid)
        xid: int = msg.xid
        return xid

    def close(self) -> None:
        """End it for os-ken: DEAD_DISPATCHER once, nothing is sent any more."""
        if self.state != DEAD_DISPATCHER:
            self.is_active = False
            self.set_state(DEAD_DISPATCHER)

    def serve(self) -> None:
        """Not how this one runs."""
        raise NotImplementedError("the owner of the transport calls receive()")

    # ---- what the owner of the transport calls ------------------------------------------------------------------

    def receive(self, message: bytes) -> bool:
        """Parse one whole message and dispatch its event as os-ken does. False if it was withheld."""
        if self.state == DEAD_DISPATCHER:
            return False
        if not safe_for_osken(message, self.ofproto.OFP_VERSION):
            self.unreadable += 1
            return False
        return self.dispatch(message)

    def dispatch(self, message: bytes) -> bool:
        """``receive`` without the check, for bytes of our own making."""
        version, kind, xid = message[0], message[1], int.from_bytes(message[4:8])
        # A 1.0 HELLO comes while the datapath is still at its highest version.
        _, parser = ofproto_protocol._versions[version]
        try:
            parsed = parser.msg_parser(self, version, kind, len(message), xid, message)
        except Exception as error:  # whatever the check above overlooked must not end the thread
            self.unreadable += 1
            LOG.warning("os-ken cannot read a message of type %d from %s: %r", kind, self.address, error)
            return False
        event = ofp_event.ofp_msg_to_ev(parsed)
        brick = self.ofp_brick
        if brick is not None:
            state = self.state
            brick.send_event_to_observers(event, state)
            for handler in list(brick.get_handlers(event, state)):
                handler(event)
        return True
