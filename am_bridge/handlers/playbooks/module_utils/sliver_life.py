"""What all slivers go through, whatever they are made of: what keeps one from being made, its answer, its removal."""

from __future__ import annotations

import ipaddress
import os
import re
import time
from typing import Any

from ansible.module_utils.sliver_published import PublishingSliver

ETC = "/etc/netns"
PATIENCE = 2.0


class Sliver(PublishingSliver):  # type: ignore[misc]
    """A kind of sliver has these, too, each as its verb says: ``exists``, ``ensure``, ``describe`` (the answer of every
    verb but delete: what is there, and how it differs from the specification), ``halt``, ``boot``, ``change_keys``,
    ``perform`` (the facts that any other action answers), ``run_inside`` (a program to its end: status, output,
    errors); and for ``remove``: ``tear_down`` (remove what it is made of, go on
    after failures) and ``remains`` (what is left of that, as ``kind:name``).
    """

    noun = ""
    """What an operator calls it."""

    def instances(self) -> set[str]:
        """Names of instances that only this kind knows how to find."""
        return set()

    def busy(self) -> bool:
        """Whether what was torn down still ends."""
        return bool(self.outer() + self.inner())

    def lasting_facts(self) -> dict[str, Any]:
        """What is told even of one that is gone."""
        return {}

    # -- before it is made ---------------------------------------------------------------------------------------------

    def check_host(self) -> None:
        if self.spec["commands"] and not self.module.params["commands"]:
            self.fail(f"this host runs no commands of slivers; see {self.kind}_commands")
        if self.bridge not in self.look("ovs-vsctl", "-t", "10", "list-br").split():
            self.fail(f"there is no bridge {self.bridge} on this host; see {self.kind}_bridge")

    def checked_keys(self, parameters: dict[str, Any]) -> tuple[str, list[str]]:
        """The user and the keys of ``add_keys`` and ``remove_keys``."""
        name, keys = str(parameters.get("user", "")), parameters.get("keys", [])
        if name not in {user["name"] for user in self.spec["users"]}:
            self.fail("there is no such user; name one of the specification")
        if not isinstance(keys, list) or not all(isinstance(one, str) and one.isprintable() and one for one in keys):
            self.fail("keys must be a list of lines")
        return name, keys

    def ping(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Whether an address answers, asked from inside: ``{address, sent, received}``."""
        try:
            address, count = str(ipaddress.ip_address(parameters.get("address", ""))), int(parameters.get("count", 3))
        except (TypeError, ValueError):
            address, count = "", 0
        if not 1 <= count <= 20:
            self.fail("ping needs an address, and a count of 1 to 20 if any")
        status, out, err = self.run_inside("ping", "-q", "-i", "0.2", "-W", "1", "-c", str(count), address)
        found = re.search(r"(\d+) packets transmitted, (\d+)", out)
        if found is None:
            text = (err or out).strip().splitlines()
            self.fail(f"ping: {text[-1] if text else 'it cannot be run'}", status or 1)
            return {}  # not reached: fail ends the module
        return {"address": address, "sent": int(found[1]), "received": int(found[2])}

    # -- its end -------------------------------------------------------------------------------------------------------

    def remove(self) -> list[str]:
        """Remove all of it, go on after failures, and say what is left."""
        self.tear_down()
        for port in self.switch_ports():
            self.attempt("ovs-vsctl", "-t", "10", "--if-exists", "del-port", port)
        if self.has_rules():
            self.attempt("nft", "delete", "table", "ip", self.rules)
        deadline = time.monotonic() + PATIENCE  # links go with what they were in, a moment later
        while self.busy() and self.changed and time.monotonic() < deadline and not self.module.check_mode:
            time.sleep(0.01)
        for link in self.outer() + self.inner():
            self.attempt("ip", "link", "del", link)
        folders = (os.path.join(ETC, self.name), self.folder)
        for folder in folders:
            if os.path.isdir(folder):
                self.attempt("rm", "-rf", "--", folder)
        if self.module.check_mode:
            return []
        left: list[str] = [*self.remains(), *(f"port:{port}" for port in self.switch_ports())]
        left += [f"link:{link}" for link in self.outer() + self.inner()]
        left += [f"nftables:{self.rules}"] * self.has_rules()
        return left + [f"directory:{folder}" for folder in folders if os.path.isdir(folder)]

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe_card(
        self, nic: dict[str, Any], mac: str, vlan: Any, number: Any, addresses: set[str] | None
    ) -> dict[str, Any]:
        """A card as it is, for the answer; how it differs from ``nic`` is a problem. ``addresses`` None: unknown."""
        have, want = sorted(addresses or ()), set(normal(nic["addresses"]))
        wrong = [
            text
            for text, bad in (
                (f"MAC address {mac}", mac != self.mac(nic)),
                (f"VLAN {vlan}", vlan != nic["vlan"]),
                (f"addresses {', '.join(have)}", addresses is not None and not want <= addresses),
            )
            if bad
        ]
        if wrong:
            self.problems.append(f"{nic['name']} has {', '.join(wrong)}")
        port = max(0, number) if isinstance(number, int) else 0
        return {"name": nic["name"], "mac": mac, "vlan": nic["vlan"], "port": port, "addresses": have}

    def describe_as(self, cards: list[dict[str, Any]], **facts: Any) -> dict[str, Any]:
        """The answer with those cards. Where there is an uplink, they are all at its far end's port."""
        state, (dpid, uplink) = self.state(), self.attachment()
        published = state.get("ports", {})
        user = self.spec["users"][0]["name"] if self.spec["users"] else ""
        ready = "degraded" if self.problems else "stopped" if state.get("stopped") else "ready"
        return {
            "state": ready,
            "instance": self.name,
            "interfaces": [{**card, "dpid": dpid, "port": uplink or card["port"]} for card in cards],
            "management_addresses": self.management_addresses(),
            "logins": [{"host": "", "port": published["22"], "user": user}] if "22" in published else [],
            "facts": {**facts, **({"published_ports": published} if published else {})},
            "problems": self.problems,
        }

    def answer(self, result: dict[str, Any]) -> None:
        """``ansible_stats`` is what ``set_stats`` returns: it saves the run a second task."""
        result = {**result, "changed": self.changed}
        stats = {"data": {"vmoc_result": result}, "per_host": False, "aggregate": False}
        self.module.exit_json(changed=self.changed, vmoc_result=result, ansible_stats=stats)


def change_lines(lines: list[str], keys: list[str], add: bool) -> list[str]:
    """The lines of an authorized_keys file with those keys, or without them."""
    return [*lines, *(key for key in keys if key not in lines)] if add else [one for one in lines if one not in keys]


def normal(addresses: list[str]) -> list[str]:
    """As programs write them."""
    return [str(ipaddress.ip_interface(one)) for one in addresses]
