"""The verbs and actions of ``netns_sliver`` and ``container_sliver``."""

from __future__ import annotations

import glob
import ipaddress
import os
import re
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
        "dpid": {"type": "str", "default": ""},
        "port": {"type": "int", "default": 0},
        "ovs_rundir": {"type": "path", "default": ""},
        "commands": {"type": "bool", "default": commands},
        "published_ports": {"type": "str", "default": "3000-3999"},
    }


def act(module: AnsibleModule, sliver: Sliver) -> None:
    """Do what the verb says, and answer."""
    try:
        _act(module, sliver)
    except OSError as error:  # a full disk, most likely
        module.fail_json(msg=f"{error.filename or sliver.name}: {error.strerror}", rc=error.errno or 1)


def _act(module: AnsibleModule, sliver: Sliver) -> None:
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
    if verb == "ping":
        facts["ping"] = ping(module, sliver)
    if verb == "cpuinfo":
        facts["cpuinfo"] = {"cpus": sorted(os.sched_getaffinity(0)), "processes": sliver.count_processes()}
    if verb == "numainfo":
        nodes = glob.glob("/sys/devices/system/node/node[0-9]*")
        facts["numainfo"] = {"nodes": sorted(int(node.rpartition("node")[2]) for node in nodes)}
    result: dict[str, Any] = sliver.describe()
    result["facts"] = dict(result.get("facts", {}), **facts)
    result["changed"] = sliver.changed
    answer(module, sliver, result)


def ping(module: AnsibleModule, sliver: Sliver) -> dict[str, Any]:
    """Whether an address answers, asked from inside: ``{sent, received}``."""
    parameters = module.params["parameters"]
    try:
        address, count = str(ipaddress.ip_address(parameters.get("address", ""))), int(parameters.get("count", 3))
    except (TypeError, ValueError):
        address, count = "", 0
    if not 1 <= count <= 20:
        module.fail_json(msg="ping needs an address, and a count of 1 to 20 if any")
    words = ["ip", "netns", "exec", sliver.name, "ping", "-n", "-q", "-i", "0.2", "-W", "1", "-c", str(count), address]
    status, out, err = module.run_command(words)
    found = re.search(r"(\d+) packets transmitted, (\d+)", out)
    if found is None:
        text = (err or out).strip().splitlines()
        module.fail_json(msg=f"ping: {text[-1] if text else 'it cannot be run'}", rc=status or 1)
        return {}  # not reached: fail_json ends the module
    return {"address": address, "sent": int(found[1]), "received": int(found[2])}


def answer(module: AnsibleModule, sliver: Sliver, result: dict[str, Any]) -> None:
    """``ansible_stats`` is what ``set_stats`` returns: it saves the run a second task."""
    stats = {"data": {"vmoc_result": result}, "per_host": False, "aggregate": False}
    module.exit_json(changed=sliver.changed, vmoc_result=result, ansible_stats=stats)
