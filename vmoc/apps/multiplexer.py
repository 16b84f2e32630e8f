"""VMOC among os-ken's applications: every switch of the core appears as an os-ken Datapath.

``start`` runs os-ken's AppManager with the ``Multiplexer`` and the given
application modules. Nothing listens: the switches are the core's. Effects
come through the bridge (``Bridge.sink``), are parsed in this application's
own thread and dispatched as the standard events in the standard states;
what applications send goes back through the bridge, and the core vets it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from os_ken.base.app_manager import OSKenApp, lookup_service_brick
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub
from os_ken.ofproto import ofproto_protocol

from vmoc.apps.bridge import Bridge, Key
from vmoc.apps.manager import AppError, Manager
from vmoc.apps.mirror import MirrorDatapath, OperatorHandler
from vmoc.apps.safety import safe_for_osken
from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchVanished

__all__ = ["AppError", "MirrorDatapath", "Multiplexer", "start", "stop"]

LOG = logging.getLogger(__name__)

INTEREST: Final = 1.0
"""Seconds until an application that begins to listen to packet-ins gets them."""

_running: Manager | None = None


def start(apps: Sequence[str], bridge: Bridge) -> None:
    """Run the multiplexer and the application modules ``apps`` in native threads.

    Raises ``AppError`` (one sentence) when a module cannot be loaded or
    started, or when os-ken already runs in this process.
    """
    global _running
    manager = Manager(OperatorHandler)
    manager.launch([__name__, *apps], bridge=bridge)
    _running = manager


def stop(timeout: float = 5.0) -> bool:
    """Stop what ``start`` started; False if an application did not end within ``timeout`` seconds."""
    global _running
    manager, _running = _running, None
    return manager is None or manager.shut(timeout)


class Multiplexer(OSKenApp):
    """Turns the core's effects into os-ken's events, one thread, in order."""

    OFP_VERSIONS = [0x01, 0x04]

    def __init__(self, *args: Any, bridge: Bridge, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bridge = bridge
        self.datapaths: dict[Key, MirrorDatapath] = {}
        self.withheld = 0

    @set_ev_cls(ofp_event.EventOFPStateChange, [])
    def state_change_handler(self, ev: Any) -> None:
        """Being interested is what makes os-ken load its OpenFlow service."""

    def start(self) -> None:
        """Start the event loop and the thread that reads the bridge."""
        super().start()
        self.threads.append(hub.spawn(self._run))

    def stop(self) -> None:
        """End both threads; the mirrors die with their applications."""
        self.bridge.close()
        super().stop()

    def _run(self) -> None:
        while not self.bridge.closed:
            effect = self.bridge.receive(INTEREST)
            self.bridge.packet_ins_wanted = self._packet_ins_wanted()
            if effect is None:
                continue
            try:
                self.take(effect)
            except Exception as error:
                # Handlers of os-ken's service run in this thread; one bad message must not end it.
                LOG.warning("an os-ken handler failed on %s: %r", type(effect).__name__, error)

    def _packet_ins_wanted(self) -> bool:
        service = lookup_service_brick(ofp_event.NAME)
        return service is None or bool(service.observers.get(ofp_event.EventOFPPacketIn))

    def take(self, effect: SwitchAppeared | SwitchVanished | OperatorInput) -> None:
        """Act on one effect of the core."""
        if isinstance(effect, OperatorInput):
            datapath = self.datapaths.get(effect.key)
            if datapath is not None and not datapath.receive(effect.message):
                self.withheld += 1
        elif isinstance(effect, SwitchAppeared):
            self._appeared(effect)
        else:
            self._vanished(effect.key)

    def _appeared(self, effect: SwitchAppeared) -> None:
        self._vanished(effect.key)
        messages = (effect.features, *effect.ports)
        if effect.version not in ofproto_protocol._supported_versions:
            LOG.warning(
                "an os-ken application does not support OpenFlow %#x: switch %#x is not shown",
                effect.version,
                effect.key[0],
            )
            return
        if not all(safe_for_osken(message, effect.version) for message in messages):
            self.withheld += 1
            LOG.warning("os-ken is not shown switch %#x: it could not read its handshake", effect.key[0])
            return
        dpid = int.from_bytes(effect.features[8:16])
        if any(other.id == dpid for other in self.datapaths.values()):
            # os-ken knows datapaths by DPID alone and would close the first one.
            LOG.warning("os-ken is not shown a second switch with DPID %#x (%s)", dpid, effect.peer)
            return
        datapath = MirrorDatapath(effect.key, effect.version, _address(effect.peer), self.bridge)
        self.datapaths[effect.key] = datapath
        datapath.set_state(CONFIG_DISPATCHER)
        for message in messages:
            datapath.receive(message)
        datapath.set_state(MAIN_DISPATCHER)  # a 1.3 switch without a PORT_DESC reply gets there too

    def _vanished(self, key: Key) -> None:
        datapath = self.datapaths.pop(key, None)
        if datapath is not None:
            datapath.close()


def _address(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    return (host.strip("[]") or peer, int(port) if port.isdigit() else 0)
