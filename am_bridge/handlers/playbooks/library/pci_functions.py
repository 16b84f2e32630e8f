"""An Ansible module: PCI functions of the host, before a sliver gets them and after it has given them back."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pci_claims import BRIDGE, CLAIMS, Function, claim, claims, drop_claim, find_function
from ansible.module_utils.sliver_name import name_instance
from ansible.module_utils.sliver_published import choosing

DOCUMENTATION = """
module: pci_functions
short_description: PCI functions for a sliver
description: Checks and claims the functions that a sliver is to have, switches their parents to VEPA, and frees them.
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "required": True, "choices": ["claimed", "free"]},
    "spec": {"type": "dict", "required": True},
    "keep": {"type": "bool", "default": False},
    "allowed": {"type": "list", "elements": "str", "default": []},
    "sysfs": {"type": "path", "default": "/sys"},
    "claims": {"type": "path", "default": CLAIMS},
    "mounts": {"type": "path", "default": "/proc/mounts"},
}


class Functions:
    """Those of one sliver."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.folder: str = module.params["claims"]
        self.sysfs: str = module.params["sysfs"]
        self.name = name_instance(module.params["spec"])
        self.changed = False
        self.wanted: dict[str, tuple[Function, dict[str, Any]]] = {}
        for component in module.params["spec"]["components"]:
            for bdf in component["bdfs"]:
                function = find_function(self.sysfs, bdf)
                if function.bdf in self.wanted:
                    module.fail_json(msg=f"{function.bdf} is asked for twice")
                self.wanted[function.bdf] = (function, component)

    def ensure_claimed(self) -> None:
        """All of them are ours, and their parents as they should be."""
        for component in self.module.params["spec"]["components"]:
            if component["macs"] and len(component["macs"]) != len(component["bdfs"]):
                self.module.fail_json(msg=f"{component['name']} needs as many MAC addresses as functions, or none")
            if component["type"] != "Storage" and not component["bdfs"]:
                self.module.fail_json(msg=f"{component['name']} needs the BDF of a function")
        with choosing():
            have = claims(self.folder)
            for function, component in self.wanted.values():
                self.check(function, component, have.get(function.bdf))
            for function, component in self.wanted.values():
                vepa = function.parents[0] if component["vepa"] else ""
                if have.get(function.bdf) != {"instance": self.name, "vepa": vepa}:
                    self.changed = True
                    if not self.module.check_mode:
                        claim(self.folder, function.bdf, self.name, vepa)
        for function, component in self.wanted.values():
            if component["vepa"]:
                self.set_mode(function.parents[0], "vepa")

    def check(self, function: Function, component: dict[str, Any], there: dict[str, Any] | None) -> None:
        """Fail unless this sliver may have it and can."""
        bdf = function.bdf
        allowed = {find_function(self.sysfs, one).bdf for one in self.module.params["allowed"]}
        problem = ""
        if bdf not in allowed:
            problem = "is not one of those that slivers may have; see vm_pci_functions"
        elif not function.exists:
            problem = "is not there; has SR-IOV made that many?"
        elif there is not None and there["instance"] != self.name:
            problem = f"belongs to {there['instance']}"
        elif function.read("class").startswith(BRIDGE):
            problem = "is a bridge, which cannot be given away"
        elif component["type"] == "NVME" and not function.is_nvme:
            problem = "is no NVMe controller"
        elif (component["macs"] or component["vepa"]) and not (function.is_virtual and function.parents):
            problem = "is no virtual function of a network card: it takes neither MAC address nor VEPA"
        elif there is None and (used := self.mounted(function)):
            problem = f"holds {used}, which the host uses"
        if problem:
            self.module.fail_json(msg=f"{bdf} {problem}")

    def mounted(self, function: Function) -> str:
        """A disk of it that is mounted here; "" when there is none."""
        with open(self.module.params["mounts"]) as file:
            sources = [line.split()[0] for line in file if line.startswith("/dev/")]
        disks = function.namespaces
        return next((disk for disk in disks if any(one.startswith(f"/dev/{disk}") for one in sources)), "")

    def set_mode(self, parent: str, mode: str) -> None:
        """Whether frames between two functions of a card go out to the switch (``vepa``) or not (``veb``)."""
        status, out, _ = self.module.run_command(["bridge", "-j", "-d", "link", "show", "dev", parent])
        modes = [str(one.get("hwmode", "")).lower() for one in json.loads(out or "[]")] if status == 0 else []
        if mode in modes:
            return
        self.changed = True
        if self.module.check_mode:
            return
        status, out, err = self.module.run_command(["bridge", "link", "set", "dev", parent, "hwmode", mode])
        if status != 0:
            self.module.fail_json(msg=f"{parent} cannot be switched to {mode}: {(err or out).strip()}", rc=status)

    def ensure_free(self, keep: bool) -> None:
        """What is ours and no longer wanted is free; of ``keep`` False, all. A parent's last user switches it back."""
        with choosing():
            have = claims(self.folder)
            ours = [bdf for bdf, one in have.items() if one["instance"] == self.name]
            gone = [bdf for bdf in ours if not (keep and bdf in self.wanted)]
            others = {one["vepa"] for bdf, one in have.items() if bdf not in gone}
            for bdf in gone:
                parent = str(have[bdf]["vepa"])
                if parent and parent not in others:
                    self.set_mode(parent, "veb")
                self.changed = True
                if not self.module.check_mode:
                    drop_claim(self.folder, bdf)


def main() -> None:
    """Read the arguments and do it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    functions = Functions(module)
    if module.params["state"] == "claimed":
        functions.ensure_claimed()
    else:
        functions.ensure_free(module.params["keep"])
    module.exit_json(changed=functions.changed)


if __name__ == "__main__":
    main()
