"""An Ansible module: one sliver is a whole host, which is handed to its users and taken back.

A host is one sliver's at a time. What we put on it is written down before it is
done, in ``/var/lib/vmoc/host.json``, and taken away by that list: accounts we
made, addresses, sub-interfaces and routes we added, our part of the hosts file.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import pwd
import re
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_name import name_instance

DOCUMENTATION = """
module: host_sliver
short_description: A sliver as a whole host
description: Gives a host users, keys, addresses, routes and a hosts file, runs commands, and takes it all back.
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "verb": {"type": "str", "required": True},
    "spec": {"type": "dict", "required": True},
    "parameters": {"type": "dict", "default": {}},
    "commands": {"type": "bool", "default": False},
    "sudo": {"type": "bool", "default": False},
    "protected": {"type": "list", "elements": "str", "default": []},
}
STATE = "/var/lib/vmoc/host.json"
COMMANDS = "/var/lib/vmoc/commands"
HOSTS = "/etc/hosts"
BEGIN, END = "# vmoc: begin", "# vmoc: end"
LAST = 4096
"""Characters kept of what a failing command printed."""


class Host:
    """The host, as it should be and as it is."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.spec: dict[str, Any] = module.params["spec"]
        self.name = name_instance(self.spec)
        self.changed = False
        self.problems: list[str] = []
        self.state = read_state()

    @property
    def mine(self) -> bool:
        """Whether the host is this sliver's."""
        return bool(self.state.get("instance") == self.name)

    def fail(self, message: str, rc: int = 1) -> None:
        self.module.fail_json(msg=message, rc=rc)

    def look(self, *argv: str) -> str:
        status, out, _ = self.module.run_command(list(argv))
        return out if status == 0 else ""

    def change(self, *argv: str, attempt: bool = False) -> None:
        """Run what changes something; ``attempt``: a failure is a problem and no more."""
        self.changed = True
        if self.module.check_mode:
            return
        status, out, err = self.module.run_command(list(argv))
        if status != 0:
            text = (err or out).strip().splitlines()
            message = f"{' '.join(argv[:5])}: {text[-1][:300] if text else 'failed'}"
            if not attempt:
                self.fail(message, status)
            self.problems.append(message)

    def remember(self, **more: Any) -> None:
        """Write down what is about to be done."""
        self.state = {**self.state, "instance": self.name, **more}
        if not self.module.check_mode:
            write(STATE, json.dumps(self.state), 0o600)

    # -- present -------------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        if self.state and not self.mine:
            self.fail(f"this host is {self.state.get('instance')}'s")
        if self.spec["commands"] and not self.module.params["commands"]:
            self.fail("this host runs no commands of slivers: they would be root's; see host_commands")
        if self.spec["components"] or self.spec["published_ports"]:
            self.fail("such a sliver has no components and publishes no ports; it is the host")
        links = self.links()
        for nic in self.spec["interfaces"]:
            if self.link(nic, links) in self.module.params["protected"]:
                self.fail(f"{nic['name']} is a card that the operator keeps; see host_protected")
        if not self.mine:
            self.changed = True
            self.remember(users=[], added=[], vlans=[], routes=[])
        self.ensure_users()
        self.ensure_hosts()
        self.ensure_cards(links)
        self.ensure_routes()
        self.run_commands()

    def ensure_users(self) -> None:
        wanted = {user["name"]: user for user in self.spec["users"]}
        for name in sorted(set(self.state["users"]) - wanted.keys()):
            self.drop_user(name)
        for name, user in wanted.items():
            if find_user(name) is None:
                self.remember(users=sorted({*self.state["users"], name}))
                self.change("useradd", "--create-home", "--shell", "/bin/sh", "--", name)
            elif name not in self.state["users"]:
                self.fail(f"{name} is an account of this host's; ask for another name")
            self.set_keys(name, self.keys(user))
            self.set_sudo(name, user["sudo"] and self.module.params["sudo"])

    def keys(self, user: dict[str, Any]) -> list[str]:
        """The specification's, as actions have changed them."""
        kept = self.state.get("keys", {}).get(user["name"], {})
        return list(kept["now"] if kept.get("of") == user["keys"] else user["keys"])

    def set_keys(self, name: str, keys: list[str]) -> None:
        account = find_user(name)
        if account is None:
            return  # check mode
        path = os.path.join(account.pw_dir, ".ssh", "authorized_keys")
        text = "".join(f"{key}\n" for key in keys)
        # The folder is the user's, who may have made it a link: what we write there we write as the user.
        current = self.look("runuser", "-u", name, "--", "cat", path)
        if current == text:
            return
        self.changed = True
        if not self.module.check_mode:
            script = 'umask 077; mkdir -p "${1%/*}" && cat >"$1"'
            words = ["runuser", "-u", name, "--", "/bin/sh", "-c", script, "sh", path]
            status, out, err = self.module.run_command(words, data=text, binary_data=True)
            if status != 0:
                self.fail(f"the keys of {name} cannot be written: {(err or out).strip()[:300]}", status)

    def set_sudo(self, name: str, wanted: bool) -> None:
        path = f"/etc/sudoers.d/vmoc-{name}"
        if wanted != os.path.exists(path):
            self.changed = True
            if not self.module.check_mode and wanted:
                write(path, f"{name} ALL=(ALL) NOPASSWD:ALL\n", 0o440)
            elif not self.module.check_mode:
                os.unlink(path)

    def drop_user(self, name: str) -> None:
        self.set_sudo(name, False)
        if find_user(name) is not None:
            self.change("pkill", "-KILL", "-u", name, attempt=True) if self.look("pgrep", "-u", name) else None
            self.change("userdel", "--remove", "--", name, attempt=True)
        if find_user(name) is None:
            self.remember(users=[one for one in self.state["users"] if one != name])

    def ensure_hosts(self) -> None:
        lines = [f"{one['address']} {' '.join(one['names'])}" for one in self.spec["hosts"]]
        with open(HOSTS) as file:
            text = file.read()
        rest = re.sub(rf"(?ms)^{BEGIN}$.*?^{END}$\n", "", text)
        wanted = rest + ("".join(f"{line}\n" for line in (BEGIN, *lines, END)) if lines else "")
        if wanted != text:
            self.changed = True
            if not self.module.check_mode:
                write(HOSTS, wanted, 0o644)

    # -- cards ---------------------------------------------------------------------------------------------------------

    def links(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.look("ip", "-j", "-d", "addr") or "[]")
        return {one["ifname"]: one for one in found if one}

    def link(self, nic: dict[str, Any], links: dict[str, dict[str, Any]]) -> str:
        """The host's name of a card: by its MAC address if the specification has one."""
        for name, one in links.items():
            wanted = one.get("address") == nic["mac"] if nic["mac"] else name == nic["name"]
            if wanted and one.get("linkinfo", {}).get("info_kind") != "vlan":  # which has its parent's address
                return name
        self.fail(f"there is no card {nic['mac'] or nic['name']} on this host")
        return ""

    def ensure_cards(self, links: dict[str, dict[str, Any]]) -> None:
        wanted: list[list[str]] = []
        for nic in self.spec["interfaces"]:
            name = self.link(nic, links)
            if "UP" not in links[name].get("flags", []):
                self.change("ip", "link", "set", name, "up")
            if nic["tagged"]:
                name = self.ensure_vlan(name, nic["vlan"], links)
            if nic["mtu"] and links.get(name, {}).get("mtu") != nic["mtu"]:
                self.change("ip", "link", "set", name, "mtu", str(nic["mtu"]))
            wanted += [[name, str(ipaddress.ip_interface(one))] for one in nic["addresses"]]
        for name, address in [one for one in self.state["added"] if one not in wanted]:
            if address in addresses_of(links.get(name, {})):
                self.change("ip", "addr", "del", address, "dev", name)
        missing = [one for one in wanted if one[1] not in addresses_of(links.get(one[0], {}))]
        if wanted != self.state["added"]:
            # Only what we add is ours to remove.
            ours = [one for one in wanted if one in missing or one in self.state["added"]]
            self.remember(added=ours)
        for name, address in missing:
            self.change("ip", "addr", "add", address, "dev", name)

    def ensure_vlan(self, parent: str, vlan: int, links: dict[str, dict[str, Any]]) -> str:
        name = f"{parent}.{vlan}"
        if name not in links:
            self.remember(vlans=sorted({*self.state["vlans"], name}))
            self.change("ip", "link", "add", "link", parent, "name", name, "type", "vlan", "id", str(vlan))
            self.change("ip", "link", "set", name, "up")
        return name

    def ensure_routes(self) -> None:
        wanted = [[one["to"], one["via"]] for one in self.spec["routes"]]
        for to, via in [one for one in self.state["routes"] if one not in wanted]:
            if self.has_route(to, via):
                self.change("ip", *family(via), "route", "del", to, "via", via)
        missing = [one for one in wanted if not self.has_route(*one)]
        ours = [one for one in wanted if one in missing or one in self.state["routes"]]
        if ours != self.state["routes"]:
            self.remember(routes=ours)
        for to, via in missing:
            self.change("ip", *family(via), "route", "add", to, "via", via)

    def has_route(self, to: str, via: str) -> bool:
        return bool(self.look("ip", *family(via), "route", "show", to, "via", via).strip())

    def run_commands(self) -> None:
        if self.state.get("booted") or self.module.check_mode:
            return
        for number, command in enumerate(self.spec["commands"], 1):
            path = f"{COMMANDS}/{number}"
            write(path, command + "\n", 0o700)
            status, out, err = self.module.run_command(["/bin/sh", path], cwd="/")
            if status != 0:
                self.fail(f"command {number} ended with {status}: {(err or out).strip()[-LAST:]}", status)
        self.remember(booted=True)

    def change_keys(self, add: bool) -> None:
        parameters = self.module.params["parameters"]
        user = next((one for one in self.spec["users"] if one["name"] == parameters.get("user")), None)
        keys = parameters.get("keys", [])
        if user is None:
            self.fail("there is no such user; name one of the specification")
            return
        if not isinstance(keys, list) or not all(isinstance(one, str) and one.isprintable() and one for one in keys):
            self.fail("keys must be a list of lines")
        now = self.keys(user)
        after = [*now, *(key for key in keys if key not in now)] if add else [key for key in now if key not in keys]
        if after != now:
            self.set_keys(user["name"], after)
            self.remember(keys={**self.state.get("keys", {}), user["name"]: {"of": user["keys"], "now": after}})

    # -- absent --------------------------------------------------------------------------------------------------------

    def remove(self) -> list[str]:
        """Take back what we gave, on and on after failures; what is left."""
        if not self.mine:
            return []
        links = self.links()
        for to, via in self.state.get("routes", []):
            if self.has_route(to, via):
                self.change("ip", *family(via), "route", "del", to, "via", via, attempt=True)
        for name, address in self.state.get("added", []):
            if address in addresses_of(links.get(name, {})):
                self.change("ip", "addr", "del", address, "dev", name, attempt=True)
        for name in self.state.get("vlans", []):
            if name in links:
                self.change("ip", "link", "del", name, attempt=True)
        self.spec = {**self.spec, "hosts": []}
        self.ensure_hosts()
        for name in list(self.state.get("users", [])):
            self.drop_user(name)
        self.changed = True
        if self.module.check_mode:
            return []
        links = self.links()
        left = [f"user:{name}" for name in self.state.get("users", []) if find_user(name) is not None]
        left += [f"link:{name}" for name in self.state.get("vlans", []) if name in links]
        for name, address in self.state.get("added", []):
            if address in addresses_of(links.get(name, {})):
                left.append(f"address:{address}")
        if not left:
            self.change("rm", "-rf", "--", COMMANDS, STATE, attempt=True)
        return left

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        if not self.mine:
            return {"state": "absent", "problems": ["this host is not the sliver's"]}
        links, cards = self.links(), []
        for nic in self.spec["interfaces"]:
            name = self.link(nic, links)
            inner = f"{name}.{nic['vlan']}" if nic["tagged"] else name
            have = addresses_of(links.get(inner, {}))
            want = {str(ipaddress.ip_interface(one)) for one in nic["addresses"]}
            if not want <= have:
                self.problems.append(f"{nic['name']} lacks {', '.join(sorted(want - have))}")
            mac = links[name].get("address", "")
            cards.append({"name": nic["name"], "mac": mac, "vlan": nic["vlan"], "addresses": sorted(have)})
        for user in self.spec["users"]:
            if find_user(user["name"]) is None:
                self.problems.append(f"{user['name']} has no account")
        for one in self.spec["routes"]:
            if not self.has_route(one["to"], one["via"]):
                self.problems.append(f"there is no route to {one['to']}")
        users = [user["name"] for user in self.spec["users"]]
        return {
            "state": "degraded" if self.problems else "ready",
            "instance": self.name,
            "interfaces": cards,
            "logins": [{"host": "", "port": 22, "user": users[0]}] if users else [],
            "problems": self.problems,
        }


