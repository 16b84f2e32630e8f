"""Finds the links between switches: untagged LLDP out of every port, and who receives it.

An os-ken application like any other, loaded by ``vmoc run --app
vmoc.apps.discovery``. It uses untagged frames only, which belong to no slice.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

import networkx as nx
from os_ken.base.app_manager import OSKenApp, lookup_service_brick
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub

from vmoc.apps import lldp
from vmoc.topology import Link, PortRef, Topology

LOG = logging.getLogger(__name__)

NAME: Final = "vmoc.apps.discovery"
INTERVAL: Final = 5.0
"""Seconds between two rounds of frames."""
LIFETIME: Final = 3 * INTERVAL
"""Seconds a link stays without being seen."""
EARLY: Final = 0.5
"""Seconds a change waits for company before it starts a round of its own."""
FRESH: Final = 2 * INTERVAL
"""Seconds after which a frame of ours is a replay."""
FLOW_ROUNDS: Final = 12
"""The flow that brings LLDP here is renewed every so many rounds, should somebody have deleted it."""

_OF10: Final = 1
_PRIORITY: Final = 0x8000
_OFP_VLAN_NONE: Final = 0xFFFF
_MAX_PORT: Final = {1: 0xFF00, 4: 0xFFFFFF00}


def graph() -> nx.MultiDiGraph[int] | None:
    """The links known now, as a frozen copy (see ``vmoc.topology``); None when discovery does not run."""
    app = lookup_service_brick(NAME)
    return app.graph() if app is not None else None


class Discovery(OSKenApp):
    """Sends, receives and remembers. The lock guards everything the sending thread shares with the event thread."""

    OFP_VERSIONS = [0x01, 0x04]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = NAME
        self._secret = secrets.token_bytes(32)
        self._rounds = itertools.count(1)
        self._lock = threading.Lock()
        self._topology = Topology(LIFETIME)
        self._datapaths: dict[int, Any] = {}
        self._changed = threading.Event()
        self._ending = threading.Event()
        self.rejected = 0

    def start(self) -> None:
        """Start the event loop and the thread that sends."""
        super().start()
        self.threads.append(hub.spawn(self._run))

    def stop(self) -> None:
        """End both threads."""
        self._ending.set()
        self._changed.set()
        super().stop()

    def graph(self) -> nx.MultiDiGraph[int]:
        """The links known now, as a frozen copy."""
        with self._lock:
            return self._topology.snapshot()

    # ---- sending ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # Not hub.Event: on native threads its wait() ignores the timeout.
        while not self._ending.is_set():
            if self._changed.wait(INTERVAL):
                self._ending.wait(EARLY)
                self._changed.clear()
            self.send_round()

    def send_round(self) -> None:
        """Forget old links, then one frame out of every port of every switch."""
        with self._lock:
            self._log_gone(self._topology.expire(time.monotonic()), "not seen any more")
            datapaths = list(self._datapaths.values())
        renew = next(self._rounds) % FLOW_ROUNDS == 0
        for datapath in datapaths:
            if renew:
                self._install(datapath)
            self._send(datapath, list(datapath.ports.values()))

    def _send(self, datapath: Any, ports: Iterable[Any]) -> None:
        parser, ofp = datapath.ofproto_parser, datapath.ofproto
        in_port = ofp.OFPP_NONE if ofp.OFP_VERSION == _OF10 else ofp.OFPP_CONTROLLER
        for port in ports:
            if not _usable(datapath, port) or self._ending.is_set():
                continue
            where = PortRef(datapath.id, port.port_no)
            hw_addr = bytes.fromhex(port.hw_addr.replace(":", ""))
            frame = lldp.build(where, hw_addr, _stamp(), int(LIFETIME), self._secret)
            datapath.send_msg(
                parser.OFPPacketOut(
                    datapath,
                    buffer_id=0xFFFFFFFF,
                    in_port=in_port,
                    actions=[parser.OFPActionOutput(port.port_no)],
                    data=frame,
                )
            )

    def _install(self, datapath: Any) -> None:
        """Bring untagged LLDP here, also on a switch that sends nothing by itself."""
        parser, ofp = datapath.ofproto_parser, datapath.ofproto
        actions = [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, 0xFFFF)]
        if ofp.OFP_VERSION == _OF10:
            match = parser.OFPMatch(dl_vlan=_OFP_VLAN_NONE, dl_type=lldp.ETHERTYPE)
            flow = parser.OFPFlowMod(datapath, match, 0, ofp.OFPFC_ADD, priority=_PRIORITY, actions=actions)
        else:
            match = parser.OFPMatch(vlan_vid=ofp.OFPVID_NONE, eth_type=lldp.ETHERTYPE)
            instructions = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)]
            flow = parser.OFPFlowMod(datapath, match=match, priority=_PRIORITY, instructions=instructions)
        datapath.send_msg(flow)

    # ---- events -------------------------------------------------------------------------------------------------

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_change_handler(self, ev: Any) -> None:
        """A switch came, which starts a round, or went."""
        datapath = ev.datapath
        if getattr(datapath, "key", (0, 0))[1]:
            return  # a per-VLAN instance of a switch: its untagged frames are a slice's
        if ev.state != MAIN_DISPATCHER:
            with self._lock:
                known = self._datapaths.get(datapath.id)
                if known is not None and known is datapath:
                    del self._datapaths[datapath.id]
                    self._log_gone(self._topology.switch_down(datapath.id), "switch gone")
            return
        ports = list(datapath.ports.values())
        with self._lock:
            self._datapaths[datapath.id] = datapath
            names = {port.port_no: _name(port) for port in ports if _usable(datapath, port)}
            self._log_gone(self._topology.switch_up(datapath.id, names), "switch reconnected")
        self._install(datapath)
        self._changed.set()

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status_handler(self, ev: Any) -> None:
        """A port that comes up starts a round; one that goes down takes its links along."""
        message = ev.msg
        datapath, port = message.datapath, message.desc
        where = PortRef(datapath.id, port.port_no)
        alive = message.reason != datapath.ofproto.OFPPR_DELETE and _usable(datapath, port)
        with self._lock:
            if alive:
                self._topology.port_up(where, _name(port))
            else:
                self._log_gone(self._topology.port_gone(where), "port down")
        if alive:
            self._changed.set()

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in_handler(self, ev: Any) -> None:
        """Learn a link from a frame of ours; others' LLDP and all else is none of our business."""
        message = ev.msg
        if not lldp.is_lldp(message.data):
            return
        found = lldp.read(message.data, self._secret)
        if found is None or not 0 <= _stamp() - found[1] <= FRESH * 1000:
            self.rejected += 1
            return
        datapath = message.datapath
        in_port = message.in_port if datapath.ofproto.OFP_VERSION == _OF10 else message.match["in_port"]
        link = Link(found[0], PortRef(datapath.id, in_port))
        with self._lock:
            if self._topology.link_seen(link, time.monotonic()):
                LOG.info("link up: %s", link)

    def _log_gone(self, links: Iterable[Link], why: str) -> None:
        for link in links:
            LOG.info("link down: %s (%s)", link, why)


def _stamp() -> int:
    """Milliseconds of this process's clock; the secret is this process's too."""
    return int(time.monotonic() * 1000)


def _usable(datapath: Any, port: Any) -> bool:
    ofp = datapath.ofproto
    down = port.config & ofp.OFPPC_PORT_DOWN or port.state & ofp.OFPPS_LINK_DOWN
    return port.port_no < _MAX_PORT[ofp.OFP_VERSION] and not down


def _name(port: Any) -> str:
    return bytes(port.name).rstrip(b"\0").decode(errors="replace")
