"""Where a switch that dials and a client that dials meet: ``python -m tests.compat.rendezvous CLIENTS SWITCHES...``.

``ovs-ofctl`` dials switches and VMOC dials controllers. Whoever comes to the
port for clients gets the next living connection at the ports for switches;
from then on bytes are passed on, untouched. When one side hangs up, the other
is hung up on. (More than one port for switches because ``ovs-ofctl show``
opens two connections at a time, and VMOC keeps one per controller.)
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque


class Caller(asyncio.Protocol):
    """One connection: keeps what it hears until it has a partner, then passes it on."""

    def __init__(self, mine: deque[Caller], others: deque[Caller]) -> None:
        self.mine = mine
        self.others = others
        self.partner: Caller | None = None
        self.kept = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Meet whoever waits on the other side, or wait."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self.others:
            self.mine.append(self)
            return
        self.partner = partner = self.others.popleft()
        partner.partner = self
        transport.write(bytes(partner.kept))

    def data_received(self, data: bytes) -> None:
        """Pass on, or keep."""
        if self.partner is None:
            self.kept += data
        else:
            self.partner.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hang up on the partner."""
        if self in self.mine:
            self.mine.remove(self)
        if self.partner is not None:
            self.partner.transport.close()


async def main(clients: int, *switches: int) -> None:
    """Listen on all ports until killed."""
    loop = asyncio.get_running_loop()
    here: deque[Caller] = deque()
    there: deque[Caller] = deque()
    for port in switches:
        await loop.create_server(lambda: Caller(here, there), "127.0.0.1", port)
    server = await loop.create_server(lambda: Caller(there, here), "127.0.0.1", clients)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
