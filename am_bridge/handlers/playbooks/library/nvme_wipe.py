"""An Ansible module: what a sliver wrote to NVMe disks of the host is erased before anybody else gets them.

A disk that cannot be erased keeps its claim, and is a leftover of the sliver
until it can.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.pci_claims import CLAIMS, claims, find_function
from ansible.module_utils.sliver_name import name_instance

DOCUMENTATION = """
module: nvme_wipe
short_description: Erase a sliver's NVMe disks
description: Formats, with secure erase, the NVMe disks that a sliver has claimed and no longer has.
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "spec": {"type": "dict", "required": True},
    "keep": {"type": "bool", "default": False},
    "patience": {"type": "float", "default": 10.0},
    "erase": {"type": "str", "default": "1", "choices": ["1", "2"]},
    "sysfs": {"type": "path", "default": "/sys"},
    "claims": {"type": "path", "default": CLAIMS},
}


def main() -> None:
    """Read the arguments and do it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    spec, sysfs = module.params["spec"], module.params["sysfs"]
    name = name_instance(spec)
    kept = {find_function(sysfs, bdf).bdf for one in spec["components"] for bdf in one["bdfs"]}
    gone = [
        bdf
        for bdf, one in claims(module.params["claims"]).items()
        if one["instance"] == name and not (module.params["keep"] and bdf in kept)
    ]
    changed, left, reasons = False, [], []
    for function in (find_function(sysfs, bdf) for bdf in gone):
        if not function.is_nvme:
            continue
        changed = True
        if module.check_mode:
            continue
        deadline = time.monotonic() + module.params["patience"]
        while not function.namespaces and time.monotonic() < deadline:  # the host's driver takes it back
            time.sleep(0.05)
        problem = "" if function.namespaces else "the host's driver does not have it"
        for disk in function.namespaces:
            command = ["nvme", "format", f"/dev/{disk}", f"--ses={module.params['erase']}", "--force"]
            status, out, err = module.run_command(command)
            problem = problem or ((err or out).strip()[:200] or f"nvme ended with {status}" if status != 0 else "")
        if problem:
            left.append(f"nvme:{function.bdf}")
            reasons.append(f"{function.bdf} could not be erased: {problem}")
    if left:
        module.fail_json(msg="; ".join(reasons), rc=1, vmoc_leftovers=left)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
