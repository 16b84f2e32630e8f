"""A switch of the core as os-ken's applications see it, and the handshake it does not need."""

from __future__ import annotations

from typing import Any

from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_handler

from vmoc.apps.bridge import Bridge, Key
from vmoc.apps.datapath import TransportDatapath
from vmoc.apps.manager import SilentHandler


class MirrorDatapath(TransportDatapath):
    """One switch of the core, as os-ken's applications see it."""

    def __init__(self, key: Key, version: int, address: tuple[str, int], bridge: Bridge) -> None:
        super().__init__(address, lambda message, _: bridge.send(key, message))
        self.key = key
        self.set_version(version)


class OperatorHandler(SilentHandler):
    """os-ken's OpenFlow service; the handshake is done already, so it asks the switch nothing."""

    @set_ev_handler(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def switch_features_handler(self, ev: Any) -> None:
        """Take the DPID and, in 1.0, the ports; 1.3 ports follow as the PORT_DESC the core has collected."""
        datapath = ev.msg.datapath
        datapath.id = ev.msg.datapath_id
        if datapath.ofproto.OFP_VERSION < 0x04:
            datapath.ports = ev.msg.ports
            datapath.set_state(MAIN_DISPATCHER)
        else:
            datapath.ports = {}
