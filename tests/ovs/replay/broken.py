"""``python -m tests.ovs.replay.broken FAULT run ...``: VMOC with one of its checks out of order.

In a single process: a worker is another program, which has none of it; and from the sources (``VMOC_PURE=1``): what is
compiled cannot be replaced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final

from vmoc.cli import main
from vmoc.mux.datapath import VirtualDatapath
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm
from vmoc.policy import flowmod
from vmoc.policy.grant import Grant
from vmoc.policy.outputs import Outputs


def any_vlan() -> None:
    """A flow's match does not get the slice's VLAN."""
    narrow10, narrow13 = flowmod.narrow10, flowmod.narrow13
    vlan = m10.W_DL_VLAN << 8 * (m10.LENGTH - 4)

    def wide10(grant: Grant, match: int) -> int:
        return m10.canonical(narrow10(grant, match) | vlan)

    def wide13(grant: Grant, match: oxm.Match) -> oxm.Match:
        return tuple(field for field in narrow13(grant, match) if field[0] != oxm.VLAN_VID)

    _replace(flowmod, "narrow10", wide10)
    _replace(flowmod, "narrow13", wide13)


def any_output() -> None:
    """An action may lead to any port."""
    ports = Outputs._ports

    def all_ports(outputs: Outputs, port: int) -> list[int]:
        return [port] if 0 < port < 0xFF00 else ports(outputs, port)

    _replace(Outputs, "_ports", all_ports)


def any_in_port() -> None:
    """A match or a packet-out may name any port."""
    _replace(Grant, "may_enter", lambda grant, port: True)


def no_guards() -> None:
    """Nothing keeps frames of other ports out of the slice."""
    regrant = VirtualDatapath.regrant

    def unguarded(datapath: VirtualDatapath) -> None:
        regrant(datapath)
        datapath.guards = frozenset()

    _replace(VirtualDatapath, "regrant", unguarded)


FAULTS: Final[dict[str, Callable[[], None]]] = {
    fault.__name__: fault for fault in (any_vlan, any_output, any_in_port, no_guards)
}


def _replace(owner: Any, name: str, fault: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} any more")
    setattr(owner, name, fault)


if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    os.environ["VMOC_WORKERS"] = "0"
    sys.exit(main())
