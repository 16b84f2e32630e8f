"""A learning switch for OpenFlow 1.0, the way every os-ken tutorial writes it.

Misses come by themselves in 1.0, so there is no table-miss entry; a known
destination becomes a flow on (in_port, dl_dst, dl_src).
"""

from __future__ import annotations

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.mac import haddr_to_bin
from os_ken.lib.packet import ether_types, ethernet, packet
from os_ken.ofproto import ofproto_v1_0


class SimpleSwitch(app_manager.OSKenApp):
    """Learns which port a MAC address is behind, per switch."""

    OFP_VERSIONS = [ofproto_v1_0.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mac_to_port = {}

    def add_flow(self, datapath, in_port, dst, src, actions):
        """Send frames from ``src`` to ``dst`` straight on from now on."""
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        match = parser.OFPMatch(in_port=in_port, dl_dst=haddr_to_bin(dst), dl_src=haddr_to_bin(src))
        datapath.send_msg(
            parser.OFPFlowMod(
                datapath=datapath,
                match=match,
                cookie=0,
                command=ofproto.OFPFC_ADD,
                idle_timeout=0,
                hard_timeout=0,
                priority=ofproto.OFP_DEFAULT_PRIORITY,
                flags=ofproto.OFPFF_SEND_FLOW_REM,
                actions=actions,
            )
        )

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        """Learn the source; send the frame to where the destination is, or everywhere."""
        message = ev.msg
        datapath = message.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser

        eth = packet.Packet(message.data).get_protocol(ethernet.ethernet)
        if eth.ethertype == ether_types.ETH_TYPE_LLDP:
            return
        known = self.mac_to_port.setdefault(datapath.id, {})
        self.logger.info("packet in %s %s %s %s", datapath.id, eth.src, eth.dst, message.in_port)
        known[eth.src] = message.in_port
        out_port = known.get(eth.dst, ofproto.OFPP_FLOOD)

        actions = [parser.OFPActionOutput(out_port)]
        if out_port != ofproto.OFPP_FLOOD:
            self.add_flow(datapath, message.in_port, eth.dst, eth.src, actions)
        data = message.data if message.buffer_id == ofproto.OFP_NO_BUFFER else None
        datapath.send_msg(
            parser.OFPPacketOut(
                datapath=datapath, buffer_id=message.buffer_id, in_port=message.in_port, actions=actions, data=data
            )
        )

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status(self, ev):
        """Say which port came, went or changed."""
        message = ev.msg
        ofproto = message.datapath.ofproto
        names = {ofproto.OFPPR_ADD: "added", ofproto.OFPPR_DELETE: "deleted", ofproto.OFPPR_MODIFY: "modified"}
        self.logger.info("port %s %s", names.get(message.reason, "?"), message.desc.port_no)
