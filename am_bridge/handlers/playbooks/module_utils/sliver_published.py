"""A sliver's published ports: nftables rules that lead from ports of the host to its management link."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ansible.module_utils.sliver_instance import Instance
from ansible.module_utils.sliver_name import STATES, read_state

MANAGEMENT = ipaddress.ip_network("169.254.128.0/17")
LOCK = "/run/lock/vmoc-netns.lock"


class PublishingSliver(Instance):  # type: ignore[misc]
    """What has a management link once ports are published; ``ensure_published`` is for those who make the link."""

    def reserve_ports(self) -> tuple[int, dict[str, int]]:
        """Which management link is ours, and which port of the host leads to which of the sliver's."""
        with choosing():
            state, taken = self.state(), other_states(self.name)
            index = state.get("management")
            if index is None:
                used = {one.get("management") for one in taken}
                index = next(number for number in range(MANAGEMENT.num_addresses // 2) if number not in used)
            ports = self.choose_ports(self.spec["published_ports"], state.get("ports", {}), taken)
            if not self.module.check_mode:
                self.save(management=index, ports=ports)
        return index, ports

    def choose_ports(
        self, wanted: list[dict[str, Any]], have: dict[str, int], taken: list[dict[str, Any]]
    ) -> dict[str, int]:
        low, _, high = self.module.params["published_ports"].partition("-")
        pool = range(int(low), int(high or low) + 1)
        used = {port for one in taken for port in one.get("ports", {}).values()}
        chosen: dict[str, int] = {}
        for one in wanted:
            inner, asked = str(one["port"]), one["host_port"]
            before = have.get(inner)
            if asked and asked not in pool:
                self.fail(f"port {asked} of the host is not one of {low}-{high}, those that slivers may have")
            if asked and (asked in used or asked in chosen.values() or (asked != before and not is_free(asked))):
                self.fail(f"port {asked} of the host is taken; ask for 0 to get a free one")
            if not asked and before in pool:
                asked = before
            busy = used | set(chosen.values())
            chosen[inner] = asked or next((each for each in pool if each not in busy and is_free(each)), 0)
            if not chosen[inner]:
                self.fail(f"every port of {low}-{high} of this host is taken")
        return chosen

    def ensure_rules(self, there: str, ports: dict[str, int]) -> None:
        """Once the management link is there; ``there``: the sliver's address on it."""
        rules = published_rules(self.rules, self.management, there, {int(port): ports[port] for port in ports})
        digest = hashlib.sha256(rules.encode()).hexdigest()
        if not self.module.check_mode:
            with suppress(OSError), open(f"/proc/sys/net/ipv4/conf/{self.management}/route_localnet", "w") as file:
                file.write("1")
        if self.state().get("rules") != digest or not self.has_rules():
            self.change("nft", "-f", "-", data=rules)
            self.save(rules=digest)

    def unpublish(self) -> None:
        if "rules" not in self.state() and "management" not in self.state():
            return
        if self.has_rules():
            self.change("nft", "delete", "table", "ip", self.rules)
        if self.management in self.outer():
            self.change("ip", "link", "del", self.management)
        self.remember({key: one for key, one in self.state().items() if key not in ("rules", "management", "ports")})

    def management_addresses(self) -> list[str]:
        """Of the sliver, on the link from the host."""
        state = self.state()
        return [str(MANAGEMENT[2 * state["management"] + 1])] if "management" in state else []


@contextmanager
def choosing() -> Iterator[None]:
    """One at a time chooses what is free."""
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    with open(LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def other_states(name: str) -> list[dict[str, Any]]:
    """What is written down about all others, whosever they are."""
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
