"""The verbs and actions of ``netns_sliver`` and ``container_sliver``."""

from __future__ import annotations

import glob
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_namespace import Sliver


def arguments(commands: bool) -> dict[str, dict[str, Any]]:
    """The module's arguments; ``commands``: whether a sliver's commands run unless the operator says otherwise."""
    return {
        "verb": {"type": "str", "required": True},
        "spec": {"type": "dict", "required": True},
        "parameters": {"type": "dict", "default": {}},
        "bridge": {"type": "str", "required": True},
        "uplink": {"type": "str", "default": ""},
        "ovs_rundir": {"type": "path", "default": ""},
        "commands": {"type": "bool", "default": commands},
        "published_ports": {"type": "str", "default": "3000-3999"},
    }


def act(module: AnsibleModule, sliver: Sliver) -> None:
    """Do what the verb says, and answer."""
    verb = module.params["verb"]
    if verb in ("create", "modify"):
        sliver.ensure()
    elif verb == "delete":
        left = sliver.remove()
        gone = {"state": "absent", "leftovers": left, "problems": sliver.problems, "changed": sliver.changed}
        answer(module, sliver, gone)
    elif verb != "probe" and not sliver.exists():
        module.fail_json(msg="there is no such namespace; create the sliver again")
    facts: dict[str, Any] = {}
    if verb in ("stop", "reboot"):
        sliver.halt()
    if verb in ("start", "reboot"):
        sliver.boot()
        sliver.ensure_routes()  # they went with the links
    if verb in ("add_keys", "remove_keys"):
        sliver.change_keys(module.params["parameters"], verb == "add_keys")
    if verb == "cpuinfo":
        facts["cpuinfo"] = {"cpus": sorted(os.sched_getaffinity(0)), "processes": sliver.count_processes()}
    if verb == "numainfo":
        nodes = glob.glob("/sys/devices/system/node/node[0-9]*")
        facts["numainfo"] = {"nodes": sorted(int(node.rpartition("node")[2]) for node in nodes)}
    result: dict[str, Any] = sliver.describe()
    result["facts"] = dict(result.get("facts", {}), **facts)
    result["changed"] = sliver.changed
    answer(module, sliver, result)


def answer(module: AnsibleModule, sliver: Sliver, result: dict[str, Any]) -> None:
    """``ansible_stats`` is what ``set_stats`` returns: it saves the run a second task."""
    stats = {"data": {"vmoc_result": result}, "per_host": False, "aggregate": False}
    module.exit_json(changed=sliver.changed, vmoc_result=result, ansible_stats=stats)
