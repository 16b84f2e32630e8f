"""Ethernet frames in and out of an interface, tags included, without any tool."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

from mininet_scenarios.namespaces import NetworkNamespace

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
EXPERIMENTAL: Final = 0x88B5  # IEEE 802 local experimental ethertype: no protocol stack answers it

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_AUXDATA: Final = 8
_PACKET_OUTGOING: Final = 4
_VLAN_VALID: Final = 0x10
_TPID_VALID: Final = 0x40
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid


def mac_bytes(text: str) -> bytes:
    """``02:00:00:00:00:01`` as six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def frame(dst: str, src: str, payload: bytes, *, vlan: int | None = None, ethertype: int = EXPERIMENTAL) -> bytes:
    """An Ethernet II frame, with an 802.1Q tag when ``vlan`` is given, padded to 60 bytes."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    whole = mac_bytes(dst) + mac_bytes(src) + tag + struct.pack("!H", ethertype) + payload
    return whole.ljust(60, b"\0")


def vlan_of(data: bytes) -> int | None:
    """The VID of a frame's outermost 802.1Q tag, None when it has none."""
    if len(data) >= 18 and data[12:14] in (b"\x81\x00", b"\x88\xa8"):
        return int.from_bytes(data[14:16], "big") & 0xFFF
    return None


class Wire:
    """The far end of an interface: what is sent here arrives at the switch, what it sends is heard here.

    The kernel takes 802.1Q tags off received frames and reports them aside;
    they are put back, so ``heard`` holds the bytes of the wire.
    """

    def __init__(self, interface: str, namespace: NetworkNamespace | None = None) -> None:
        self.interface = interface
        self.heard: list[bytes] = []
        with contextlib.nullcontext() if namespace is None else namespace.entered():
            # Without a protocol it hears nothing until it is bound; with one, every interface.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
                self._socket.bind((interface, _ETH_P_ALL))
                self._socket.setblocking(False)
            except OSError:
                self._socket.close()
                raise

    def send(self, data: bytes) -> None:
        """Put one frame on the wire."""
        self._socket.send(data)

    def listen(self) -> list[bytes]:
        """Everything heard since the wire was made or last cleared."""
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(65536, socket.CMSG_SPACE(_AUXDATA.size))
            except (BlockingIOError, InterruptedError):
                return self.heard
            except OSError:  # ENETDOWN is reported once when the interface goes; later frames still come
                continue
            if address[2] != _PACKET_OUTGOING:
                self.heard.append(_with_tag(data, ancillary))

    def clear(self) -> None:
        """Forget what was heard."""
        self.listen()
        self.heard.clear()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _with_tag(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    for level, kind, blob in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA and len(blob) >= _AUXDATA.size:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(blob)
            if status & _VLAN_VALID:
                return data[:12] + struct.pack("!HH", tpid if status & _TPID_VALID else 0x8100, tci) + data[12:]
    return data
