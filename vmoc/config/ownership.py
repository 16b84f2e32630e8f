"""Which addresses are our own: a controller that is one of our listeners would make VMOC talk to itself."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """A listener of ours, and the key that configures it."""

    host: str
    port: int
    key: str


def is_own(own: OwnAddress, host: str, port: int) -> bool:
    """Whether connecting to ``host``:``port`` would reach ``own``. Names are not looked up."""
    if port != own.port or port == 0:
        return False
    ours, theirs = _address(own.host), _address(host)
    if ours is None or theirs is None:
        wildcard = ours is not None and ours.is_unspecified
        return own.host.lower() == host.lower() or (wildcard and _is_this_machine(host))
    if ours.is_unspecified:
        return theirs.is_unspecified or theirs.is_loopback or _is_interface(str(theirs))
    # Connecting to 0.0.0.0 or :: reaches the loopback interface.
    return ours == theirs or (theirs.is_unspecified and ours.is_loopback)


def clash(one: OwnAddress, other: OwnAddress) -> bool:
    """Whether the two can't be listened on at the same time."""
    if one.port != other.port or one.port == 0:
        return False
    a, b = _address(one.host), _address(other.host)
    if a is None or b is None:
        return one.host.lower() == other.host.lower() or any(x is not None and x.is_unspecified for x in (a, b))
    return a.version == b.version and (a == b or a.is_unspecified or b.is_unspecified)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener there. Of names it believes ``localhost`` alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _address(host: str) -> IpAddress | None:
    """The address that ``host`` stands for, None for a name."""
    name = host.lower().rstrip(".")
    if name in ("localhost", "localhost.localdomain") or name.endswith(".localhost"):
        return ipaddress.ip_address(_LOCALHOST)
    try:
        address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_this_machine(name: str) -> bool:
    ours = os.uname().nodename.lower()
    return name.lower().rstrip(".") in {ours, ours.split(".")[0]}


def _is_interface(address: str) -> bool:
    """Whether an interface of this machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
