"""The core as typed values (``vmoc.status``), read a little at a time.

Every call does a bounded amount of work, so that nobody who looks holds up
those who forward: what may be long is asked for in pieces, under a key, a
range of segments or the number of a link. ``epoch`` is added to the core's
own times and makes them seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final

from vmoc.model import Segment, Slice, format_dpid
from vmoc.mux import flowlist
from vmoc.mux.datapath import State, VirtualDatapath, presented_dpid
from vmoc.mux.flowdump import Dump, FlowDumps, Taker
from vmoc.mux.flowlist import Source
from vmoc.mux.link import Link, LinkState
from vmoc.openflow import names
from vmoc.openflow.features import PORT_DOWN, Port
from vmoc.openflow.header import OF10
from vmoc.registry import Placed, Snapshot
from vmoc.status import (
    Connection,
    DatapathStatus,
    Lifecycle,
    PortStatus,
    SwitchStatus,
    SwitchSummary,
    Traffic,
    Usage,
)

if TYPE_CHECKING:
    from vmoc.mux.links import Links
    from vmoc.mux.switch import Switch

Key = tuple[int, int]
"""DPID, native VLAN or 0."""
_LINK_DOWN: Final = 1
_SPEEDS: Final = Struct("!II")


class View:
    """Reads one mux; belongs to the loop's thread."""

    def __init__(self, switches: Mapping[Key, Switch], links: Links, snapshot: Callable[[], Snapshot]) -> None:
        self._switches = switches
        self._links = links
        self._snapshot = snapshot
        self._dumps = FlowDumps()

    # -- switches ----------------------------------------------------------------------------------

    def switch_keys(self) -> list[Key]:
        """Every switch known, also those away; ascending."""
        return sorted(self._switches)

    def switches(self, keys: Iterable[Key], epoch: float) -> list[SwitchSummary]:
        """Those of ``keys`` that are known."""
        return [_summary(switch, epoch) for key in keys if (switch := self._switches.get(key)) is not None]

    def switch(self, key: Key, epoch: float) -> SwitchStatus | None:
        """One switch with its ports."""
        switch = self._switches.get(key)
        if switch is None:
            return None
        ports = tuple(_port(port) for _, port in sorted(switch.ports.items()))
        vlans = tuple(sorted({datapath.vlan for datapath in switch.datapaths.values()}))
        return SwitchStatus(_summary(switch, epoch), ports, vlans)

    def connection(self, key: Key) -> int | None:
        """The edge's number for a switch's connection; None while it has none."""
        switch = self._switches.get(key)
        return switch.session.cid if switch is not None and switch.session is not None else None

    def datapaths(self, key: Key, vlans: Iterable[int], epoch: float) -> list[DatapathStatus]:
        """The virtual datapaths of ``vlans`` on a switch."""
        switch = self._switches.get(key)
        if switch is None:
            return []
        return [_status(datapath, epoch) for vlan in vlans for datapath in switch.datapaths.on_vlan(vlan)]

    def flow_sources(self, key: Key, vlans: Iterable[int]) -> list[Source]:
        """What is known of the flows of ``vlans`` on a switch."""
        switch = self._switches.get(key)
        return flowlist.sources(switch, vlans) if switch is not None else []

    def dump_flows(self, key: Key, vlan: int | None, done: Taker, now: float) -> None:
        """Ask a switch for its flows (of one VLAN); ``done`` is called once, or never if the switch goes meanwhile."""
        switch = self._switches.get(key)
        if switch is None:
            done(Dump(1, problem="the switch has never been connected"))
        else:
            self._dumps.ask(switch, vlan, done, now)

    # -- slices ------------------------------------------------------------------------------------

    def slice(self, name: str) -> Slice | None:
        """The slice as the core has it."""
        return self._snapshot().slices.get(name)

    def slices(self) -> Mapping[str, Slice]:
        """Every slice by its id, disabled ones included: immutable, and good on any thread."""
        return self._snapshot().slices

    def placed(self, vlan: int | None, dpid: int | None) -> list[Placed]:
        """Segments of a VLAN, or those on a switch, of enabled slices; nothing when neither is given."""
        if vlan is not None:
            found = self._snapshot().segments_on_vlan(vlan)
            return [one for one in found if dpid is None or one[1].attachment(dpid) is not None]
        return list(self._snapshot().segments_on(dpid)) if dpid is not None else []

    def places(self, segment: Segment) -> list[Key]:
        """Where a segment is or ought to be: the switches it names, or every one that is known."""
        if segment.attachments is None:
            return [key for key in self._switches if key[1] in (0, segment.vlan)]
        found: list[Key] = []
        for attachment in segment.attachments:
            native = (attachment.dpid, segment.vlan)
            plain = (attachment.dpid, 0)
            if native in self._switches:
                found.append(native)
            if plain in self._switches or native not in self._switches:
                found.append(plain)
        return found

    def statuses(self, owner: Slice, segment: Segment, epoch: float, places: Iterable[Key]) -> list[DatapathStatus]:
        """The segment at each of ``places``; where it has no virtual datapath it says why."""
        found = []
        for key in places:
            switch = self._switches.get(key)
            there = switch.datapaths.on_vlan(segment.vlan) if switch is not None else ()
            datapath = next((one for one in there if one.owner.id == owner.id), None)
            if datapath is not None:
                found.append(_status(datapath, epoch))
            elif segment.attachment(key[0]) is not None:
                found.append(_absent(owner, segment, key, switch, epoch))
        return found

    # -- links -------------------------------------------------------------------------------------

    def connections(
        self, after: int, budget: int, epoch: float, dpid: int | None = None, state: str | None = None
    ) -> tuple[list[Connection], int | None]:
        """Connections numbered above ``after``, of at most ``budget`` numbers; and where to go on, None at the end."""
        last = self._links.last
        end = min(last, after + budget)
        found = []
        for number in range(after + 1, end + 1):
            link = self._links.get(number)
            if (
                link is not None
                and dpid in (None, link.datapath.switch.dpid)
                and (state is None or link.state.value == state)
            ):
                found.append(_connection(link, epoch))
        return found, end if end < last else None

    # -- everything --------------------------------------------------------------------------------

    def describe(self) -> dict[str, object]:
        """All of it at once, as plain values: for debugging, not for a service that runs."""
        return {
            "switches": [_describe_switch(switch) for switch in self._switches.values()],
            "slices": sorted(self._snapshot().slices),
        }


