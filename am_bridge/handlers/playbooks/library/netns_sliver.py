"""An Ansible module: one sliver as a network namespace, its cards on an Open vSwitch bridge.

Everything of a sliver carries its instance name or a hash of it, so that a
deletion finds it whatever the run that made it got to::

    namespace      vmoc-SLIVER-HASH; in /etc/netns/vmoc-SLIVER-HASH/ its hosts, hostname and passwd, mounted over /etc
    files          /var/lib/vmoc/netns/vmoc-SLIVER-HASH/: homes, keys, what we must remember
    card           vHASHxxxx, the outer end, an access port of the card's VLAN; inside it has the card's name
    management     vmgHASH; inside it is mgmt0    only when ports are published
    nftables       table ip vmoc_HASH
"""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_inventory import take_inventory
from ansible.module_utils.sliver_namespace import Sliver
from ansible.module_utils.sliver_verbs import act, arguments

DOCUMENTATION = """
module: netns_sliver
short_description: A sliver as a network namespace
description: Makes, changes, removes and looks at a network namespace with cards on an Open vSwitch bridge.
"""


def main() -> None:
    """Read the arguments, do what the verb says, answer."""
    module = AnsibleModule(argument_spec=arguments(commands=False), supports_check_mode=True)
    if module.params["verb"] == "inventory":
        take_inventory(module, Sliver)
    act(module, Sliver(module))


if __name__ == "__main__":
    main()
