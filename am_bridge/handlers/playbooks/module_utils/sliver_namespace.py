"""A sliver's network namespace, with its cards on Open vSwitch: for ``netns_sliver`` and ``container_sliver``."""

from __future__ import annotations

import array
import fcntl
import glob
import ipaddress
import json
import os
import pwd
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from ansible.module_utils.sliver_life import ETC, PATIENCE, Sliver, change_lines, normal
from ansible.module_utils.sliver_name import hosts_lines
from ansible.module_utils.sliver_published import MANAGEMENT

COMMAND_LIMIT = 4096
FIRST_UID = 60000
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


class NamespaceSliver(Sliver):  # type: ignore[misc]
    """The namespace, as it should be and as it is."""

    noun = "namespace"

    @property
    def etc(self) -> str:
        """``ip netns exec`` mounts what is here over /etc."""
        return os.path.join(ETC, str(self.name))

    # -- what is there -------------------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        return f"/run/netns/{self.name}"

    def exists(self) -> bool:
        """``ip netns add`` makes a file, and then mounts the namespace on it."""
        return os.path.ismount(self.place)

    def links(self) -> dict[str, dict[str, Any]]:
        """The interfaces inside, by name."""
        found = json.loads(self.look("ip", "-j", "-n", self.name, "addr") or "[]") if self.exists() else []
        return {one["ifname"]: one for one in found if one}

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

    def processes(self) -> list[int]:
        return [int(pid) for pid in self.look("ip", "netns", "pids", self.name).split()] if self.exists() else []

    def count_processes(self) -> int:
        """How many the tenant has."""
        return len(self.processes())

    # -- present -------------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        self.check_host()
        if self.spec["components"]:
            self.fail("such a sliver has no components; use another resource type")
        self.ensure_mark()
        self.ensure_files()
        if not self.exists():
            if os.path.exists(self.place):
                self.change("ip", "netns", "del", self.name)
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
        want = set(normal(nic["addresses"]))
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

    # -- files ---------------------------------------------------------------------------------------------------------

    def ensure_files(self) -> None:
        """``ip netns exec`` mounts what is here over /etc."""
        hosts = hosts_lines(self.spec, self.hostname)
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
        for name, lines in {"hosts": hosts, "hostname": [self.hostname], "passwd": accounts}.items():
            self.ensure_file(os.path.join(self.etc, name), lines)
        for name, lines in keys.items():
            self.ensure_file(os.path.join(self.folder, "keys", name), lines)
        for place in ("home", "keys"):
            with suppress(FileNotFoundError):
                for name in set(os.listdir(os.path.join(self.folder, place))) - keys.keys():
                    self.change("rm", "-rf", "--", os.path.join(self.folder, place, name))

    # -- published ports -----------------------------------------------------------------------------------------------

    def ensure_published(self) -> None:
        if not self.spec["published_ports"]:
            self.unpublish()
            return
        index, ports = self.reserve_ports()
        here, there = (MANAGEMENT[2 * index + end] for end in (0, 1))
        outer = self.management
        if "mgmt0" not in self.links():
            if outer in self.outer():
                self.change("ip", "link", "del", outer)
            self.change("ip", "link", "add", outer, "type", "veth", "peer", "name", f"vmi{self.hash}")
            self.change("ip", "link", "set", f"vmi{self.hash}", "netns", self.name, "name", "mgmt0")
            self.change("ip", "addr", "add", f"{here}/31", "dev", outer)
            self.change("ip", "link", "set", outer, "up")
            self.change("ip", "-n", self.name, "addr", "add", f"{there}/31", "dev", "mgmt0")
            self.change("ip", "-n", self.name, "link", "set", "mgmt0", "up")
        self.ensure_rules(str(there), ports)

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
            if port != self.management:
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

    def tear_down(self) -> None:
        self.kill()
        if os.path.exists(self.place):
            self.attempt("ip", "netns", "del", self.name)

    def remains(self) -> list[str]:
        return [f"netns:{self.name}"] * os.path.exists(self.place) + [f"process:{pid}" for pid in self.processes()]

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        if not self.exists():
            return {"state": "absent", "problems": ["there is no such namespace"]}
        links, ports = self.links(), self.ports()
        cards = []
        for nic in self.spec["interfaces"]:
            name = nic["name"]
            link, port = links.get(name), ports.get(name)
            if link is None or port is None:
                self.problems.append(f"{name} is missing")
                continue
            inside = links.get(f"{name}.{nic['vlan']}", {}) if nic["tagged"] else link
            vlan = port["trunks"] if nic["tagged"] else port["tag"]
            cards.append(self.describe_card(nic, link["address"], vlan, port["ofport"], addresses_of(inside)))
        return dict(self.describe_as(cards))

    def perform(self, verb: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if verb == "ping":
            return {"ping": self.ping(parameters)}
        if verb == "cpuinfo":
            return {"cpuinfo": {"cpus": sorted(os.sched_getaffinity(0)), "processes": self.count_processes()}}
        if verb == "numainfo":
            nodes = glob.glob("/sys/devices/system/node/node[0-9]*")
            return {"numainfo": {"nodes": sorted(int(node.rpartition("node")[2]) for node in nodes)}}
        return {}

    def run_inside(self, *argv: str) -> tuple[int, str, str]:
        status, out, err = self.module.run_command(["ip", "netns", "exec", self.name, *argv])
        return status, out, err

    # -- keys ----------------------------------------------------------------------------------------------------------

    def change_keys(self, parameters: dict[str, Any], add: bool) -> None:
        name, keys = self.checked_keys(parameters)
        path = os.path.join(self.folder, "keys", name)
        with open(path) as opened:
            lines = opened.read().splitlines()
        self.ensure_file(path, change_lines(lines, keys, add))


def addresses_of(link: dict[str, Any]) -> set[str]:
    """Its addresses, link-local IPv6 excepted: the kernel makes those."""
    return {
        f"{one['local']}/{one['prefixlen']}"
        for one in link.get("addr_info", [])
        if not (one["family"] == "inet6" and one.get("scope") == "link")
    }


def network(text: str) -> str:
    """As ``ip route`` writes it: without the length of a single address."""
    if text == "default":
        return text
    parsed = ipaddress.ip_network(text)
    return str(parsed.network_address) if parsed.prefixlen == parsed.max_prefixlen else str(parsed)


def system_users() -> list[pwd.struct_passwd]:
    """The host's own accounts, without its people."""
    return [one for one in pwd.getpwall() if one.pw_uid < 1000 or one.pw_name == "nobody"]


def leave_checksums_to_nobody(interface: str) -> None:
    """What ``ethtool -K INTERFACE tx off`` does."""
    value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
