"""All links of a mux: one per virtual datapath and controller, and no DPID shown twice to one controller."""

from __future__ import annotations

from functools import partial
from typing import Final

from vmoc.events import Kind
from vmoc.model import format_dpid
from vmoc.mux.datapath import State, VirtualDatapath
from vmoc.mux.hub import Hub
from vmoc.mux.link import Link, LinkState
from vmoc.mux.presented import Presented
from vmoc.mux.switch import Switch

SWAP: Final = 10.0
"""Seconds a controller that was replaced stays connected at most, while the one in its place is being connected."""


class Links:
    """Makes and drops them as segments, controllers and switches come and go."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._links: dict[int, Link] = {}
        self._presented = Presented()
        self.last = 0
        """The highest number given so far."""

    def get(self, number: int) -> Link | None:
        """The link of that number, while it exists."""
        return self._links.get(number)

    def sync(self, datapath: VirtualDatapath, now: float) -> None:
        """Its links are those of the segment, started if the datapath is ready.

        A connected controller whose place another one takes stays until that one is connected: nothing of the slice
        is ever without a controller for it.
        """
        endpoints = datapath.segment.controllers
        if not endpoints and self._hub.default_controller is not None:
            endpoints = (self._hub.default_controller,)
        endpoints = tuple(dict.fromkeys(endpoints))
        present = {link.endpoint: link for link in datapath.links.values()}
        replaced = any(endpoint not in present for endpoint in endpoints)
        for endpoint, link in present.items():
            if endpoint in endpoints:
                link.leaves = None
            elif link.state is not LinkState.ACTIVE or not (replaced or link.leaves):
                self._drop_link(link, now)
            elif link.leaves is None:
                link.leaves = now + SWAP
                self._hub.clock.at(link.leaves, partial(self._dismiss, datapath))
        for endpoint in endpoints:
            if endpoint not in present:
                self.last += 1
                link = Link(self._hub, self.last, datapath, endpoint, now)
                link.on_active = partial(self._dismiss, datapath, everyone=True)
                datapath.links[link.number] = self._links[link.number] = link
        if datapath.state in (State.READY, State.COLLIDING):
            for link in list(datapath.links.values()):
                self._start(link, now)
            self._settle_collisions(datapath, now)

    def _dismiss(self, datapath: VirtualDatapath, now: float, *, everyone: bool = False) -> None:
        """Who was replaced goes: the one in its place is connected (``everyone``), or has been waited for."""
        over = [link for link in datapath.links.values() if link.leaves and (everyone or link.leaves <= now)]
        for link in over:
            self._drop_link(link, now)
        if over and datapath.state in (State.READY, State.COLLIDING):
            self._settle_collisions(datapath, now)

    def _start(self, link: Link, now: float) -> None:
        holder = self._presented.claim(link)
        if holder is None:
            link.start(now)
        elif link.state is not LinkState.HELD:
            datapath, other = link.datapath, holder.datapath
            text = (
                f"{link.endpoint} already has {format_dpid(datapath.dpid)}: VLAN {other.vlan} of "
                f"{format_dpid(other.switch.dpid)}; this one is held down"
            )
            link.hold(text, now)
            self._hub.report(
                Kind.DPID_COLLISION,
                slice=datapath.owner.id,
                vlan=datapath.vlan,
                dpid=datapath.switch.dpid,
                controller=str(link.endpoint),
                message=text,
            )

    def _settle_collisions(self, datapath: VirtualDatapath, now: float) -> None:
        held = [link for link in datapath.links.values() if link.state is LinkState.HELD]
        if held and len(held) == len(datapath.links):
            datapath.enter(State.COLLIDING, now, "dpid-collision", held[0].last_error)
        else:
            datapath.enter(State.READY, now)

    def _release(self, link: Link, now: float) -> None:
        """Give up the DPID a link shows; one that waited for it starts."""
        successor = self._presented.release(link)
        if successor is not None:
            successor.start(now)
            self._settle_collisions(successor.datapath, now)

    def release_all(self, switch: Switch, now: float) -> None:
        """The switch is gone, and with it every DPID shown for it."""
        for datapath in switch.datapaths.values():
            for link in datapath.links.values():
                self._release(link, now)

    def drop_all(self, datapath: VirtualDatapath, now: float) -> None:
        """The datapath is gone, or nobody waits for it any more."""
        for link in list(datapath.links.values()):
            self._drop_link(link, now)

    def _drop_link(self, link: Link, now: float) -> None:
        session = link.session
        if session is not None:
            session.detach(now)
            self._hub.close(session.cid)
        link.stop(now)
        link.forget()
        link.datapath.links.pop(link.number, None)
        self._links.pop(link.number, None)
        self._release(link, now)
