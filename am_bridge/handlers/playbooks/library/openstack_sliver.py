"""An Ansible module: one sliver as a server of an OpenStack cloud, by its command line client on a head node.

Server, ports and floating address carry the instance's name, or begin with
it; they are looked for by that. Who we are to the cloud stands in the head
node's clouds.yaml and nowhere else.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_name import name_instance
from ansible.module_utils.vm_guest import find_verdict, read_verdict
from ansible.module_utils.vm_seed import user_data

DOCUMENTATION = """
module: openstack_sliver
short_description: A sliver as a server of an OpenStack cloud
description: Makes, changes, removes and looks at a server with ports on the networks of VLANs.
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "verb": {"type": "str", "required": True},
    "spec": {"type": "dict", "required": True},
    "cloud": {"type": "str", "required": True},
    "network_prefix": {"type": "str", "default": "vlan"},
    "external_network": {"type": "str", "default": ""},
    "zone": {"type": "str", "default": "nova"},
    "boot": {"type": "str", "default": "marker", "choices": ["marker", "none"]},
    "boot_timeout": {"type": "float", "default": 600.0},
    "pause": {"type": "float", "default": 5.0},
}
STATES = {"ACTIVE": "ready", "SHUTOFF": "stopped", "SUSPENDED": "stopped", "PAUSED": "stopped"}
DONE = {"start": "ACTIVE", "stop": "SHUTOFF", "reboot": "ACTIVE"}


