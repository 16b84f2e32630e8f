"""An os-ken application as a third party writes one: knows nothing of VMOC."""

from __future__ import annotations

from typing import Any

from os_ken.base import app_manager
from os_ken.controller import dpset, ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_0, ofproto_v1_3
from os_ken.topology import event as topology_event


class Sample(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_0.OFP_VERSION, ofproto_v1_3.OFP_VERSION]
    _CONTEXTS = {"dpset": dpset.DPSet}
    seen: list[tuple[str, Any]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dpset = kwargs["dpset"]
        Sample.seen = []

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def features(self, ev: Any) -> None:
        self.seen.append(("features", ev.msg.datapath_id))

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state(self, ev: Any) -> None:
        self.seen.append((ev.state, ev.datapath.id))
        if ev.state == MAIN_DISPATCHER:
            parser = ev.datapath.ofproto_parser
            ev.datapath.send_msg(parser.OFPDescStatsRequest(ev.datapath, 0))

    @set_ev_cls(ofp_event.EventOFPDescStatsReply, MAIN_DISPATCHER)
    def description(self, ev: Any) -> None:
        self.seen.append(("desc", (ev.msg.xid, ev.msg.body.mfr_desc)))

    @set_ev_cls(ofp_event.EventOFPPortDescStatsReply, CONFIG_DISPATCHER)
    def ports(self, ev: Any) -> None:
        self.seen.append(("port-desc", [port.port_no for port in ev.msg.body]))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev: Any) -> None:
        self.seen.append(("packet-in", bytes(ev.msg.data)))

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def error(self, ev: Any) -> None:
        self.seen.append(("error", (ev.msg.xid, ev.msg.type, ev.msg.code)))

    @set_ev_cls(dpset.EventDP)
    def datapath(self, ev: Any) -> None:
        self.seen.append(("dp", (ev.dp.id, ev.enter, sorted(port.port_no for port in ev.ports))))

    @set_ev_cls(dpset.EventPortDelete)
    def port_delete(self, ev: Any) -> None:
        self.seen.append(("dpset-port-delete", ev.port.port_no))

    @set_ev_cls(topology_event.EventSwitchEnter)
    def switch_enter(self, ev: Any) -> None:
        self.seen.append(("enter", (ev.switch.dp.id, sorted(port.port_no for port in ev.switch.ports))))

    @set_ev_cls(topology_event.EventSwitchLeave)
    def switch_leave(self, ev: Any) -> None:
        self.seen.append(("leave", ev.switch.dp.id))

    @set_ev_cls(topology_event.EventPortAdd)
    def port_add(self, ev: Any) -> None:
        self.seen.append(("topology-port-add", ev.port.port_no))

    @set_ev_cls(topology_event.EventHostAdd)
    def host(self, ev: Any) -> None:
        self.seen.append(("host", (ev.host.mac, ev.host.port.port_no)))