def _port(port: Port) -> PortStatus:
    # curr_speed and max_speed are the last two words of a 1.3 description (7.2.1).
    speeds = _SPEEDS.unpack_from(port.raw, 56) if port.version != OF10 else (0, 0)
    down, link_down = bool(port.config & PORT_DOWN), bool(port.state & _LINK_DOWN)
    return PortStatus(port.number, port.name, port.hw_addr.hex(":"), port.is_local, down, link_down, *speeds)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _summary(switch: Switch, epoch: float) -> SwitchSummary:
    session = switch.session
    manufacturer, hardware, software, serial, description = switch.description
    return SwitchSummary(
        dpid=switch.dpid,
        native_vlan=switch.native_vlan,
        connected=session is not None,
        up=switch.up,
        version=names.version_name(switch.version) if switch.features else None,
        peer=session.peer if session is not None else None,
        since=switch.since + epoch if switch.since else None,
        last_seen=session.heard + epoch if session is not None else switch.heard + epoch if switch.heard else None,
        ports=len(switch.ports),
        datapaths=len(switch.datapaths),
        in_flight=len(switch.pending),
        tables=switch.features.n_tables if switch.features else 0,
        manufacturer=_text(manufacturer),
        hardware=_text(hardware),
        software=_text(software),
        serial_number=_text(serial),
        description=_text(description),
        flows=sum(len(datapath.flows.by_identity) for datapath in switch.datapaths.values()),
        ailing=sum(
            datapath.state is State.TAINTED or not (switch.up or datapath.state is State.GONE)
            for datapath in switch.datapaths.values()
        ),
    )


def lifecycle_of(datapath: VirtualDatapath) -> tuple[Lifecycle, str]:
    """The lifecycle of a virtual datapath, and the reason where it is not as it should be."""
    state = datapath.state
    if state is State.GONE:
        return Lifecycle.DRAINING, "its flows are being deleted"
    if state is State.PENDING:
        away = datapath.switch.session is None
        return Lifecycle.PENDING, "the switch is not connected" if away else "the switch is being looked through"
    if state is State.FLUSHING:
        return Lifecycle.FLUSHING, "the VLAN is being proven empty"
    if state is State.TAINTED:
        return Lifecycle.TAINTED, "old flows of the VLAN could not be removed"
    links = list(datapath.links.values())
    if any(link.state is LinkState.ACTIVE for link in links):
        return Lifecycle.ACTIVE, ""
    if state is State.COLLIDING:
        return Lifecycle.COLLIDING, links[0].last_error if links else "another datapath shows its DPID"
    if not links:
        return Lifecycle.FAILED, "it has no controller, and there is no default one"
    failed = [link for link in links if link.last_error]
    if len(failed) == len(links):
        return Lifecycle.FAILED, f"{failed[0].endpoint}: {failed[0].last_error}"
    return Lifecycle.CONNECTING, ""


