"""For ``netns_sliver``: which ports of the host are free, the nftables rules that publish them, a veth's checksums."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

STATES = "/var/lib/vmoc/netns"
STATE = "vmoc.json"
LOCK = "/run/lock/vmoc-netns.lock"
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


@contextmanager
def choosing() -> Iterator[None]:
    """One at a time chooses what is free."""
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    with open(LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_state(name: str) -> dict[str, Any]:
    """What is written down about a sliver."""
    with suppress(OSError, ValueError), open(os.path.join(STATES, name, STATE)) as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def other_states(name: str) -> list[dict[str, Any]]:
    """What is written down about all others."""
    with suppress(OSError):
        return [read_state(other) for other in sorted(os.listdir(STATES)) if other != name]
    return []


def is_free(port: int) -> bool:
    """Whether nobody listens on that TCP port of the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("", port))
        except OSError:
            return False
    return True


def published_rules(table: str, outer: str, inside: str, ports: dict[int, int]) -> str:
    """One table per sliver, replaced as a whole. From the sliver only answers come through its management link."""
    hops = "".join(
        f"    fib daddr type local tcp dport {host} dnat to {inside}:{port}\n" for port, host in sorted(ports.items())
    )
    only_answers = f'    iifname "{outer}" ct state established,related accept\n    iifname "{outer}" drop\n'
    chains = {
        "prerouting": ("nat hook prerouting priority -100", hops),
        "output": ("nat hook output priority -100", hops),
        "postrouting": ("nat hook postrouting priority 100", f'    oifname "{outer}" masquerade\n'),
        "input": ("filter hook input priority 0", only_answers),
        "forward": ("filter hook forward priority 0", only_answers),
    }
    text = "".join(f"  chain {name} {{\n    type {kind};\n{rules}  }}\n" for name, (kind, rules) in chains.items())
    return f"add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n{text}}}\n"


def leave_checksums_to_nobody(interface: str) -> None:
    """What ``ethtool -K INTERFACE tx off`` does."""
    value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
