"""An Ansible module: the files behind a sliver's volumes.

A volume with a name is the operator's: ``VOLUMES/SLICE/NAME.qcow2`` or
``.raw``, which outlives the sliver. One without is scratch space of the size
asked for; it goes with the sliver, whose folder it is in.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_name import STATES, name_instance

DOCUMENTATION = """
module: sliver_volumes
short_description: Files behind a sliver's volumes
description: Finds the volumes of the operator and makes the scratch space that a sliver asks for.
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "spec": {"type": "dict", "required": True},
    "volumes": {"type": "path", "required": True},
    "most_gib": {"type": "int", "default": 100},
}
SERIAL = 20
"""Characters of a virtio disk's serial number, by which it is known inside."""
FORMATS = {".qcow2": "qcow2", ".raw": "raw"}


def main() -> None:
    """Read the arguments and do it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    spec = module.params["spec"]
    folder = os.path.join(STATES, name_instance(spec))
    disks, changed = [], False
    for one in spec["components"]:
        if one["type"] != "Storage":
            continue
        if len(one["name"]) > SERIAL:
            module.fail_json(msg=f"the name of a volume has at most {SERIAL} characters; {one['name']} has more")
        disk = {"serial": one["name"], "mount_point": one["mount_point"], "scratch": not one["volume"]}
        if one["volume"]:
            disk["path"], disk["format"] = find_volume(module, spec["slice_id"], one["volume"])
        else:
            path, size = os.path.join(folder, f"volume-{one['name']}.qcow2"), one["size_gib"]
            if not 1 <= size <= module.params["most_gib"]:
                module.fail_json(msg=f"{one['name']} must have 1 to {module.params['most_gib']} GiB, or name a volume")
            changed = make_scratch(module, path, size) or changed
            disk["path"], disk["format"] = path, "qcow2"
        disks.append(disk)
    module.exit_json(changed=changed, disks=disks)


def find_volume(module: AnsibleModule, slice_id: str, name: str) -> tuple[str, str]:
    """File and format of a volume of that slice."""
    home = os.path.realpath(os.path.join(module.params["volumes"], slice_id))
    within = os.path.dirname(home) == os.path.realpath(module.params["volumes"])
    for ending, kind in FORMATS.items():
        path = os.path.realpath(os.path.join(home, name + ending))
        if within and path.startswith(home + os.sep) and os.path.isfile(path):
            return path, kind
    module.fail_json(msg=f"the slice has no volume {name}; the operator puts it in {home}")
    raise AssertionError("not reached")


def make_scratch(module: AnsibleModule, path: str, size: int) -> bool:
    """An empty disk, whole or not at all; whether it had to be made."""
    if os.path.exists(path):
        return False
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        status, out, err = module.run_command(["qemu-img", "create", "-q", "-f", "qcow2", f"{path}.new", f"{size}G"])
        if status != 0:
            module.fail_json(msg=f"qemu-img: {(err or out).strip()[:300]}", rc=status)
        os.replace(f"{path}.new", path)
    return True


if __name__ == "__main__":
    main()