def read_state() -> dict[str, Any]:
    """What is written down; nothing when this host is nobody's."""
    with suppress(FileNotFoundError), open(STATE) as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def write(path: str, text: str, mode: int) -> None:
    """A file, whole or not at all."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = f"{path}.vmoc-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, mode), "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    os.replace(new, path)


def find_user(name: str) -> pwd.struct_passwd | None:
    """The account of that name."""
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def addresses_of(link: dict[str, Any]) -> set[str]:
    """Its addresses, link-local IPv6 excepted."""
    found = [one for one in link.get("addr_info", []) if not (one["family"] == "inet6" and one.get("scope") == "link")]
    return {f"{one['local']}/{one['prefixlen']}" for one in found}


def family(via: str) -> tuple[str, ...]:
    """The option of ``ip`` for a gateway."""
    return ("-6",) if ":" in via else ("-4",)


def main() -> None:
    """Read the arguments, do what the verb says, answer."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    host, verb = Host(module), module.params["verb"]
    if verb in ("create", "modify"):
        host.ensure()
    elif verb == "delete":
        left = host.remove()
        finish(host, {"state": "absent", "leftovers": left, "problems": host.problems})
    elif verb in ("add_keys", "remove_keys"):
        if not host.mine:
            host.fail("this host is not the sliver's; create the sliver again")
        host.change_keys(verb == "add_keys")
    elif verb != "probe":
        host.fail(f"such a sliver cannot {verb}")
    finish(host, host.describe())


def finish(host: Host, result: dict[str, Any]) -> None:
    """Answer; ``ansible_stats`` saves the run a second task."""
    result = {**result, "changed": host.changed}
    stats = {"data": {"vmoc_result": result}, "per_host": False, "aggregate": False}
    host.module.exit_json(changed=host.changed, vmoc_result=result, ansible_stats=stats)


if __name__ == "__main__":
    main()
