"""A sliver's domain as libvirt has it: its state, what is plugged in to it, and its end."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree as ET

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pci_claims import claims, full_bdf
from ansible.module_utils.sliver_life import PATIENCE, Sliver, normal
from ansible.module_utils.sliver_published import MANAGEMENT
from ansible.module_utils.vm_domain import (
    Card,
    Disk,
    Function,
    alias,
    card_element,
    disk_element,
    function_element,
    plugged,
    plugged_cards,
)
from ansible.module_utils.waiting import until


class LibvirtSliver(Sliver):  # type: ignore[misc]
    """The domain, what it is made of and what it is to have plugged in."""

    kind = "vm"
    noun = "machine"

    def __init__(self, module: AnsibleModule, name: str = "") -> None:
        super().__init__(module, name)
        self.uri: str = module.params["uri"]

    def virsh(self, *argv: str) -> tuple[int, str, str]:
        """A command of virsh: status, output, errors."""
        words = ["virsh", "-q", "-c", self.module.params["uri"], *argv]
        status, out, err = self.module.run_command(words, environ_update=self.environment)
        return status, out, err

    def ask(self, *argv: str) -> str:
        status, out, _ = self.virsh(*argv)
        return out if status == 0 else ""

    def tell(self, *argv: str) -> None:
        """A command that changes something."""
        self.change("virsh", "-q", "-c", self.module.params["uri"], *argv)

    def domains(self) -> list[str] | None:
        """The names of all; None when libvirt does not answer."""
        status, out, _ = self.virsh("list", "--all", "--name")
        return out.split() if status == 0 else None

    def instances(self) -> set[str]:
        return set(self.domains() or ())

    def exists(self) -> bool:
        found = self.domains()
        if found is None:
            self.fail(f"libvirt does not answer at {self.uri}; see vm_uri")
        return self.name in (found or ())

    def power(self) -> str:
        """What libvirt calls its state: ``running``, ``shut off``, ``crashed`` ..."""
        return self.ask("domstate", self.name).strip()

    def running(self) -> bool:
        return self.power() in ("running", "idle", "in shutdown", "paused", "pmsuspended")

    def emulators(self) -> list[int]:
        """QEMU processes of this machine."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdecimal():
                with suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                    if b"qemu" in words[0] and any(one.startswith(f"guest={self.name},".encode()) for one in words):
                        found.append(int(name))
        return found

    # -- what is to be plugged in --------------------------------------------------------------------------------------

    def nics(self) -> list[dict[str, Any]]:
        """The cards inside: those of the specification, and the one for published ports."""
        found = [
            {**nic, "mac": self.mac(nic), "addresses": normal(nic["addresses"])} for nic in self.spec["interfaces"]
        ]
        if self.spec["published_ports"]:
            index = self.state().get("management", 0)
            card = {"name": "mgmt0", "mac": "", "vlan": 0, "mtu": 0, "tagged": False}
            found.append({**card, "mac": self.mac(card), "addresses": [f"{MANAGEMENT[2 * index + 1]}/31"]})
        return found

    def cards(self) -> list[Card]:
        """The same, as libvirt sees them."""
        offload = self.module.params["offload"]
        if offload == "auto":
            # Open vSwitch's userspace datapath does not fill in the checksums that a guest leaves to its card.
            datapath = self.look("ovs-vsctl", "-t", "10", "get", "bridge", self.bridge, "datapath_type")
            offload = "off" if "netdev" in datapath else "on"
        found = []
        for nic in self.nics():
            card = Card(nic["name"], nic["mac"], self.port_name(nic["name"]), mtu=nic["mtu"], offload=offload == "on")
            if nic["vlan"]:
                card.bridge, card.vlan, card.tagged = self.bridge, nic["vlan"], nic["tagged"]
            else:
                card.port = self.management
                card.peer = nic["addresses"][0].split("/")[0]
                card.host_address = str(MANAGEMENT[2 * self.state().get("management", 0)])
            found.append(card)
        return found

    def volumes(self) -> list[Disk]:
        return [Disk(one["path"], one["format"], one["serial"]) for one in self.module.params["volumes"]]

    def functions(self) -> list[Function]:
        found = []
        for one in self.spec["components"]:
            macs = [*one["macs"], *[""] * len(one["bdfs"])]
            found += [Function(one["name"], full_bdf(bdf), mac) for bdf, mac in zip(one["bdfs"], macs, strict=False)]
        return found

    def claimed(self) -> list[str]:
        """The PCI functions that are ours on this host."""
        return [bdf for bdf, one in claims(self.module.params["claims"]).items() if one["instance"] == self.name]

    # -- cards, disks and functions of a running machine ---------------------------------------------------------------

    def ensure_devices(self) -> None:
        text = self.ask("dumpxml", self.name)
        have, want = plugged_cards(text), {card.name: card for card in self.cards()}
        for name, there in have.items():
            card = want.get(name)
            if card is None or (card.mac, card.port) != (there.mac, there.port):
                self.plug("detach-device", there.xml, name)
        for name, card in want.items():
            there = have.get(name)
            element = ET.tostring(card_element(card), encoding="unicode")
            if there is None or (card.mac, card.port) != (there.mac, there.port):
                self.plug("attach-device", element, name)
        rows = {row["name"]: row for row in self.table("Port", "name,tag,trunks")}
        for nic in self.spec["interfaces"]:  # libvirt cannot change the VLAN of a card that is plugged in
            port = self.port_name(nic["name"])
            if port in rows:
                self.ensure_port(nic, port, rows[port])
        self.keep_numbers()
        disks = {f"disk-{one.serial}": one for one in self.volumes()}
        self.ensure_plugged(
            text, "disk-", {name: disk_element(one, 10 + number) for number, (name, one) in enumerate(disks.items())}
        )
        elements = [function_element(one) for one in self.functions()]
        self.ensure_plugged(text, "pci-", {alias(one): one for one in elements})

    def keep_numbers(self) -> None:
        """A card has the same OpenFlow port over a reboot, which makes it a new port of the bridge."""
        names = {self.port_name(nic["name"]) for nic in self.spec["interfaces"]}
        rows = self.table("Interface", "name,ofport")
        have = {row["name"]: row["ofport"] for row in rows if row["name"] in names and isinstance(row["ofport"], int)}
        taken = {row["ofport"] for row in rows if row["name"] not in names}
        kept = {name: number for name, number in self.state().get("numbers", {}).items() if name in names}
        for name, number in kept.items():
            if name in have and have[name] != number and number not in taken:
                self.change("ovs-vsctl", "-t", "10", "set", "interface", name, f"ofport_request={number}")
        if have.keys() - kept.keys():
            self.save(numbers={**have, **kept})

    def ensure_plugged(self, text: str, prefix: str, want: dict[str, ET.Element]) -> None:
        have = plugged(text, prefix)
        for name in have.keys() - want.keys() - {"disk-root", "disk-seed"}:
            self.plug("detach-device", have[name], name)
        for name, element in want.items():
            if name not in have:
                self.plug("attach-device", ET.tostring(element, encoding="unicode"), name)

    def plug(self, verb: str, xml: str, name: str) -> None:
        with self.file_of(xml) as path:
            self.tell(verb, self.name, path, "--live")
        if verb == "detach-device":
            for _ in until(PATIENCE):  # the guest lets go of it
                if f"ua-{name}" not in self.ask("dumpxml", self.name):
                    return
            self.problems.append(f"{name} goes when it is rebooted: the guest does not let go of it")

    def file_of(self, text: str) -> Any:
        """A file with that text, for as long as the block lasts."""
        file = tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".xml")  # noqa: SIM115
        file.write(text)
        file.flush()
        return _Named(file)

    # -- published ports and the end -----------------------------------------------------------------------------------

    def ensure_published(self) -> None:
        if not self.spec["published_ports"]:
            self.unpublish()
        elif self.running():
            state = self.state()
            (there,) = self.management_addresses()
            self.ensure_rules(there, state["ports"])

    def tear_down(self) -> None:
        domains = self.domains()
        if domains is None:
            kept = [f"domain:{self.name}"] if os.path.isdir(self.folder) else []
            self.module.fail_json(msg=f"libvirt does not answer at {self.uri}; see vm_uri", rc=1, vmoc_leftovers=kept)
        virsh = ("virsh", "-q", "-c", self.uri)
        if self.name in (domains or ()):
            if self.power() != "shut off":
                self.attempt(*virsh, "destroy", self.name)
            self.attempt(*virsh, "undefine", self.name, "--managed-save", "--nvram", "--snapshots-metadata")

    def busy(self) -> bool:
        return bool(self.emulators()) or super().busy()

    def remains(self) -> list[str]:
        left = [f"domain:{self.name}"] * (self.name in (self.domains() or ()))
        if not self.spec:  # a stray: with a specification they are wiped and freed after us
            left += [f"pci:{bdf}" for bdf in self.claimed()]
        return left + [f"process:{pid}" for pid in self.emulators()]

    def lasting_facts(self) -> dict[str, Any]:
        return {"pci": self.claimed()}


class _Named:
    """A temporary file, as a context of its name."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> str:
        return str(self._file.name)

    def __exit__(self, *_: object) -> None:
        self._file.close()