class Server:
    """The server, as it should be and as it is."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.spec: dict[str, Any] = module.params["spec"]
        self.name = name_instance(self.spec)
        self.hostname: str = self.spec["hostname"] or self.spec["sliver_id"]
        self.changed = False
        self.problems: list[str] = []

    # -- the client ----------------------------------------------------------------------------------------------------

    def call(self, *argv: str) -> tuple[int, str, str]:
        words = ["openstack", "--os-cloud", self.module.params["cloud"], *argv]
        status, out, err = self.module.run_command(words)
        return status, out, err

    def ask(self, *argv: str) -> Any:
        """What a command says, as JSON; a failure is ours."""
        status, out, err = self.call(*argv, "-f", "json")
        if status != 0:
            self.fail(f"openstack {' '.join(argv[:3])}: {last_line(err or out)}", status)
        return json.loads(out or "null")

    def change(self, *argv: str) -> None:
        """A command that changes something; in check mode it only would."""
        self.changed = True
        if not self.module.check_mode:
            status, out, err = self.call(*argv)
            if status != 0:
                self.fail(f"openstack {' '.join(argv[:3])}: {last_line(err or out)}", status)

    def fail(self, message: str, rc: int = 1) -> None:
        self.module.fail_json(msg=message, rc=rc)

    # -- what is there -------------------------------------------------------------------------------------------------

    def servers(self) -> list[str]:
        """The ids of those with our name: two, when a create was interrupted at the wrong moment."""
        found = self.ask("server", "list", "--name", f"^{self.name}$")
        return [str(one["ID"]) for one in found if one["Name"] == self.name]

    def show(self, server: str) -> dict[str, Any]:
        found = self.ask("server", "show", server)
        return dict(found)

    def ports(self) -> dict[str, dict[str, Any]]:
        """Ours, by the card's name."""
        found = self.ask("port", "list", "--long")
        start = f"{self.name}-"
        return {one["Name"].removeprefix(start): one for one in found if str(one["Name"]).startswith(start)}

    def floating(self) -> list[dict[str, Any]]:
        """The addresses that are ours."""
        found = self.ask("floating", "ip", "list", "--long")
        return [one for one in found if one.get("Description") == self.name]

    # -- present -------------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        if self.spec["components"]:
            self.fail("such a sliver has no components; use another resource type")
        there = self.servers()
        ports = self.ensure_ports()
        if not there:
            self.make(ports)
            there = self.servers() if not self.module.check_mode else []
        if not there:
            return
        server = there[0]
        for extra in there[1:]:
            self.change("server", "delete", "--wait", extra)
        self.ensure_plugged(server, ports)
        self.wait_for_boot(server)
        self.ensure_floating(server, ports)

    def ensure_ports(self) -> list[str]:
        """A port for each card; their names in order."""
        have, names = self.ports(), []
        for nic in self.spec["interfaces"]:
            if nic["tagged"]:
                self.fail(f"{nic['name']} cannot be tagged: ports of OpenStack are not")
            name = f"{self.name}-{nic['name']}"
            names.append(name)
            if nic["name"] in have:
                continue
            network = nic["network"] or f"{self.module.params['network_prefix']}-{nic['vlan']}"
            words = ["port", "create", "--network", network]
            words += ["--mac-address", nic["mac"]] if nic["mac"] else []
            for address in nic["addresses"]:
                words += ["--fixed-ip", f"ip-address={address.split('/')[0]}"]
            self.change(*words, name)
        return names

    def make(self, ports: list[str]) -> None:
        if not self.spec["image"]:
            self.fail("a server needs an image; give one")
        token = secrets.token_hex(8)
        words = ["server", "create", "--image", self.spec["image"], "--flavor", self.flavour(), "--wait"]
        words += ["--config-drive", "True", "--property", f"vmoc-token={token}"]
        words += ["--property", f"vmoc-sliver={self.spec['slice_id']}/{self.spec['sliver_id']}"]
        host = str(self.spec["properties"].get("compute_node", ""))
        words += ["--availability-zone", f"{self.module.params['zone']}:{host}"] if host else []
        for port in ports:
            words += ["--port", port]
        if not ports:
            words += ["--network", "none"]
        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(place, "user-data")
            with open(path, "w") as file:
                file.write(user_data(self.spec, self.hostname, token, []))
            self.change(*words, "--user-data", path, self.name)

    def flavour(self) -> str:
        """The one asked for, or the smallest that is enough."""
        asked = str(self.spec["properties"].get("flavor", ""))
        if asked:
            return asked
        want = (max(1, self.spec["vcpus"]), self.spec["memory_mib"], self.spec["disk_gib"])
        found = [(int(one["VCPUs"]), int(one["RAM"]), int(one["Disk"]), one["Name"]) for one in self.flavours()]
        enough = sorted(one for one in found if all(has >= need for has, need in zip(one, want, strict=False)))
        if not enough:
            self.fail(f"no flavour has {want[0]} processors, {want[1]} MiB and {want[2]} GiB; ask for less")
        return str(enough[0][3])

    def flavours(self) -> list[dict[str, Any]]:
        found = self.ask("flavor", "list")
        return list(found)

    def ensure_plugged(self, server: str, ports: list[str]) -> None:
        """Cards of a server that is there already: those that came and those that go."""
        have = self.ports()
        for name, port in have.items():
            if f"{self.name}-{name}" not in ports:
                if self.device(port) == server:
                    self.change("server", "remove", "port", server, port["ID"])
                self.change("port", "delete", port["ID"])
            elif self.device(port) != server:
                self.change("server", "add", "port", server, port["ID"])

    def device(self, port: dict[str, Any]) -> str:
        return str(self.ask("port", "show", port["ID"]).get("device_id") or "")

    def ensure_floating(self, server: str, ports: list[str]) -> None:
        """One address outside, when ports are published; which may be called is up to the security group."""
        have = self.floating()
        if not self.spec["published_ports"]:
            for one in have:
                self.change("floating", "ip", "delete", one["ID"])
            return
        if not self.module.params["external_network"] or not ports:
            self.fail("ports are published by a floating address; that needs openstack_external_network, and a card")
        if not have:
            self.change(
                *("floating", "ip", "create", "--description", self.name),
                *("--port", ports[0], self.module.params["external_network"]),
            )

    def wait_for_boot(self, server: str) -> None:
        """Until our script's line is on the console, or cloud-init has failed, or the time is up."""
        properties = read_properties(self.show(server).get("properties"))
        token = properties.get("vmoc-token", "")
        if self.module.params["boot"] == "none" or properties.get("vmoc-booted") or self.module.check_mode:
            return
        limit = self.spec["boot_timeout"] or self.module.params["boot_timeout"]
        deadline = time.monotonic() + limit
        while True:
            status, out, _ = self.call("console", "log", "show", server)
            if status == 0 and (verdict := find_verdict(out, token)):
                reason, code = read_verdict(verdict)
                if reason:
                    self.fail(reason, code)
                self.change("server", "set", "--property", "vmoc-booted=yes", server)
                return
            if self.show(server).get("status") == "ERROR":
                self.fail(f"the cloud could not start it: {fault(self.show(server))}")
            if time.monotonic() > deadline:
                self.fail(f"the server did not say within {limit:g} s that it is up; see its console")
            time.sleep(self.module.params["pause"])

    def act(self, server: str, verb: str) -> None:
        before = self.show(server).get("status")
        if verb != "reboot" and before == DONE[verb]:
            return
        self.change("server", verb, *(["--wait"] if verb == "reboot" else []), server)
        deadline = time.monotonic() + self.module.params["boot_timeout"]
        while not self.module.check_mode and self.show(server).get("status") != DONE[verb]:
            if time.monotonic() > deadline:
                self.fail(f"the server is still {self.show(server).get('status')}")
            time.sleep(self.module.params["pause"])

    # -- absent --------------------------------------------------------------------------------------------------------

    def remove(self) -> list[str]:
        """All of it, on and on after failures; what is left."""
        steps = [("server", "delete", "--wait", server) for server in self.servers()]
        steps += [("floating", "ip", "delete", one["ID"]) for one in self.floating()]
        for step in steps:
            self.attempt(*step)
        for port in self.ports().values():  # a server takes along what it made itself, not what it was given
            self.attempt("port", "delete", port["ID"])
        if self.module.check_mode:
            return []
        left = [f"server:{server}" for server in self.servers()]
        left += [f"port:{port['Name']}" for port in self.ports().values()]
        return left + [f"floating-ip:{one['Floating IP Address']}" for one in self.floating()]

    def attempt(self, *argv: str) -> None:
        self.changed = True
        if not self.module.check_mode:
            status, out, err = self.call(*argv)
            if status != 0:
                self.problems.append(f"openstack {' '.join(argv[:3])}: {last_line(err or out)}")

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        there = self.servers()
        if not there:
            return {"state": "absent", "problems": ["there is no such server"]}
        shown, ports = self.show(there[0]), self.ports()
        state = STATES.get(str(shown.get("status")), "degraded")
        if state == "degraded":
            self.problems.append(f"the cloud says {shown.get('status')}: {fault(shown)}")
        if len(there) > 1:
            self.problems.append(f"there are {len(there)} of it; modify or delete it")
        cards = []
        for nic in self.spec["interfaces"]:
            port = ports.get(nic["name"])
            if port is None:
                self.problems.append(f"{nic['name']} is missing")
                continue
            addresses = sorted(str(one["ip_address"]) for one in port.get("Fixed IP Addresses") or ())
            lengths = {one.split("/")[0]: one for one in nic["addresses"]}
            cards.append(
                {
                    "name": nic["name"],
                    "mac": str(port["MAC Address"]).lower(),
                    "vlan": nic["vlan"],
                    "addresses": [lengths.get(one, one) for one in addresses],
                }
            )
        outside = [str(one["Floating IP Address"]) for one in self.floating()]
        return {
            "state": "degraded" if self.problems else state,
            "instance": self.name,
            "interfaces": cards,
            "management_addresses": outside,
            "logins": [
                {"host": outside[0], "port": one["port"]}
                for one in self.spec["published_ports"]
                if one["port"] == 22 and outside
            ],
            "facts": {"server": there[0], "compute_node": shown.get("OS-EXT-SRV-ATTR:host") or ""},
            "problems": self.problems,
        }


