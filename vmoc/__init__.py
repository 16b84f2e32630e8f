"""VMOC, the VLAN-based Multiplexed OpenFlow Controller.

To a switch VMOC is a controller; to each experimenter's controller VMOC is a
switch. In between it gives every message to the one party that owns its
(DPID, port, VLAN), and vets every answer.
"""

from vmoc import native

__version__ = "0.1.0"

native.install()
