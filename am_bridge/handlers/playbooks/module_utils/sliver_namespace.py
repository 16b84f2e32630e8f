"""A sliver's network namespace, with its cards on Open vSwitch: for ``netns_sliver`` and ``container_sliver``."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import pwd
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.netns_published import (
    STATE,
    STATES,
    choosing,
    is_free,
    leave_checksums_to_nobody,
    other_states,
    published_rules,
    read_state,
)
from ansible.module_utils.sliver_name import name_instance

ETC = "/etc/netns"
MANAGEMENT = ipaddress.ip_network("169.254.128.0/17")
COMMAND_LIMIT = 4096
FIRST_UID = 60000
PATIENCE = 2.0


class Sliver:
    """The namespace, as it should be and as it is."""

    kind = "netns"
    """What the host's variables begin with."""

    def __init__(self, module: AnsibleModule, name: str = "") -> None:
        """With ``name`` it is whatever has that name, to be removed: there is no specification."""
        self.module = module
        self.spec: dict[str, Any] = module.params["spec"]
        self.name: str = name or name_instance(self.spec)[0]
        self.hash: str = self.name[-8:]
        self.etc = os.path.join(ETC, self.name)
        self.folder = os.path.join(STATES, self.name)
        self.bridge: str = module.params["bridge"]
        self.changed = False
        self.problems: list[str] = []
        self.environment = {"OVS_RUNDIR": module.params["ovs_rundir"]} if module.params["ovs_rundir"] else {}

    # -- running things ------------------------------------------------------------------------------------------------

    def look(self, *argv: str) -> str:
        """The output of a command that changes nothing; "" when it fails."""
        status, out, _ = self.module.run_command(list(argv), environ_update=self.environment)
        return out if status == 0 else ""

    def change(self, *argv: str, data: str | None = None, hint: str = "") -> None:
        """Run a command that changes something; in check mode only say that it would. ``hint``: why it may fail."""
        self.changed = True
        if self.module.check_mode:
            return
        status, out, err = self.module.run_command(list(argv), data=data, environ_update=self.environment)
        if status != 0:
            text = (err or out).strip().splitlines()
            reason = " ".join([text[-1] if text else "failed", hint]).strip()
            self.fail(f"{' '.join(argv[:6])}: {reason}", status)

    def fail(self, message: str, rc: int = 1) -> None:
        self.module.fail_json(msg=message, rc=rc)

    # -- what is there -------------------------------------------------------------------------------------------------

    def instances(self) -> set[str]:
        """Names of instances that only this kind knows how to find."""
        return set()

    def exists(self) -> bool:
        return os.path.exists(f"/run/netns/{self.name}")

    def links(self) -> dict[str, dict[str, Any]]:
        """The interfaces inside, by name."""
        found = json.loads(self.look("ip", "-j", "-n", self.name, "addr") or "[]") if self.exists() else []
        return {one["ifname"]: one for one in found if one}

    def outer(self) -> list[str]:
        """Our interfaces on this side."""
        return sorted(n for _, n in socket.if_nameindex() if n.startswith((f"v{self.hash}", f"vmg{self.hash}")))

    def ports(self) -> dict[str, dict[str, Any]]:
        """Our ports of the bridge by the card's name: {port, tag, trunks, ofport}."""
        rows = self.table("Port", "name,tag,trunks,external_ids", f"external_ids:vmoc-sliver={self.name}")
        numbers = {one["name"]: one["ofport"] for one in self.table("Interface", "name,ofport")} if rows else {}
        return {
            dict(row["external_ids"][1]).get("vmoc-nic", ""): {
                "port": row["name"],
                "tag": row["tag"],
                "trunks": row["trunks"],
                "ofport": numbers.get(row["name"]),
            }
            for row in rows
        }

    def table(self, table: str, columns: str, *condition: str) -> list[dict[str, Any]]:
        verb = "find" if condition else "list"
        text = self.look("ovs-vsctl", "-t", "10", "-f", "json", f"--columns={columns}", verb, table, *condition)
        found = json.loads(text) if text else {"headings": [], "data": []}
        return [dict(zip(found["headings"], row, strict=True)) for row in found["data"]]

    def state(self) -> dict[str, Any]:
        return dict(read_state(self.name))

    def processes(self) -> list[int]:
        return [int(pid) for pid in self.look("ip", "netns", "pids", self.name).split()] if self.exists() else []

    def count_processes(self) -> int:
        """How many the tenant has."""
        return len(self.processes())

    # -- present -------------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        if self.spec["commands"] and not self.module.params["commands"]:
            self.fail(f"this host runs no commands of slivers: they would be root's; see {self.kind}_commands")
        if self.spec["components"]:
            self.fail("such a sliver has no components; use another resource type")
        if self.bridge not in self.look("ovs-vsctl", "-t", "10", "list-br").split():
            self.fail(f"there is no bridge {self.bridge} on this host; see {self.kind}_bridge")
        self.ensure_file(os.path.join(self.folder, "kind"), [self.kind])
        self.ensure_files()
        if not self.exists():
            self.make_namespace()
        if self.links().get("lo", {}).get("operstate") not in ("UNKNOWN", "UP"):
            self.change("ip", "-n", self.name, "link", "set", "lo", "up")
        self.ensure_cards()
        self.ensure_routes()
        self.ensure_published()
        self.run_commands()

    def make_namespace(self) -> None:
        self.change("ip", "netns", "add", self.name)

    def ensure_cards(self) -> None:
        ports, links = self.ports(), self.links()
        wanted = {nic["name"]: nic for nic in self.spec["interfaces"]}
        for name in ports.keys() - wanted.keys():
            self.change("ovs-vsctl", "-t", "10", "--if-exists", "del-port", ports[name]["port"])
            if ports[name]["port"] in self.outer():
                self.change("ip", "link", "del", ports[name]["port"])
        for name, nic in wanted.items():
            port = self.port_name(name)
            if name not in links and port in self.outer():
                self.change("ip", "link", "del", port)  # half of a pair: its making was interrupted
            if name not in links:
                self.make_pair(name, port, self.mac(nic))
                links = self.links()
            self.ensure_port(nic, port, ports.get(name))
            self.ensure_link(nic, links.get(name, {}))

    def make_pair(self, name: str, port: str, mac: str) -> None:
        peer = f"i{port[1:]}"
        self.change("ip", "link", "add", port, "type", "veth", "peer", "name", peer, "address", mac)
        if not self.module.check_mode:
            # Open vSwitch's userspace datapath does not fill in the checksums that a veth leaves to its other end.
            leave_checksums_to_nobody(peer)
        self.change("ip", "link", "set", peer, "netns", self.name, "name", name)
        self.change("ip", "link", "set", port, "up")

    def ensure_port(self, nic: dict[str, Any], port: str, there: dict[str, Any] | None) -> None:
        vlan = nic["vlan"]
        column, other = ("trunks", "tag") if nic["tagged"] else ("tag", "trunks")
        if there is not None and there[column] == vlan:
            return
        self.change(
            *("ovs-vsctl", "-t", "10", "--may-exist", "add-port", self.bridge, port),
            *("--", "clear", "port", port, other),
            *("--", "set", "port", port, f"{column}={vlan}", f"vlan_mode={'trunk' if nic['tagged'] else 'access'}"),
            *(f"external_ids:vmoc-sliver={self.name}", f"external_ids:vmoc-nic={nic['name']}"),
        )

    def ensure_link(self, nic: dict[str, Any], link: dict[str, Any]) -> None:
        name = nic["name"]
        if link and link.get("address") != self.mac(nic):
            self.change("ip", "-n", self.name, "link", "set", name, "address", self.mac(nic))
        if nic["mtu"] and link.get("mtu") != nic["mtu"]:
            self.change("ip", "-n", self.name, "link", "set", name, "mtu", str(nic["mtu"]))
        if "UP" not in link.get("flags", []):
            self.change("ip", "-n", self.name, "link", "set", name, "up")
        if nic["tagged"]:
            inner = f"{name}.{nic['vlan']}"
            if inner not in self.links():
                words = ("ip", "-n", self.name, "link", "add", "link", name, "name", inner)
                self.change(*words, "type", "vlan", "id", str(nic["vlan"]), hint="does the kernel have 8021q?")
                self.change("ip", "-n", self.name, "link", "set", inner, "up")
            name, link = inner, self.links().get(inner, {})
        have = addresses_of(link)
        want = {str(ipaddress.ip_interface(one)) for one in nic["addresses"]}
        for address in sorted(have - want):
            self.change("ip", "-n", self.name, "addr", "del", address, "dev", name)
        for address in sorted(want - have):
            extra = ("nodad",) if ":" in address else ()
            self.change("ip", "-n", self.name, "addr", "add", address, "dev", name, *extra)

    def ensure_routes(self) -> None:
        for flag in ("-4", "-6"):
            six = flag == "-6"
            text = self.look("ip", "-j", flag, "-n", self.name, "route") if self.exists() else ""
            have = {(one["dst"], one["gateway"]) for one in json.loads(text or "[]") if "gateway" in one}
            want = {(network(one["to"]), one["via"]) for one in self.spec["routes"] if (":" in one["via"]) == six}
            for to, via in sorted(have - want):
                self.change("ip", flag, "-n", self.name, "route", "del", to, "via", via)
            for to, via in sorted(want - have):
                self.change("ip", flag, "-n", self.name, "route", "add", to, "via", via)

    def mac(self, nic: dict[str, Any]) -> str:
        digest = hashlib.sha256(f"{self.name}/{nic['name']}".encode()).digest()
        return nic["mac"] or ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))

    def port_name(self, nic: str) -> str:
        return f"v{self.hash}{hashlib.sha256(nic.encode()).hexdigest()[:4]}"

    # -- files ---------------------------------------------------------------------------------------------------------

    def ensure_files(self) -> None:
        """``ip netns exec`` mounts what is here over /etc."""
        hostname = self.spec["hostname"] or self.spec["sliver_id"]
        hosts = ["127.0.0.1 localhost", "::1 localhost", f"127.0.1.1 {hostname}"]
        hosts += [f"{one['address']} {' '.join(one['names'])}" for one in self.spec["hosts"]]
        accounts = [f"{one.pw_name}:x:{one.pw_uid}:{one.pw_gid}::{one.pw_dir}:{one.pw_shell}" for one in system_users()]
        keys = {}
        for uid, user in enumerate(self.spec["users"], FIRST_UID):
            home = os.path.join(self.folder, "home", user["name"])
            accounts.append(f"{user['name']}:x:{uid}:{uid}::{home}:/bin/sh")
            keys[user["name"]] = user["keys"]
            if not os.path.isdir(home):
                self.changed = True
                if not self.module.check_mode:
                    os.makedirs(home, mode=0o755)
                    os.chown(home, uid, uid)
        for name, lines in {"hosts": hosts, "hostname": [hostname], "passwd": accounts}.items():
            self.ensure_file(os.path.join(self.etc, name), lines)
        for name, lines in keys.items():
            self.ensure_file(os.path.join(self.folder, "keys", name), lines)
        for place in ("home", "keys"):
            with suppress(FileNotFoundError):
                for name in set(os.listdir(os.path.join(self.folder, place))) - keys.keys():
                    self.change("rm", "-rf", "--", os.path.join(self.folder, place, name))

    def ensure_file(self, path: str, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        with suppress(OSError), open(path) as file:
            if file.read() == text:
                return
        self.changed = True
        if self.module.check_mode:
            return
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(f"{path}.new", "w") as file:
            file.write(text)
        os.replace(f"{path}.new", path)

    def save(self, **more: Any) -> None:
        self.remember({**self.state(), **more})

    def remember(self, state: dict[str, Any]) -> None:
        self.ensure_file(os.path.join(self.folder, STATE), [json.dumps(state)])

    # -- published ports -----------------------------------------------------------------------------------------------

    def ensure_published(self) -> None:
        if not self.spec["published_ports"]:
            self.unpublish()
            return
        index, ports = self.reserve_ports()
        here, there = (MANAGEMENT[2 * index + end] for end in (0, 1))
        outer = f"vmg{self.hash}"
        if "mgmt0" not in self.links():
            if outer in self.outer():
                self.change("ip", "link", "del", outer)
            self.change("ip", "link", "add", outer, "type", "veth", "peer", "name", f"vmi{self.hash}")
            self.change("ip", "link", "set", f"vmi{self.hash}", "netns", self.name, "name", "mgmt0")
            self.change("ip", "addr", "add", f"{here}/31", "dev", outer)
            self.change("ip", "link", "set", outer, "up")
            self.change("ip", "-n", self.name, "addr", "add", f"{there}/31", "dev", "mgmt0")
            self.change("ip", "-n", self.name, "link", "set", "mgmt0", "up")
        self.ensure_rules(outer, str(there), ports)

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

    def ensure_rules(self, outer: str, there: str, ports: dict[str, int]) -> None:
        table = f"vmoc_{self.hash}"
        rules = published_rules(table, outer, there, {int(port): ports[port] for port in ports})
        digest = hashlib.sha256(rules.encode()).hexdigest()
        self.write_sysctl(f"net/ipv4/conf/{outer}/route_localnet", "1")
        if self.state().get("rules") != digest or not self.look("nft", "list", "table", "ip", table):
            self.change("nft", "-f", "-", data=rules)
            self.save(rules=digest)

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

    def unpublish(self) -> None:
        if "rules" not in self.state() and "management" not in self.state():
            return
        if self.look("nft", "list", "table", "ip", f"vmoc_{self.hash}"):
            self.change("nft", "delete", "table", "ip", f"vmoc_{self.hash}")
        if f"vmg{self.hash}" in self.outer():
            self.change("ip", "link", "del", f"vmg{self.hash}")
        kept = {key: one for key, one in self.state().items() if key not in ("rules", "management", "ports")}
        self.remember(kept)

    def write_sysctl(self, name: str, value: str) -> None:
        if not self.module.check_mode:
            with suppress(OSError), open(f"/proc/sys/{name}", "w") as file:
                file.write(value)

    # -- life ----------------------------------------------------------------------------------------------------------

    def run_commands(self) -> None:
        if self.state().get("booted") or self.module.check_mode:
            return
        for number, command in enumerate(self.spec["commands"], 1):
            script = os.path.join(self.folder, "commands", str(number))
            self.ensure_file(script, [command])
            words = ["ip", "netns", "exec", self.name, "/bin/sh", script]
            status, out, err = self.module.run_command(words, cwd="/", environ_update={"HOME": "/"})
            if status != 0:
                last = (err or out).strip()[-COMMAND_LIMIT:]
                self.fail(f"command {number} ended with {status}: {last}", status)
        self.save(booted=True)

    def halt(self) -> None:
        """No process, no link: as a machine that is off."""
        self.kill()
        for port in self.outer():
            if not port.startswith("vmg"):
                self.change("ip", "link", "set", port, "down")
        self.save(stopped=True)

    def boot(self) -> None:
        for port in self.outer():
            self.change("ip", "link", "set", port, "up")
        self.save(stopped=False)

    def kill(self) -> None:
        if self.module.check_mode:
            return
        deadline, number = time.monotonic() + PATIENCE, signal.SIGTERM
        while pids := self.processes():
            self.changed = True
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if time.monotonic() > deadline:
                number = signal.SIGKILL
            if time.monotonic() > deadline + PATIENCE:
                return
            time.sleep(0.02)

    # -- absent --------------------------------------------------------------------------------------------------------

    def remove(self) -> list[str]:
        """Remove all of it, go on after failures, and say what is left."""
        self.kill()
        rows = self.table("Port", "name", f"external_ids:vmoc-sliver={self.name}")
        steps: list[tuple[str, ...]] = [
            ("ovs-vsctl", "-t", "10", "--if-exists", "del-port", row["name"]) for row in rows
        ]
        if self.exists():
            steps.append(("ip", "netns", "del", self.name))
        if self.look("nft", "list", "table", "ip", f"vmoc_{self.hash}"):
            steps.append(("nft", "delete", "table", "ip", f"vmoc_{self.hash}"))
        for step in steps:
            self.attempt(*step)
        deadline = time.monotonic() + PATIENCE  # a namespace takes its cards along, a moment later
        while self.outer() + self.inner() and steps and time.monotonic() < deadline and not self.module.check_mode:
            time.sleep(0.01)
        for link in self.outer() + self.inner():
            self.attempt("ip", "link", "del", link)
        for folder in (self.etc, self.folder):
            if os.path.isdir(folder):
                self.attempt("rm", "-rf", "--", folder)
        if self.module.check_mode:
            return []
        left = [f"port:{row['name']}" for row in self.table("Port", "name", f"external_ids:vmoc-sliver={self.name}")]
        left += [f"link:{link}" for link in self.outer() + self.inner()]
        left += [f"netns:{self.name}"] * self.exists() + [f"process:{pid}" for pid in self.processes()]
        left += [f"directory:{folder}" for folder in (self.etc, self.folder) if os.path.isdir(folder)]
        left += [f"nftables:vmoc_{self.hash}"] * bool(self.look("nft", "list", "table", "ip", f"vmoc_{self.hash}"))
        return left

    def inner(self) -> list[str]:
        """Inner ends that never got inside."""
        return sorted(n for _, n in socket.if_nameindex() if n.startswith((f"i{self.hash}", f"vmi{self.hash}")))

    def attempt(self, *argv: str) -> None:
        self.changed = True
        if not self.module.check_mode:
            status, out, err = self.module.run_command(list(argv), environ_update=self.environment)
            if status != 0:
                self.problems.append(f"{' '.join(argv[:4])}: {(err or out).strip()[:200]}")

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """The answer of every verb but delete: what is there, and how it differs from the specification."""
        if not self.exists():
            return {"state": "absent", "problems": ["there is no such namespace"]}
        links, ports, state = self.links(), self.ports(), self.state()
        dpid, uplink = self.attachment()
        cards = []
        for nic in self.spec["interfaces"]:
            name = nic["name"]
            inner = f"{name}.{nic['vlan']}" if nic["tagged"] else name
            link, port = links.get(name), ports.get(name)
            if link is None or port is None:
                self.problems.append(f"{name} is missing")
                continue
            have, want = addresses_of(links.get(inner, {})), {str(ipaddress.ip_interface(a)) for a in nic["addresses"]}
            wrong = [
                text
                for text, bad in (
                    (f"MAC address {link['address']}", link["address"] != self.mac(nic)),
                    (f"VLAN {port['tag']}", (port["trunks"] if nic["tagged"] else port["tag"]) != nic["vlan"]),
                    (f"addresses {', '.join(sorted(have))}", not want <= have),
                )
                if bad
            ]
            if wrong:
                self.problems.append(f"{name} has {', '.join(wrong)}")
            number = uplink or (port["ofport"] if isinstance(port["ofport"], int) else 0)
            cards.append(
                {
                    "name": name,
                    "mac": link["address"],
                    "vlan": nic["vlan"],
                    "dpid": dpid,
                    "port": max(0, number),
                    "addresses": sorted(have),
                }
            )
        published = state.get("ports", {})
        ready = "degraded" if self.problems else "stopped" if state.get("stopped") else "ready"
        return {
            "state": ready,
            "instance": self.name,
            "interfaces": cards,
            "management_addresses": [str(MANAGEMENT[2 * state["management"] + 1])] if "management" in state else [],
            "logins": [{"host": "", "port": published["22"]}] if "22" in published else [],
            "facts": {"published_ports": published} if published else {},
            "problems": self.problems,
        }

    def attachment(self) -> tuple[str, int]:
        """The switch the cards are at, for VMOC: as the operator says, at the uplink's far end, or our own bridge."""
        if self.module.params["dpid"]:
            return self.module.params["dpid"], self.module.params["port"]
        uplink = self.module.params["uplink"]
        bridge, number = self.bridge, 0
        if uplink:
            peer = self.look("ovs-vsctl", "-t", "10", "get", "interface", uplink, "options:peer").strip().strip('"')
            if peer:
                bridge = self.look("ovs-vsctl", "-t", "10", "iface-to-br", peer).strip()
                number = int(self.look("ovs-vsctl", "-t", "10", "get", "interface", peer, "ofport").strip() or 0)
        dpid = self.look("ovs-vsctl", "-t", "10", "get", "bridge", bridge, "datapath_id").strip().strip('"')
        return (f"0x{dpid}" if dpid else ""), number

    # -- keys ----------------------------------------------------------------------------------------------------------

    def change_keys(self, parameters: dict[str, Any], add: bool) -> None:
        name, keys = self.checked_keys(parameters)
        path = os.path.join(self.folder, "keys", name)
        with open(path) as opened:
            lines = opened.read().splitlines()
        kept = [line for line in lines if line not in keys] if not add else lines + [k for k in keys if k not in lines]
        self.ensure_file(path, kept)

    def checked_keys(self, parameters: dict[str, Any]) -> tuple[str, list[str]]:
        """The user and the keys of ``add_keys`` and ``remove_keys``."""
        name, keys = str(parameters.get("user", "")), parameters.get("keys", [])
        if name not in {user["name"] for user in self.spec["users"]}:
            self.fail("there is no such user; name one of the specification")
        if not isinstance(keys, list) or not all(isinstance(one, str) and one.isprintable() and one for one in keys):
            self.fail("keys must be a list of lines")
        return name, keys


def addresses_of(link: dict[str, Any]) -> set[str]:
    """Its addresses, link-local IPv6 excepted: the kernel makes those."""
    return {
        f"{one['local']}/{one['prefixlen']}"
        for one in link.get("addr_info", [])
        if not (one["family"] == "inet6" and one.get("scope") == "link")
    }


def normal(addresses: list[str]) -> list[str]:
    """As programs write them."""
    return [str(ipaddress.ip_interface(one)) for one in addresses]


def network(text: str) -> str:
    """As ``ip route`` writes it: without the length of a single address."""
    if text == "default":
        return text
    parsed = ipaddress.ip_network(text)
    return str(parsed.network_address) if parsed.prefixlen == parsed.max_prefixlen else str(parsed)


def system_users() -> list[pwd.struct_passwd]:
    """The host's own accounts, without its people."""
    return [one for one in pwd.getpwall() if one.pw_uid < 1000 or one.pw_name == "nobody"]
