"""Taking a welcomed switch's connection out of this process: the socket itself, or for TLS a relay to it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from vmoc.net.relay import Relay
from vmoc.net.wire import Wire

PATIENCE = 1.0
"""Seconds for what was said to the switch to leave; it has answered, so usually there is nothing."""


async def hand_over(loop: asyncio.AbstractEventLoop, wire: Wire, send: Callable[[socket.socket], None]) -> bool:
    """Call ``send`` with a socket that is the switch's from here on; False if the switch is gone."""
    transport = wire.transport
    if transport is None or transport.is_closing():
        return False
    if transport.get_extra_info("ssl_object") is not None:
        return await _relay(loop, transport, send)
    deadline = loop.time() + PATIENCE
    while transport.get_write_buffer_size() and loop.time() < deadline:
        await asyncio.sleep(0.001)
    if transport.is_closing() or transport.get_write_buffer_size():
        transport.abort()  # it does not read: it would not understand what comes next
        return False
    ours = transport.get_extra_info("socket")
    theirs = socket.socket(fileno=os.dup(ours.fileno()))
    transport.abort()  # closes our descriptor, and says nothing to the switch
    send(theirs)
    return True


async def _relay(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, send: Callable[[socket.socket], None]
) -> bool:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    near = Relay(transport)
    transport.set_protocol(near)
    far = Relay()
    try:
        await loop.connect_accepted_socket(lambda: far, ours)
    except OSError:
        ours.close()
        theirs.close()
        transport.abort()
        return False
    Relay.join(near, far)
    send(theirs)
    return True
