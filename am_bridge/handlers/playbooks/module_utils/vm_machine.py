"""A sliver as a virtual machine: its image, its seed, its boot, and what goes on inside."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_life import change_lines
from ansible.module_utils.vm_domain import Disk, Machine, build, plugged_cards
from ansible.module_utils.vm_guest import CONSOLE_TAIL, Agent, Console, GuestError, find_verdict, read_verdict
from ansible.module_utils.vm_image import Image, ImageError, find_image
from ansible.module_utils.vm_libvirt import LibvirtSliver
from ansible.module_utils.vm_seed import everywhere, hosts_file, meta_data, network_config, user_data
from ansible.module_utils.waiting import until

MEMORY = 512
"""MiB, when neither the specification nor the image says."""
SEED = "seed.iso"
MAKERS = ("xorrisofs", "genisoimage", "mkisofs")
"""Programs that make an ISO 9660 image; all take the same options."""


class VirtualMachine(LibvirtSliver):  # type: ignore[misc]
    """The machine, as it should be and as it is."""

    def __init__(self, module: AnsibleModule, name: str = "") -> None:
        super().__init__(module, name)
        self.console = os.path.join(self.folder, "console.log")
        self.agent = Agent(self.virsh, self.name)

    # -- what it should be ---------------------------------------------------------------------------------------------

    def image(self) -> Image:
        try:
            return find_image(self.module.params["images"], self.spec["image"])
        except ImageError as error:
            self.fail(str(error))
            raise

    def users(self) -> list[dict[str, Any]]:
        """Those of the specification, with the keys that actions gave or took."""
        kept = self.state().get("keys", {})
        if kept.get("of") != digest(self.spec["users"]):
            return list(self.spec["users"])
        return [{**user, "keys": kept["by"].get(user["name"], user["keys"])} for user in self.spec["users"]]

    def machine(self, image: Image) -> Machine:
        disks = [Disk(self.disk(), "qcow2", "root")] if image.disk else []
        disks += [Disk(os.path.join(self.folder, SEED), "raw", "seed", readonly=True), *self.volumes()]
        boot = {"kernel": image.kernel, "initrd": image.initrd, "cmdline": image.cmdline} if image.kernel else {}
        state = self.state()
        return Machine(
            self.name,
            f"{self.spec['slice_id']}/{self.spec['sliver_id']}",
            self.module.params["virtualisation"],
            self.spec["memory_mib"] or image.memory_mib or MEMORY,
            max(1, self.spec["vcpus"]),
            self.console,
            boot,
            disks,
            self.cards(),
            self.functions(),
            state.get("pins", {}),
            state.get("nodes", ""),
        )

    def disk(self) -> str:
        return os.path.join(self.folder, "disk.qcow2")

    # -- present -------------------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        self.check_host()
        image = self.image()
        before = self.state().get("image", self.spec["image"])
        if before != self.spec["image"]:
            self.fail(f"the image of a machine cannot be changed; it is {before}")
        there = self.exists()
        if self.module.check_mode and not there:
            self.changed = True
            return
        self.ensure_mark()
        if "token" not in self.state():
            self.save(token=secrets.token_hex(8), image=self.spec["image"])
        if self.spec["published_ports"]:
            self.reserve_ports()
        self.ensure_disk(image)
        self.ensure_seed()
        self.ensure_domain(image, there)
        if not self.state().get("stopped"):
            self.ensure_running(image)
        if self.running():
            self.ensure_devices()
            self.ensure_guest()
        self.ensure_published()

    def ensure_disk(self, image: Image) -> None:
        """A layer over the image, which itself is never written."""
        if not image.disk or os.path.exists(self.disk()):
            return
        size = [f"{self.spec['disk_gib']}G"] if self.spec["disk_gib"] else []
        new = f"{self.disk()}.new"
        self.change("qemu-img", "create", "-q", "-f", "qcow2", "-b", image.disk, "-F", image.format, new, *size)
        if not self.module.check_mode:
            os.replace(new, self.disk())

    def ensure_seed(self) -> None:
        spec, state = {**self.spec, "users": self.users()}, self.state()
        documents = {
            "meta-data": meta_data(f"{self.name}-{state.get('token', '')}", self.hostname),
            "user-data": user_data(spec, self.hostname, state.get("token", ""), self.module.params["volumes"]),
            "network-config": network_config(self.nics(), self.spec["routes"]),
        }
        path = os.path.join(self.folder, SEED)
        if state.get("seed") == digest(documents) and os.path.exists(path):
            return
        maker = next((found for one in MAKERS if (found := self.module.get_bin_path(one))), None)
        if maker is None:
            self.fail(f"this host has none of {', '.join(MAKERS)}; install xorriso or genisoimage")
        self.changed = True
        if self.module.check_mode:
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as place:  # 0700: there may be secrets in commands
            for name, text in documents.items():
                with open(os.path.join(place, name), "w") as file:
                    file.write(text)
            new = os.path.join(place, SEED)
            os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))
            sources = [os.path.join(place, name) for name in documents]
            self.change(str(maker), "-quiet", "-V", "cidata", "-J", "-r", "-o", new, *sources)
            os.replace(new, path)
        self.save(seed=digest(documents))

    def ensure_domain(self, image: Image, there: bool) -> None:
        template = ""
        try:
            if self.module.params["template"]:
                with open(self.module.params["template"]) as file:
                    template = file.read()
            machine = self.machine(image)
            text = build(machine, template)
            # Pins are in libvirt's description already: the actions put them there.
            shown = digest(build(replace(machine, pins={}, nodes=""), template))
        except (OSError, ValueError) as error:
            self.fail(f"the domain cannot be described: {error}")
            raise
        if there and self.state().get("domain") == shown:
            return
        if there and self.state().get("shape", self.shape()) != self.shape() and self.running():
            self.problems.append("processors and memory change when it is rebooted")
        with self.file_of(text) as path:
            self.tell("define", path)
        self.save(domain=shown, shape=self.shape())

    def shape(self) -> list[int]:
        return [self.spec["vcpus"], self.spec["memory_mib"]]

    # -- life ----------------------------------------------------------------------------------------------------------

    def ensure_running(self, image: Image) -> None:
        """Started, and up: what the image says is the sign of it."""
        if not self.running():
            self.save(booting=self.console_size())
            self.tell("start", self.name)
        elif "booting" not in self.state():
            return
        if self.module.check_mode:
            return
        self.wait_for_boot(image, Console(self.console, self.state()["booting"]))
        first = not self.state().get("booted")
        kept = {key: one for key, one in self.state().items() if key != "booting"}
        self.remember({**kept, "booted": True})
        if first or not image.disk:
            self.save(guest=self.guest_digest(), users=self.names(), routes=self.spec["routes"])

    def console_size(self) -> int:
        with suppress(OSError):
            return os.path.getsize(self.console)
        return 0

    def wait_for_boot(self, image: Image, console: Console) -> None:
        limit = self.spec["boot_timeout"] or self.module.params["boot_timeout"]
        looked, token = time.monotonic(), self.state()["token"]
        for _ in until(limit):
            if image.sign == "marker" and (verdict := find_verdict(console.text(), token)):
                reason, status = read_verdict(verdict)
                if reason:
                    self.fail(reason, status)
                return
            if image.sign == "message" and image.message in console.text():
                return
            if image.sign == "agent" and self.agent.answers():
                return
            if image.sign == "none":
                return
            if time.monotonic() - looked > 1:
                looked = time.monotonic()
                if not self.running():
                    self.fail(f"the machine went off while it booted; {self.last_words(console)}")
        self.fail(f"the machine did not say within {limit} s that it is up; {self.last_words(console)}")

    def last_words(self, console: Console) -> str:
        text = "".join(one for one in console.text()[-CONSOLE_TAIL:] if one.isprintable() or one == "\n").strip()
        return f"the last on its console: {text[-1000:]}" if text else "its console is silent"

    def halt(self) -> None:
        """Ask it to go down, and after ``stop_grace`` switch it off."""
        if self.running():
            self.virsh("shutdown", self.name, "--mode", "agent,acpi")
            for _ in until(0 if self.module.check_mode else self.module.params["stop_grace"]):
                if not self.running():
                    break
            self.changed = True
            if self.running():
                self.tell("destroy", self.name)
        self.save(stopped=True)

    def boot(self) -> None:
        """Start it with all that was changed meanwhile."""
        self.save(stopped=False)
        self.ensure_seed_again()
        self.ensure_running(self.image())
        self.keep_numbers()
        self.ensure_guest()
        self.ensure_published()

    def ensure_seed_again(self) -> None:
        """Actions do not know the volumes, which the seed has mounts of; keys given by actions are in it from now."""
        if not [one for one in self.spec["components"] if one["mount_point"]]:
            self.ensure_seed()

    # -- inside --------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return [user["name"] for user in self.spec["users"]]

    def guest_digest(self) -> str:
        return digest([self.users(), self.nics(), self.spec["routes"], hosts_file(self.spec, self.hostname)])

    def ensure_guest(self) -> None:
        """Users, hosts, addresses and routes of a machine that was started with others."""
        state = self.state()
        if state.get("guest") == self.guest_digest() or self.module.check_mode:
            return
        if not self.agent.answers():
            self.problems.append("its guest agent does not answer: users, hosts and addresses inside are the old ones")
            return
        self.changed = True
        try:
            for name in set(state.get("users", [])) - set(self.names()):
                self.agent.drop_user(name)
            for user in self.users():
                self.agent.add_user(user)
            self.agent.write("/etc/hosts", hosts_file(self.spec, self.hostname))
            for nic in self.nics():
                self.agent.set_card(nic)
            for route in state.get("routes", []):
                if route not in self.spec["routes"]:
                    with suppress(GuestError):  # it may have gone with its link
                        self.agent.run("ip", *family(route), "route", "del", *hop(route))
            for route in self.spec["routes"]:
                self.agent.run("ip", *family(route), "route", "replace", *hop(route))
        except GuestError as error:
            self.fail(str(error))
        self.save(guest=self.guest_digest(), users=self.names(), routes=self.spec["routes"])

    def change_keys(self, parameters: dict[str, Any], add: bool) -> None:
        name, keys = self.checked_keys(parameters)
        before = next(user["keys"] for user in self.users() if user["name"] == name)
        after = change_lines(before, keys, add)
        if after == before:
            return
        kept = {user["name"]: user["keys"] for user in self.users()}
        self.changed = True
        if self.module.check_mode:
            return
        if self.running():
            try:
                self.agent.set_keys(name, after)
            except GuestError as error:
                self.fail(str(error))
        self.save(keys={"of": digest(self.spec["users"]), "by": {**kept, name: after}})
        self.ensure_seed_again()
        self.save(guest=self.guest_digest())

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        if not self.exists():
            return {"state": "absent", "problems": ["there is no such machine"]}
        state, power = self.state(), self.power()
        runs = power in ("running", "idle")
        if not runs and not state.get("stopped"):
            self.problems.append(f"it is {power}; start it, or reboot")
        live = plugged_cards(self.ask("dumpxml", self.name))
        rows = {row["name"]: row for row in self.table("Interface", "name,ofport")} if runs else {}
        tags = {row["name"]: row for row in self.table("Port", "name,tag,trunks")} if runs else {}
        inside = self.inside() if runs else None
        cards = []
        for nic in self.nics():
            name, there = nic["name"], live.get(nic["name"])
            if there is None or (runs and nic["vlan"] and there.port not in rows):
                self.problems.append(f"{name} is missing")
            elif nic["vlan"]:
                key = f"{nic['mac']}@{name}.{nic['vlan']}" if nic["tagged"] else nic["mac"]
                have = None if inside is None else inside.get(key, ("", set()))[1]
                vlan = tags.get(there.port, {}).get("trunks" if nic["tagged"] else "tag") if runs else nic["vlan"]
                number = rows.get(there.port, {}).get("ofport")
                cards.append(self.describe_card(nic, there.mac, vlan, number, have))
        for name in live.keys() - {nic["name"] for nic in self.nics()}:
            self.problems.append(f"{name} should not be there")
        return dict(self.describe_as(cards, console=self.console, agent=inside is not None))

    def run_inside(self, *argv: str) -> tuple[int, str, str]:
        try:
            answer: tuple[int, str, str] = self.agent.execute(*argv)
            return answer
        except GuestError as error:
            return 1, "", str(error)

    def inside(self) -> dict[str, tuple[str, set[str]]] | None:
        """The cards as the guest has them; None when nobody says."""
        with suppress(GuestError):
            found: dict[str, tuple[str, set[str]]] = self.agent.cards()
            return found
        return None


def digest(value: Any) -> str:
    """Of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def family(route: dict[str, Any]) -> tuple[str, ...]:
    """The option of ``ip`` for it."""
    return ("-6",) if ":" in route["via"] else ()


def hop(route: dict[str, Any]) -> tuple[str, ...]:
    """Its words for ``ip route``."""
    return (everywhere(route["to"], route["via"]), "via", route["via"])
