"""The virtual datapaths of one switch, by their places.

A VLAN that has one owner is that owner's place: what the hot path looks up.
On a switch where VLANs may be shared a place is the slot above the VLAN, so
that a VLAN alone finds nobody; whose a packet is, (VLAN, port) says there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath


class Residents(dict[int, "VirtualDatapath"]):
    """Virtual datapaths by place."""

    __slots__ = ("_on_vlan", "_ports")

    def __init__(self) -> None:
        super().__init__()
        self._on_vlan: dict[int, list[VirtualDatapath]] = {}
        self._ports: dict[tuple[int, int], VirtualDatapath] = {}

    def enlist(self, datapath: VirtualDatapath) -> None:
        """It lives here from now on."""
        self[datapath.place] = datapath
        self._on_vlan.setdefault(datapath.vlan, []).append(datapath)

    def delist(self, datapath: VirtualDatapath) -> None:
        """It lives here no more; one that never did is not missed."""
        if self.get(datapath.place) is not datapath:
            return
        del self[datapath.place]
        self.place_ports(datapath, datapath.grant.ports, ())
        others = [other for other in self._on_vlan[datapath.vlan] if other is not datapath]
        if others:
            self._on_vlan[datapath.vlan] = others
        else:
            del self._on_vlan[datapath.vlan]

    def place_ports(self, datapath: VirtualDatapath, before: Iterable[int], after: Iterable[int]) -> None:
        """On a VLAN that may be shared: the datapath's ports were ``before`` and are ``after``."""
        if not datapath.slot:
            return
        for port in before:
            if self._ports.get((datapath.vlan, port)) is datapath:
                del self._ports[datapath.vlan, port]
        for port in after:
            self._ports[datapath.vlan, port] = datapath

    def vlans(self) -> Collection[int]:
        """Every VLAN that somebody has."""
        return self._on_vlan.keys()

    def on_vlan(self, vlan: int | None) -> Collection[VirtualDatapath]:
        """Everybody who has the VLAN."""
        return self._on_vlan.get(vlan, ()) if vlan is not None else ()

    def owner(self, vlan: int, port: int) -> VirtualDatapath | None:
        """Who has the VLAN, at that port if the VLAN may be shared."""
        return self.get(vlan) or self._ports.get((vlan, port))