def fault(shown: dict[str, Any]) -> str:
    """Why a server failed, if the cloud says."""
    why = shown.get("fault")
    return str(why.get("message", "")) if isinstance(why, dict) else "no reason given"


def read_properties(value: object) -> dict[str, str]:
    """A server's properties; older clients print them as ``a='b', c='d'``."""
    if isinstance(value, dict):
        return {str(key): str(one) for key, one in value.items()}
    return dict(re.findall(r"([\w-]+)='([^']*)'", str(value or "")))


def last_line(text: str) -> str:
    """The last that a command said, shortened."""
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "failed"


def main() -> None:
    """Read the arguments, do what the verb says, answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    server, verb = Server(module), module.params["verb"]
    if verb in ("create", "modify"):
        server.ensure()
    elif verb == "delete":
        left = server.remove()
        finish(server, {"state": "absent", "leftovers": left, "problems": server.problems})
    elif verb in DONE:
        there = server.servers()
        if not there:
            server.fail("there is no such server; create the sliver again")
        server.act(there[0], verb)
    elif verb != "probe":
        server.fail(f"such a sliver cannot {verb}")
    finish(server, server.describe())


def finish(server: Server, result: dict[str, Any]) -> None:
    """Answer; ``ansible_stats`` saves the run a second task."""
    result = {**result, "changed": server.changed}
    stats = {"data": {"vmoc_result": result}, "per_host": False, "aggregate": False}
    server.module.exit_json(changed=server.changed, vmoc_result=result, ansible_stats=stats)


if __name__ == "__main__":
    main()
