"""A learning switch for OpenFlow 1.3, the way every os-ken tutorial writes it.

A table-miss entry sends unknown frames to the controller; a known destination
becomes a flow on (in_port, eth_dst, eth_src), which takes the buffered frame
along when the switch has buffered it.
"""

from __future__ import annotations

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.packet import ether_types, ethernet, packet
from os_ken.ofproto import ofproto_v1_3


class SimpleSwitch13(app_manager.OSKenApp):
    """Learns which port a MAC address is behind, per switch."""

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mac_to_port = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def switch_features(self, ev):
        """Ask for every frame no other entry matches, whole and unbuffered."""
        datapath = ev.msg.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        actions = [parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, ofproto.OFPCML_NO_BUFFER)]
        self.add_flow(datapath, 0, parser.OFPMatch(), actions)
        self.logger.info("switch %016x connected", datapath.id)

    def add_flow(self, datapath, priority, match, actions, buffer_id=None):
        """Add an entry, with the frame that caused it when the switch holds that."""
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        instructions = [parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)]
        buffered = {} if buffer_id is None else {"buffer_id": buffer_id}
        datapath.send_msg(
            parser.OFPFlowMod(datapath=datapath, priority=priority, match=match, instructions=instructions, **buffered)
        )

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, ev):
        """Learn the source; send the frame to where the destination is, or everywhere."""
        message = ev.msg
        if message.msg_len < message.total_len:
            self.logger.debug("packet truncated: only %s of %s bytes", message.msg_len, message.total_len)
        datapath = message.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        in_port = message.match["in_port"]

        eth = packet.Packet(message.data).get_protocols(ethernet.ethernet)[0]
        if eth.ethertype == ether_types.ETH_TYPE_LLDP:
            return
        known = self.mac_to_port.setdefault(datapath.id, {})
        self.logger.info("packet in %016x %s %s %s", datapath.id, eth.src, eth.dst, in_port)
        known[eth.src] = in_port
        out_port = known.get(eth.dst, ofproto.OFPP_FLOOD)

        actions = [parser.OFPActionOutput(out_port)]
        if out_port != ofproto.OFPP_FLOOD:
            match = parser.OFPMatch(in_port=in_port, eth_dst=eth.dst, eth_src=eth.src)
            if message.buffer_id != ofproto.OFP_NO_BUFFER:
                self.add_flow(datapath, 1, match, actions, message.buffer_id)
                return
            self.add_flow(datapath, 1, match, actions)
        data = message.data if message.buffer_id == ofproto.OFP_NO_BUFFER else None
        datapath.send_msg(
            parser.OFPPacketOut(
                datapath=datapath, buffer_id=message.buffer_id, in_port=in_port, actions=actions, data=data
            )
        )

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status(self, ev):
        """Say which port came, went or changed."""
        message = ev.msg
        ofproto = message.datapath.ofproto
        names = {ofproto.OFPPR_ADD: "added", ofproto.OFPPR_DELETE: "deleted", ofproto.OFPPR_MODIFY: "modified"}
        self.logger.info("port %s %s", names.get(message.reason, "?"), message.desc.port_no)
