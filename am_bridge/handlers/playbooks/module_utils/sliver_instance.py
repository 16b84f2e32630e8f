"""A sliver on its host, whatever it is made of: its names, its files, its ports of Open vSwitch, and running things.

Everything of it carries the instance's name or the hash in it, so that a
deletion finds it whatever the run that made it got to. The first thing on the
host, and the last, is its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_name import MARK, STATE, STATES, name_instance, read_mark, read_state


class Instance:
    """The names, and what is found by them."""

    kind = ""
    """What the host's variables begin with."""

    def __init__(self, module: AnsibleModule, name: str = "") -> None:
        """With ``name`` it is whatever has that name, to be removed: there is no specification."""
        self.module = module
        self.spec: dict[str, Any] = module.params["spec"]
        self.name: str = name or name_instance(self.spec)
        self.hash: str = self.name[-8:]
        self.rules = f"vmoc_{self.hash}"
        self.management = f"vmg{self.hash}"
        self.folder = os.path.join(STATES, self.name)
        self.bridge: str = module.params["bridge"]
        self.hostname: str = self.spec.get("hostname") or self.spec.get("sliver_id", "")
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

    def attempt(self, *argv: str) -> None:
        """As ``change``, but a failure is a problem and no more."""
        self.changed = True
        if not self.module.check_mode:
            status, out, err = self.module.run_command(list(argv), environ_update=self.environment)
            if status != 0:
                self.problems.append(f"{' '.join(argv[:4])}: {(err or out).strip()[:200]}")

    def fail(self, message: str, rc: int = 1) -> None:
        self.module.fail_json(msg=message, rc=rc)

    # -- files ---------------------------------------------------------------------------------------------------------

    def installation(self) -> str:
        """The VMOC that made it; "" when that is not written down, or it is not there."""
        return str(read_mark(self.name)[1])

    def ensure_mark(self) -> None:
        self.ensure_file(os.path.join(self.folder, MARK), [self.kind, self.module.params["installation"]])

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

    def state(self) -> dict[str, Any]:
        return dict(read_state(self.name))

    def save(self, **more: Any) -> None:
        self.remember({**self.state(), **more})

    def remember(self, state: dict[str, Any]) -> None:
        self.ensure_file(os.path.join(self.folder, STATE), [json.dumps(state)])

    # -- links and ports -----------------------------------------------------------------------------------------------

    def outer(self) -> list[str]:
        """Our interfaces on this side."""
        return sorted(n for _, n in socket.if_nameindex() if n.startswith((f"v{self.hash}", self.management)))

    def inner(self) -> list[str]:
        """Inner ends that never got inside."""
        return sorted(n for _, n in socket.if_nameindex() if n.startswith((f"i{self.hash}", f"vmi{self.hash}")))

    def has_rules(self) -> bool:
        return bool(self.look("nft", "list", "table", "ip", self.rules))

    def table(self, table: str, columns: str, *condition: str) -> list[dict[str, Any]]:
        """Rows of Open vSwitch's database."""
        verb = "find" if condition else "list"
        text = self.look("ovs-vsctl", "-t", "10", "-f", "json", f"--columns={columns}", verb, table, *condition)
        found = json.loads(text) if text else {"headings": [], "data": []}
        return [dict(zip(found["headings"], row, strict=True)) for row in found["data"]]

    def switch_ports(self) -> list[str]:
        """Our ports of any bridge."""
        names = [row["name"] for row in self.table("Port", "name")]
        return sorted(name for name in names if name.startswith(f"v{self.hash}"))

    def port_name(self, nic: str) -> str:
        return f"v{self.hash}{hashlib.sha256(nic.encode()).hexdigest()[:4]}"

    def mac(self, nic: dict[str, Any]) -> str:
        digest = hashlib.sha256(f"{self.name}/{nic['name']}".encode()).digest()
        return nic["mac"] or ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))

    def ensure_port(self, nic: dict[str, Any], port: str, there: dict[str, Any] | None) -> None:
        """Of the bridge; ``there``: its ``tag`` and ``trunks`` if it is one."""
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
