"""What slivers of a kind are on this host, and the removal of those that nobody knows.

Other installations of VMOC may have theirs here: those are not looked at. What
has no mark may be anybody's: it is listed, and not removed.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_limits import Group, hierarchies
from ansible.module_utils.sliver_life import ETC, Sliver
from ansible.module_utils.sliver_name import STATES, name_instance, read_mark

NAME = re.compile(r"vmoc-[a-z0-9-]{0,40}-[0-9a-f]{8}")
UNKNOWN = "vmoc-unknown-"
"""Before the hash of an instance that is known by nothing but its links and rules."""
_LINK = re.compile(r"(?:vmg|vmi|v|i)([0-9a-f]{8})(?:[0-9a-f]{4})?")


def take_inventory(module: AnsibleModule, kind: type[Sliver]) -> None:
    """List the instances of that kind, having removed those of ``parameters["remove"]``, and answer."""
    parameters = module.params["parameters"]
    known = {name_instance(key): key for key in parameters["known"]}
    blank = kind(module, f"{UNKNOWN}{'0' * 8}")
    found = find_instances(blank)
    left: list[str] = []
    for name in parameters["remove"]:
        if name in found and name not in known and read_mark(name)[1] == module.params["installation"] != "":
            stray = kind(module, name)
            left += stray.remove()
            blank.problems += stray.problems
            blank.changed |= stray.changed
    if blank.changed:
        found = find_instances(blank)
    listed = [{"name": name, **known.get(name, {})} for name in found]
    facts = {"instances": listed}
    blank.answer({"state": "ready", "facts": facts, "leftovers": left, "problems": blank.problems})


def find_instances(blank: Sliver) -> list[str]:
    """Names of the instances of that kind, halves of them included; without a kind they are counted as namespaces."""
    names: set[str] = set()
    groups = [os.path.join(root, "vmoc") for root, *_ in hierarchies()]
    for folder in ("/run/netns", ETC, STATES, *groups):
        with suppress(FileNotFoundError):
            names |= {name for name in os.listdir(folder) if NAME.fullmatch(name)}
    rows = blank.table("Port", "external_ids", "external_ids!={}")
    marks = [dict(row["external_ids"][1]).get("vmoc-sliver", "") for row in rows]
    names |= {name for name in marks if NAME.fullmatch(name)}
    hashes = {match[1] for _, link in socket.if_nameindex() if (match := _LINK.fullmatch(link))}
    hashes |= set(re.findall(r"^table ip vmoc_([0-9a-f]{8})$", blank.look("nft", "list", "tables"), re.MULTILINE))
    names |= {UNKNOWN + one for one in hashes - {name[-8:] for name in names}}
    names = {name for name in names if (kind_of(name) or "netns") == blank.kind}
    names |= {name for name in blank.instances() if NAME.fullmatch(name)}
    return sorted(name for name in names if read_mark(name)[1] in ("", blank.module.params["installation"]))


def kind_of(name: str) -> str:
    """What made an instance; "" when that is not written down."""
    return read_mark(name)[0] or ("container" if Group(name).left() else "")
