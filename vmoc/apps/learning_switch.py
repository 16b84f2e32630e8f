"""The default controller: a learning switch per datapath, OpenFlow 1.0 and 1.3.

Behind VMOC each VLAN of each switch is a datapath of its own, so nothing is
ever shared between slices. Tags are matched as they are seen and never
changed. Links that form a loop are found, and blocked, as soon as a frame goes
round (``loop_guard``).
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from os_ken.base.app_manager import OSKenApp
from os_ken.controller import event, ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub

from vmoc.apps.loop_guard import LoopGuard
from vmoc.apps.mac_table import UNTAGGED, MacTable, Station
from vmoc.model import format_dpid

LOG = logging.getLogger(__name__)

APPLICATION: Final = "vmoc.apps.learning_switch"  # not __name__, which may be __main__
IDLE_TIMEOUT: Final = 60
"""Seconds after which an unused flow goes."""
TICK: Final = 0.5
"""Seconds between two looks at what is due."""

_PRIORITY: Final = 100
_OF10: Final = 1
_NO_BUFFER: Final = 0xFFFFFFFF
_OFPVID_PRESENT: Final = 0x1000
_OFP_VLAN_NONE: Final = 0xFFFF  # OF1.0 5.2.3: no tag
_MAX_PORT: Final = {1: 0xFF00, 4: 0xFFFFFF00}  # and no reserved one
_ERRORS_LOGGED: Final = 5  # per datapath; the rest is counted


class EventTick(event.EventBase):
    """Time has passed."""


@dataclass(slots=True)
class _State:
    """What is known of one datapath."""

    number: int
    table: MacTable = field(default_factory=MacTable)
    errors: int = 0


class LearningSwitch(OSKenApp):
    """MAC learning on every datapath that connects; flows match port, VLAN and both addresses exactly."""

    OFP_VERSIONS = [0x01, 0x04]

    def __init__(self, *args: Any, idle_timeout: int = IDLE_TIMEOUT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle_timeout = idle_timeout
        # By object, not by DPID: a datapath that reconnects may be here before its old connection is gone.
        self._states: dict[Any, _State] = {}
        self._numbers = itertools.count(1)
        self._by_number: dict[int, Any] = {}
        self._guard = LoopGuard()
        self._ending = threading.Event()

    def start(self) -> None:
        """Start the event loop and the clock."""
        super().start()
        self.threads.append(hub.spawn(self._run_clock))

    def stop(self) -> None:
        """End both."""
        self._ending.set()
        super().stop()

    def _run_clock(self) -> None:
        while not self._ending.wait(TICK):
            self.send_event(self.name, EventTick())

    # ---- events -------------------------------------------------------------------------------------------------

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_change_handler(self, ev: Any) -> None:
        """A datapath came or went."""
        datapath = ev.datapath
        if ev.state == MAIN_DISPATCHER:
            LOG.info("datapath %s connected, OpenFlow %#04x", format_dpid(datapath.id), datapath.ofproto.OFP_VERSION)
            state = self._states[datapath] = _State(next(self._numbers))
            self._by_number[state.number] = datapath
            self._guard.join(state.number, {port.port_no: "" for port in datapath.ports.values()})
            self._start_afresh(datapath)
        elif (gone := self._states.pop(datapath, None)) is not None:
            LOG.info("datapath %s is gone", format_dpid(datapath.id))
            del self._by_number[gone.number]
            self._learn_anew(self._guard.leave(gone.number))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in_handler(self, ev: Any) -> None:
        """Learn from a packet, forward it, and let the switch forward the next ones."""
        message = ev.msg
        datapath = message.datapath
        state = self._states.get(datapath)
        if state is None:
            return
        in_port = message.in_port if datapath.ofproto.OFP_VERSION == _OF10 else message.match["in_port"]
        now = time.monotonic()
        if self._guard.ends(state.number, in_port, message.data, now):
            self._free(message, in_port)
            return
        verdict = state.table.frame(in_port, message.data, now)
        for station in verdict.stale:
            self._delete_station(datapath, station)
        if verdict.flow is not None:
            self._add_flow(datapath, in_port, *verdict.flow, None if verdict.drop else verdict.port)
        if not verdict.drop:
            self._forward(message, in_port, verdict.port)
        else:
            self._free(message, in_port)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def port_status_handler(self, ev: Any) -> None:
        """A port that went down or away takes its stations and their flows with it."""
        message = ev.msg
        datapath, port = message.datapath, message.desc
        state = self._states.get(datapath)
        if state is None:
            return
        ofp = datapath.ofproto
        gone = message.reason == ofp.OFPPR_DELETE
        if not (gone or not _carries(datapath, port)):
            self._guard.port_up(state.number, port.port_no, "", time.monotonic())
            return
        self._learn_anew(self._guard.port_down(state.number, port.port_no))
        if not state.table.forget_port(port.port_no):
            return
        if gone:
            # A match on a port that does not exist any more may be refused; starting afresh cannot be.
            self._start_afresh(datapath)
            return
        self._delete(datapath, {"in_port": port.port_no})
        self._delete(datapath, {}, out_port=port.port_no)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def error_handler(self, ev: Any) -> None:
        """Say what the switch refused, a few times per connection."""
        message = ev.msg
        state = self._states.get(message.datapath)
        if state is None:
            return
        state.errors += 1
        if state.errors <= _ERRORS_LOGGED:
            LOG.warning(
                "datapath %s refused a message: error type %d code %d%s",
                *(format_dpid(message.datapath.id), message.type, getattr(message, "code", 0)),
                "; further errors are not logged" if state.errors == _ERRORS_LOGGED else "",
            )

    @set_ev_cls(EventTick)
    def tick_handler(self, _: EventTick) -> None:
        """Probe where a loop was noticed, and block what closes it."""
        now = time.monotonic()
        due, changed = self._guard.tick(now)
        self._learn_anew(changed)
        for number, vlan in due:
            datapath = self._by_number[number]
            for port in datapath.ports.values():
                if _carries(datapath, port):
                    hw_addr = bytes.fromhex(port.hw_addr.replace(":", ""))
                    frame = self._guard.probe(number, port.port_no, hw_addr, vlan, now)
                    output = [datapath.ofproto_parser.OFPActionOutput(port.port_no)]
                    self._packet_out(datapath, _NO_BUFFER, _nowhere(datapath), output, frame)

    def _learn_anew(self, numbers: Iterable[int]) -> None:
        """Frames may take other ways now: forget the stations and delete the flows of these datapaths."""
        for number in numbers:
            datapath = self._by_number.get(number)
            if datapath is not None:
                blocked = sorted(self._guard.blocked(number))
                LOG.info("datapath %s: ports blocked by the spanning tree: %s", format_dpid(datapath.id), blocked)
                self._states[datapath].table = MacTable()
                self._start_afresh(datapath)

    # ---- messages -----------------------------------------------------------------------------------------------

    def _start_afresh(self, datapath: Any) -> None:
        """No flow but, in 1.3, the table-miss entry; 1.0 sends what no flow matches without being told."""
        parser, ofp = datapath.ofproto_parser, datapath.ofproto
        self._delete(datapath, {})
        datapath.send_msg(parser.OFPBarrierRequest(datapath))
        if ofp.OFP_VERSION != _OF10:
            actions = [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)]
            instructions = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)]
            datapath.send_msg(
                parser.OFPFlowMod(datapath, priority=0, match=parser.OFPMatch(), instructions=instructions)
            )

    def _add_flow(self, datapath: Any, in_port: int, source: Station, target: Station, port: int | None) -> None:
        """``port`` None installs a flow that drops."""
        parser, ofp = datapath.ofproto_parser, datapath.ofproto
        match = _match(datapath, in_port=in_port, vlan=source.vlan, source=source.mac, target=target.mac)
        actions = [] if port is None else [parser.OFPActionOutput(port)]
        common = {"idle_timeout": self._idle_timeout, "priority": _PRIORITY}
        if ofp.OFP_VERSION == _OF10:
            flow = parser.OFPFlowMod(datapath, match, 0, ofp.OFPFC_ADD, hard_timeout=0, actions=actions, **common)
        else:
            instructions = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)] if actions else []
            flow = parser.OFPFlowMod(datapath, match=match, instructions=instructions, **common)
        datapath.send_msg(flow)

    def _delete_station(self, datapath: Any, station: Station) -> None:
        self._delete(datapath, {"vlan": station.vlan, "source": station.mac})
        self._delete(datapath, {"vlan": station.vlan, "target": station.mac})

    def _delete(self, datapath: Any, fields: dict[str, Any], out_port: int | None = None) -> None:
        parser, ofp = datapath.ofproto_parser, datapath.ofproto
        match = _match(datapath, **fields)
        if ofp.OFP_VERSION == _OF10:
            port = ofp.OFPP_NONE if out_port is None else out_port
            flow = parser.OFPFlowMod(datapath, match, 0, ofp.OFPFC_DELETE, out_port=port)
        else:
            port = ofp.OFPP_ANY if out_port is None else out_port
            any_group = ofp.OFPG_ANY
            flow = parser.OFPFlowMod(
                datapath, command=ofp.OFPFC_DELETE, match=match, out_port=port, out_group=any_group, instructions=[]
            )
        datapath.send_msg(flow)

    def _forward(self, message: Any, in_port: int, port: int | None) -> None:
        datapath = message.datapath
        data = message.data if message.buffer_id == _NO_BUFFER else None
        if message.buffer_id == _NO_BUFFER and message.total_len > len(message.data):
            return  # only a part of the packet came, and the switch has not kept the rest
        outputs = self._flooding(datapath, in_port) if port is None else [port]
        actions = [datapath.ofproto_parser.OFPActionOutput(out) for out in outputs]
        self._packet_out(datapath, message.buffer_id, in_port, actions, data)

    def _flooding(self, datapath: Any, in_port: int) -> list[int]:
        blocked = self._guard.blocked(self._states[datapath].number)
        if not blocked:
            return [datapath.ofproto.OFPP_FLOOD]
        ports = (port.port_no for port in datapath.ports.values() if _carries(datapath, port))
        return [port for port in ports if port != in_port and port not in blocked]

    def _free(self, message: Any, in_port: int) -> None:
        """Let a buffer go that the switch may keep for a packet."""
        if message.buffer_id != _NO_BUFFER:
            self._packet_out(message.datapath, message.buffer_id, in_port, [], None)

    def _packet_out(self, datapath: Any, buffer_id: int, in_port: int, actions: list[Any], data: bytes | None) -> None:
        datapath.send_msg(
            datapath.ofproto_parser.OFPPacketOut(
                datapath, buffer_id=buffer_id, in_port=in_port, actions=actions, data=data
            )
        )


def _match(
    datapath: Any,
    in_port: int | None = None,
    vlan: int | None = None,
    source: bytes | None = None,
    target: bytes | None = None,
) -> Any:
    parser = datapath.ofproto_parser
    fields: dict[str, Any] = {}
    if in_port is not None:
        fields["in_port"] = in_port
    if datapath.ofproto.OFP_VERSION == _OF10:
        if vlan is not None:
            fields["dl_vlan"] = _OFP_VLAN_NONE if vlan == UNTAGGED else vlan
        if source is not None:
            fields["dl_src"] = source
        if target is not None:
            fields["dl_dst"] = target
    else:
        if vlan is not None:
            fields["vlan_vid"] = 0 if vlan == UNTAGGED else _OFPVID_PRESENT | vlan
        if source is not None:
            fields["eth_src"] = source.hex(":")
        if target is not None:
            fields["eth_dst"] = target.hex(":")
    return parser.OFPMatch(**fields)


def _carries(datapath: Any, port: Any) -> bool:
    ofp = datapath.ofproto
    down = port.state & ofp.OFPPS_LINK_DOWN or port.config & ofp.OFPPC_PORT_DOWN
    return not down and 0 < port.port_no < _MAX_PORT[ofp.OFP_VERSION]


def _nowhere(datapath: Any) -> int:
    """The ingress port of a packet-out that no packet came by."""
    ofp = datapath.ofproto
    return int(ofp.OFPP_NONE if ofp.OFP_VERSION == _OF10 else ofp.OFPP_CONTROLLER)


def main(host: str = "127.0.0.1", port: int = 0, idle_timeout: int = IDLE_TIMEOUT, follow_stdin: bool = False) -> int:
    """Run the default controller on ``host:port`` (0 for a free port) until SIGTERM or SIGINT.

    Prints one line, ``listening HOST:PORT``, on standard output when ready;
    the log goes to standard error. ``idle_timeout`` is in seconds, 1 to
    65535. With ``follow_stdin`` the end of standard input ends it too.
    Returns the exit code: 0, 1 when it cannot listen, 2 for a bad argument.
    """
    from vmoc.apps.switch_server import run

    if not 1 <= idle_timeout <= 0xFFFF:
        print("the idle timeout must be 1 to 65535 seconds", file=sys.stderr)
        return 2
    return run([APPLICATION], host, port, follow_stdin=follow_stdin, idle_timeout=idle_timeout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vmoc.apps.learning_switch", description="The default controller, alone.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--idle-timeout", type=int, default=IDLE_TIMEOUT, metavar="SECONDS")
    parser.add_argument("--follow-stdin", action="store_true", help="end when standard input ends")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _arguments()
    sys.exit(main(chosen.host, chosen.port, chosen.idle_timeout, chosen.follow_stdin))