def _status(datapath: VirtualDatapath, epoch: float) -> DatapathStatus:
    lifecycle, reason = lifecycle_of(datapath)
    since = datapath.since
    if lifecycle is Lifecycle.ACTIVE:
        since = min(link.since for link in datapath.links.values() if link.state is LinkState.ACTIVE)
    return DatapathStatus(
        slice=datapath.owner.id,
        vlan=datapath.vlan,
        dpid=datapath.switch.dpid,
        native_vlan=datapath.switch.native_vlan,
        presented_dpid=datapath.dpid,
        lifecycle=lifecycle,
        state=datapath.state.value,
        reason=reason,
        since=since + epoch,
        ports=tuple(sorted(datapath.grant.ports)),
        flows=Usage(len(datapath.flows), datapath.flows.quota),
        groups=Usage(len(datapath.groups.ids), datapath.groups.quota),
        meters=Usage(len(datapath.meters.ids), datapath.meters.quota),
        traffic=Traffic(datapath.packet_ins_in, datapath.flow_mods_in, datapath.packet_outs_in, datapath.refusals),
        controllers=tuple(_connection(link, epoch) for link in datapath.links.values()),
    )


def _absent(owner: Slice, segment: Segment, key: Key, switch: Switch | None, epoch: float) -> DatapathStatus:
    if not owner.enabled:
        reason = "the slice is disabled"
    elif switch is None:
        reason = "the switch has never been connected"
    elif switch.session is None:
        reason = "the switch is not connected"
    elif (segment.vlan, owner.id) in switch.held_out:
        reason = "another slice has the VLAN here, or all slots of the switch are in use"
    else:
        reason = "the switch is being looked through"
    return DatapathStatus(
        slice=owner.id,
        vlan=segment.vlan,
        dpid=key[0],
        native_vlan=key[1],
        presented_dpid=presented_dpid(segment, key[0]),
        lifecycle=Lifecycle.PENDING if owner.enabled else Lifecycle.DISABLED,
        state="absent",
        reason=reason,
        since=switch.since + epoch if switch is not None and switch.since else None,
        flows=Usage(0, owner.limits.max_flows),
        groups=Usage(0, owner.limits.max_groups),
        meters=Usage(0, owner.limits.max_meters),
    )


def _connection(link: Link, epoch: float) -> Connection:
    datapath, session = link.datapath, link.session
    heard = session.heard if session is not None else link.heard
    retry = link.next_retry
    return Connection(
        number=link.number,
        slice=datapath.owner.id,
        vlan=datapath.vlan,
        dpid=datapath.switch.dpid,
        native_vlan=datapath.switch.native_vlan,
        presented_dpid=datapath.dpid,
        endpoint=str(link.endpoint),
        state=link.state.value,
        since=link.since + epoch,
        last_seen=heard + epoch if heard is not None else None,
        last_error=link.last_error,
        next_retry=retry + epoch if retry is not None else None,
        failures=link.failures,
        version=names.version_name(session.version) if session is not None and session.greeted else None,
        is_default=not datapath.segment.controllers,
        role=session.role.name.lower() if session is not None and session.greeted else None,
        dropped=link.dropped + datapath.packet_ins_over,
    )


# -- for debugging ---------------------------------------------------------------------------------


def _describe_switch(switch: Switch) -> dict[str, object]:
    return {
        "dpid": format_dpid(switch.dpid),
        "native_vlan": switch.native_vlan or None,
        "connected": switch.session is not None,
        "up": switch.up,
        "since": switch.since,
        "version": names.version_name(switch.version) if switch.features else None,
        "pipeline": switch.pipeline.name,
        "vlan_port_sharing": switch.pipeline.sharing,
        "pipeline_note": switch.pipeline.why_not or None,
        "held_out": [{"slice": name, "vlan": vlan} for vlan, name in sorted(switch.held_out)],
        "peer": switch.session.peer if switch.session else None,
        "in_flight": len(switch.pending),
        "ports": [{"number": port.number, "name": port.name} for port in switch.ports.values()],
        "datapaths": [_describe_datapath(datapath) for datapath in switch.datapaths.values()],
    }


def _describe_datapath(datapath: VirtualDatapath) -> dict[str, object]:
    return {
        "slice": datapath.owner.id,
        "vlan": datapath.vlan,
        "state": str(datapath.state),
        "since": datapath.since,
        "presented_dpid": format_dpid(datapath.dpid),
        "ports": sorted(datapath.grant.ports),
        "slot": datapath.slot or None,
        "flows": len(datapath.flows),
        "flow_quota": datapath.flows.quota,
        "controllers": [
            {
                "endpoint": str(link.endpoint),
                "state": str(link.state),
                "since": link.since,
                "last_error": link.last_error,
                "next_retry": link.next_retry,
            }
            for link in datapath.links.values()
        ],
    }
