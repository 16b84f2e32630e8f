"""A module behind slivers, from its arguments to its answer."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_inventory import take_inventory
from ansible.module_utils.sliver_life import Sliver

ARGUMENTS: dict[str, dict[str, Any]] = {
    "verb": {"type": "str", "required": True},
    "spec": {"type": "dict", "required": True},
    "parameters": {"type": "dict", "default": {}},
    "installation": {"type": "str", "default": ""},
    "bridge": {"type": "str", "required": True},
    "uplink": {"type": "str", "default": ""},
    "dpid": {"type": "str", "default": ""},
    "port": {"type": "int", "default": 0},
    "ovs_rundir": {"type": "path", "default": ""},
    "commands": {"type": "bool", "default": True},
    "published_ports": {"type": "str", "default": "3000-3999"},
}


def run(kind: type[Sliver], **more: dict[str, Any]) -> None:
    """Read the arguments (``more`` are the kind's own), do what the verb says, and answer."""
    module = AnsibleModule(argument_spec={**ARGUMENTS, **more}, supports_check_mode=True)
    try:
        if module.params["verb"] == "inventory":
            take_inventory(module, kind)
        else:
            act(kind(module), module.params["verb"], module.params["parameters"])
    except OSError as error:  # a full disk, most likely
        module.fail_json(msg=f"{error.filename or kind.noun}: {error.strerror}", rc=error.errno or 1)


def act(sliver: Sliver, verb: str, parameters: dict[str, Any]) -> None:
    """One verb or action."""
    other = sliver.installation()
    if other and other != sliver.module.params["installation"]:
        text = f"{sliver.name} on this host is of another VMOC, {other}; it is left alone"
        if verb not in ("delete", "probe"):
            sliver.fail(text)
        sliver.answer({"state": "absent", "problems": [text], "facts": {}})
    if verb in ("create", "modify"):
        sliver.ensure()
    elif verb == "delete":
        left = sliver.remove()
        sliver.answer(
            {"state": "absent", "leftovers": left, "problems": sliver.problems, "facts": sliver.lasting_facts()}
        )
    elif verb != "probe" and not sliver.exists():
        sliver.fail(f"there is no such {sliver.noun}; create the sliver again")
    facts: dict[str, Any] = {}
    if verb in ("stop", "reboot"):
        sliver.halt()
    if verb in ("start", "reboot"):
        sliver.boot()
    if verb in ("add_keys", "remove_keys"):
        sliver.change_keys(parameters, verb == "add_keys")
    else:
        facts = sliver.perform(verb, parameters)
    result = sliver.describe()
    sliver.answer({**result, "facts": {**result.get("facts", {}), **facts, **sliver.lasting_facts()}})
