"""A controller that tries to harm its neighbours: the attacks of the demo, OpenFlow 1.3.

For every switch it tries one attack after the other, a barrier after each,
and prints one JSON line with the errors the switch's side answered:
``{"dpid": ..., "attack": ..., "errors": [[type, code], ...]}``; the last line
has ``"attack": "done"``.
"""

from __future__ import annotations

import json
import threading

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, HANDSHAKE_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub
from os_ken.ofproto import ofproto_v1_3

from mininet_scenarios.frames import BROADCAST, frame

OWN_VLAN = 101
VICTIM_VLAN = 102
MARK = b"slice a: the hostile controller"  # begins as a host's shout does, so that a leak of it is seen
STORM = 50  # frames
_SOURCE = "02:00:00:00:66:66"
_EVERYWHERE = [HANDSHAKE_DISPATCHER, CONFIG_DISPATCHER, MAIN_DISPATCHER]


class Attack:
    """One attack: a name and the messages that make it up."""

    def __init__(self, name, messages):
        self.name = name
        self.messages = messages


class Hostile(app_manager.OSKenApp):
    """Attacks every switch that connects, then keeps quiet."""

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.errors = {}
        self.barriers = {}

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER])
    def connected(self, ev):
        """A victim, its ports known."""
        self.errors[ev.datapath] = []
        self.barriers[ev.datapath] = threading.Event()
        hub.spawn(self.attack, ev.datapath)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, _EVERYWHERE)
    def error(self, ev):
        """Note what was refused."""
        self.errors.setdefault(ev.msg.datapath, []).append([ev.msg.type, ev.msg.code])

    @set_ev_cls(ofp_event.EventOFPBarrierReply, _EVERYWHERE)
    def barrier(self, ev):
        """Everything before it has been answered."""
        self.barriers[ev.msg.datapath].set()

    def attack(self, datapath):
        """Run every attack on one switch."""
        for attack in attacks(datapath):
            self.errors[datapath].clear()
            self.barriers[datapath].clear()
            for message in attack.messages:
                datapath.send_msg(message)
            datapath.send_msg(datapath.ofproto_parser.OFPBarrierRequest(datapath))
            answered = self.barriers[datapath].wait(20)
            report(datapath, attack.name, self.errors[datapath] if answered else "no barrier reply")
        report(datapath, "done", [])


def report(datapath, attack, errors):
    """Print one line of JSON."""
    print(json.dumps({"dpid": f"{datapath.id:016x}", "attack": attack, "errors": errors}), flush=True)


def attacks(datapath):
    """Every attack, the most destructive one last."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    drop = []
    flood = [parser.OFPActionOutput(ofproto.OFPP_FLOOD)]
    everywhere = [parser.OFPActionOutput(ofproto.OFPP_ALL)]
    victim = ofproto.OFPVID_PRESENT | VICTIM_VLAN

    def flow(match, actions, **more):
        instructions = [parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)] if actions else []
        return parser.OFPFlowMod(datapath, priority=0xFFFF, match=match, instructions=instructions, **more)

    def packet(vlan, actions):
        return parser.OFPPacketOut(
            datapath,
            buffer_id=ofproto.OFP_NO_BUFFER,
            in_port=ofproto.OFPP_CONTROLLER,
            actions=actions,
            data=frame(BROADCAST, _SOURCE, MARK, vlan=vlan),
        )

    into_victim = [parser.OFPActionSetField(vlan_vid=victim), *flood]
    untagged = [parser.OFPActionPopVlan(), *flood]
    own = parser.OFPMatch(vlan_vid=ofproto.OFPVID_PRESENT | OWN_VLAN)
    any_tag = parser.OFPMatch(vlan_vid=(ofproto.OFPVID_PRESENT, ofproto.OFPVID_PRESENT))
    return [
        Attack("drop every frame of VLAN 102", [flow(parser.OFPMatch(vlan_vid=victim), drop)]),
        Attack("drop every tagged frame", [flow(any_tag, drop)]),
        Attack("send every frame out of every port", [flow(parser.OFPMatch(), flood)]),
        Attack("rewrite own frames into VLAN 102", [flow(own, into_victim)]),
        Attack("take the VLAN tag off", [flow(own, untagged)]),
        Attack("send a frame into VLAN 102", [packet(VICTIM_VLAN, flood), packet(VICTIM_VLAN, everywhere)]),
        Attack("send an untagged frame", [packet(None, everywhere)]),
        Attack("storm of frames out of every port", [packet(OWN_VLAN, everywhere) for _ in range(STORM)]),
        Attack(
            "switch port 1 off",
            [
                parser.OFPPortMod(
                    datapath,
                    port_no=1,
                    hw_addr=port_address(datapath),
                    config=ofproto.OFPPC_PORT_DOWN,
                    mask=ofproto.OFPPC_PORT_DOWN,
                    advertise=0,
                )
            ],
        ),
        Attack(
            "delete every flow of every table",
            [
                parser.OFPFlowMod(
                    datapath,
                    command=ofproto.OFPFC_DELETE,
                    table_id=ofproto.OFPTT_ALL,
                    out_port=ofproto.OFPP_ANY,
                    out_group=ofproto.OFPG_ANY,
                    match=parser.OFPMatch(),
                )
            ],
        ),
    ]


def port_address(datapath):
    """The address of port 1, so that a refusal is not about that."""
    port = datapath.ports.get(1)
    return port.hw_addr if port is not None else "00:00:00:00:00:00"
