"""Fixture F.0 of the test vectors: four virtual datapaths on one mock switch, behind a real ``vmoc run``."""

from __future__ import annotations

import copy
import itertools
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.emulation import Connection, EmulatedController, VmocProcess, free_port
from tests.emulation import wire as of
from tests.emulation.layout import Message
from tests.emulation.waiting import wait_until
from tests.vectors.mock import MockSwitch, is_guard

DPID = 0xAA
LATER_DPIDS = range(0x10001, 0x10101)  # more than there are vectors
VLAN = {"A": 100, "B": 200, "T": 300, "U": 400}
OWNER = {"A": "alice", "B": "bob", "T": "tina", "U": "uma"}
PORTS = {"A": [1, 2, 3], "B": [2, 3, 4], "T": [1, 2, 5], "U": None}
LOCAL = {of.V10: 0xFFFE, of.V13: 0xFFFFFFFE}
GUARDED = {"A": [4, 5, 6], "B": [1, 5, 6], "T": [3, 4, 6], "U": []}  # and LOCAL
LIMITS = {"max_flows": 10, "max_groups": 4, "max_meters": 2} | dict.fromkeys(
    ("flow_mod_rate", "packet_out_rate", "packet_in_rate", "stats_rate", "barrier_rate"), 0
)
X, Y = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def segment(name: str, controllers: list[str], dpids: Iterator[int] | range | list[int]) -> dict[str, Any]:
    """The segment of one virtual datapath of F.0."""
    attachments: list[dict[str, Any]] = []
    for dpid in dpids:
        attachments.append({"dpid": f"0x{dpid:016x}"})
        if (ports := PORTS[name]) is not None:
            attachments[-1]["ports"] = list(ports)
        if name == "A":
            attachments[-1]["queues"] = {2: [7]}
    shown = "transparent" if name in "TU" else "tagged"
    return {"vlan": VLAN[name], "presentation": shown, "controllers": controllers, "attachments": attachments}


class Lab:
    """One VMOC process and its controllers for many vectors; each vector gets a switch with a datapath id of its own.

    ``directory`` is where the process lives. ``names`` are the virtual
    datapaths registered; ``twice`` gives A a second controller, ``A2``;
    further arguments are keys of the configuration.
    """

    def __init__(self, directory: Path, *, names: str = "ABTU", twice: bool = False, dpids: range | None = None,
                 **config: Any) -> None:  # fmt: skip
        self.names = names
        self.version = of.V10
        self.controllers: dict[str, EmulatedController] = {}
        for name in [*names, *(["A2"] if twice else [])]:  # listening at once, so that no port is given out twice
            self.controllers[name] = EmulatedController(port=free_port(), name=f"controller {name}").listen()
        self.dpid = DPID
        self._dpids = itertools.cycle(dpids or [DPID])
        every = [DPID, *(dpids or [])]
        slices = []
        for name in names:
            addresses = [one.address for key, one in self.controllers.items() if key[0] == name]
            slices.append({"id": OWNER[name], "segments": [segment(name, addresses, every)]})
        timers = {"audit": 0} | config.pop("timers", {})
        self.vmoc = VmocProcess(directory, {"limits": dict(LIMITS), "timers": timers, "slices": slices} | config)
        self.switch = MockSwitch(self.vmoc.address, DPID, of.V10)
        self.closed: set[str] = set()
        """Whose connection the vector ends."""

    # --- life --------------------------------------------------------------------------------------------------------

    def begin(self, version: int, dpid: int | None = None) -> Lab:
        """A fresh switch, not connected yet, and controllers that forgot everything."""
        for controller in self.controllers.values():
            controller.version = version
            controller.versions = (version,) if version == of.V13 else ()
            controller.greet = controller.features = True
            controller.connections = []
            if controller._listener is None:
                controller.listen()
        if not self.vmoc.running:
            self.vmoc.start()
        self.version = version
        self.dpid = dpid or next(self._dpids)
        self.switch = MockSwitch(self.vmoc.address, self.dpid, version)
        self.closed = set()
        return self

    def connect(self) -> Lab:
        """The switch connects; all controllers finish their handshake."""
        self.switch.start()
        self.switch.wait_connected()
        for name, controller in self.controllers.items():
            controller.wait_up(self.presented(name))
        self.fence()
        self.forget()
        return self

    def forget(self) -> None:
        """What happened so far is none of the vector's business."""
        for controller in self.controllers.values():
            for connection in controller.connections:
                connection.forget()
        self.switch.mark()

    def end(self) -> None:
        """The switch goes, and with it every connection."""
        self.switch.stop()
        for controller in self.controllers.values():
            for connection in list(controller.connections):
                connection.expect_closed()

    def close(self) -> None:
        """All of it goes."""
        self.switch.stop()
        for controller in self.controllers.values():
            controller.stop()
        self.vmoc.stop()

    # --- connections -------------------------------------------------------------------------------------------------

    def presented(self, name: str) -> int:
        """The datapath id shown to a controller."""
        return VLAN[name[0]] << 48 | self.dpid

    def conn(self, name: str) -> Connection:
        """A controller's connection, waiting for it if need be."""
        controller, dpid = self.controllers[name], self.presented(name)
        live = controller.live(dpid)
        return live[-1] if live else controller.wait_up(dpid)

    @property
    def A(self) -> Connection:
        return self.conn("A")

    @property
    def B(self) -> Connection:
        return self.conn("B")

    @property
    def T(self) -> Connection:
        return self.conn("T")

    @property
    def U(self) -> Connection:
        return self.conn("U")

    def fence(self) -> None:
        """All that anybody sent so far has been handled, and what came of it has arrived."""
        for _ in range(2):
            self.switch.echo()
            waited = []
            for controller in self.controllers.values():
                for connection in controller.live():
                    waited.append((connection, connection.request(connection.version, "echo_request", b"fence")))
            for connection, xid in waited:
                connection.expect("echo_reply", lambda m, xid=xid: m.xid == xid)
        self.switch.echo()

    def check(self) -> None:
        """At the end of a vector: nobody has heard anything it did not expect, and nobody's connection is gone."""
        if not self.switch.peers or self.switch.peer.closed:
            return
        self.fence()
        for name, controller in self.controllers.items():
            for connection in controller.connections:
                if name not in self.closed:
                    assert connection.closed is None, f"{connection.name} was closed ({connection.closed})"
                assert not (left := connection.unseen()), f"{connection.name}: unexpected {left}"
        assert self.vmoc.running
        assert "Traceback" not in self.vmoc.log()

    # --- down --------------------------------------------------------------------------------------------------------

    def out(self, *ports: int | str) -> bytes:
        """OUTPUT actions."""
        return b"".join(of.output(self.version, port) for port in ports)

    def match(self, **fields: of.Value) -> bytes:
        """A match, OXMs in the order of their numbers."""
        if self.version == of.V13:
            order = [*of.OXM]
            return of.match(of.V13, **dict(sorted(fields.items(), key=lambda item: order.index(item[0]))))
        return of.match(of.V10, **fields)

    def mod(self, actions: bytes = b"", command: str | int = "add", match: Mapping[str, of.Value] | None = None,
            **more: Any) -> bytes:  # fmt: skip
        """A FLOW_MOD with the defaults of F.0."""
        raw = of.match(self.version, **(match or {}))
        return of.flow_mod(self.version, command, raw, actions, **({"xid": Connection.next_xid()} | more))

    def packet_out(self, data: bytes, actions: bytes | None = None, **more: Any) -> bytes:
        """A PACKET_OUT with the defaults of F.0."""
        actions = self.out(2) if actions is None else actions
        return of.packet_out(self.version, data, actions, **({"xid": Connection.next_xid()} | more))

    def message(self, name: str | int, body: bytes = b"", xid: int | None = None) -> bytes:
        """Any message."""
        return of.message(self.version, name, body, Connection.next_xid() if xid is None else xid)

    def stats(self, kind: str | int, body: bytes = b"", **more: Any) -> bytes:
        """A statistics request."""
        return of.stats_request(self.version, kind, body, **({"xid": Connection.next_xid()} | more))

    def send(self, name: str, *raws: bytes) -> list[Message]:
        """Send from a controller; what the switch got because of that."""
        self.switch.mark()
        self.conn(name).send(b"".join(raws))
        self.fence()
        return self.switch.derived()

    def sent(self, name: str, *raws: bytes) -> list[of.FlowMod]:
        """Send from a controller what becomes FLOW_MODs and nothing else."""
        derived = self.send(name, *raws)
        assert {m.name for m in derived} <= {"flow_mod"}, derived
        return [of.parse_flow_mod(m) for m in derived]

    def added(self, name: str, *raws: bytes) -> of.FlowMod:
        """Send what becomes one ADD; checks what every accepted ADD implies."""
        (mod,) = self.sent(name, *raws)
        self.is_add(name, mod)
        return mod

    def is_add(self, name: str, mod: of.FlowMod) -> None:
        """An ADD with the datapath's tag, FLOW_REMOVED wanted and no buffer."""
        assert mod.command == "add"
        assert 1 <= mod.cookie >> 48 <= 0xFFFD
        assert mod.flags & 1
        assert mod.buffer_id == of.NO_BUFFER
        tags = {e.cookie >> 48 for e in self.switch.flows(VLAN[name]) if e.cookie >> 48 != 0xFFFE}
        assert tags == {mod.cookie >> 48}

    def tag(self, name: str) -> int:
        """The tag of a virtual datapath, learnt by adding an entry of its own (and nothing else)."""
        probe = self.mod(self.out(2), match={"eth_dst": "02:ff:ff:ff:ff:ff", "eth_src": "02:ff:ff:ff:ff:fe"})
        found = self.added(name, probe).cookie >> 48
        self.switch.mark()
        return found

    def refused(self, name: str, raw: bytes, kind: int, code: int) -> None:
        """Send what is refused: one ERROR around the bytes as sent, and nothing reaches the switch."""
        derived = self.send(name, raw)
        self.error(name, raw, kind, code)
        assert derived == []

    def error(self, name: str, raw: bytes, kind: int, code: int) -> None:
        """Take the ERROR that answers ``raw`` (rule D1)."""
        self.conn(name).expect_error(int.from_bytes(raw[4:8], "big"), kind, code, raw)

    def silent(self, name: str, raw: bytes) -> None:
        """Send what becomes nothing at the switch."""
        assert self.send(name, raw) == []

    def ask(self, name: str, raw: bytes, *, south: bool = False) -> Message:
        """Send a request; its one answer, which is local unless ``south``."""
        connection = self.conn(name)
        xid = int.from_bytes(raw[4:8], "big")
        with connection.changed:
            start = len(connection.log)
        derived = self.send(name, raw)
        if not south:
            assert derived == []
        answers = [m for m in connection.log[start:] if m.xid == xid and m.name != "echo_request"]
        assert len(answers) == 1, f"{connection.name}: answers {answers}"
        with connection.changed:
            connection.inbox[:] = [m for m in connection.inbox if m is not answers[0]]
        return answers[0]

    def stats_body(self, message: Message) -> bytes:
        """The body of a statistics reply."""
        assert message.name == "stats_reply", message
        return message.raw[12 if self.version == of.V10 else 16 :]

    def flow_stats(self, name: str, **more: Any) -> list[of.FlowStat]:
        """FLOW statistics of everything, as a controller sees them."""
        return self.conn(name).flow_stats(**more)

    # --- comparing ---------------------------------------------------------------------------------------------------

    def is_flow(self, mod: of.FlowMod | of.FlowStat, actions: bytes | None, **match: of.Value) -> None:
        """Match (byte for byte) and actions (in 1.3: instructions) are these."""
        if isinstance(mod, of.FlowMod):
            assert canonical(self.version, mod.match_raw) == canonical(self.version, self.match(**match))
        else:
            assert mod.match == of.parse_match(self.version, self.match(**match))[0]
        if actions is not None:
            if self.version == of.V13 and actions:
                actions = of.apply_actions(actions)
            assert plain(self.version, mod.actions) == plain(self.version, actions)

    # --- up ----------------------------------------------------------------------------------------------------------

    def packet_ins(self, *heard: str) -> list[of.PacketIn]:
        """After a fence, the one PACKET_IN each of these has, taken; ``check`` sees to it that nobody else has any."""
        self.fence()
        found = []
        for name in heard:
            connection = self.conn(name)
            unseen = connection.unseen("packet_in")
            assert unseen, f"{connection.name} heard no packet-in"
            found.append(of.parse_packet_in(connection.expect("packet_in")))
        return found

    # --- management --------------------------------------------------------------------------------------------------

    def reload(self, slices: list[dict[str, Any]], *, result: str = "applied", says: str = "") -> None:
        """Write other slices into the file and reload; the log then says so."""
        before = self.vmoc.config["slices"]
        log, count = len(self.vmoc.log()), self.metric("vmoc_config_reloads_total", f'result="{result}"')
        self.vmoc.reload(slices=slices)

        def done() -> bool:
            return self.metric("vmoc_config_reloads_total", f'result="{result}"') > count

        wait_until(done, f"a reload that is {result}")
        wait_until(lambda: says in self.vmoc.log()[log:], f"{says!r} in the log:\n{self.vmoc.log()[log:]}")
        if result == "rejected":
            self.vmoc.write_config(slices=before)

    def metric(self, name: str, label: str) -> float:
        """The value of one metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.vmoc.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name}{{{label}")]
        return float(found[0]) if found else 0.0

    def slices(self, **changes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """The slices as configured, with the segments of some changed (None: without that slice)."""
        found = []
        for one in copy.deepcopy(self.vmoc.config["slices"]):
            if one["id"] in changes:
                change = changes[one["id"]]
                if change is None:
                    continue
                one["segments"][0] |= change
            found.append(one)
        return found


def canonical(version: int, raw: bytes) -> bytes:
    """1.0 address wildcards above 32 bits are 32; all else is compared as it is."""
    if version == of.V13:
        return raw
    wildcards = int.from_bytes(raw[:4], "big")
    for shift in (8, 14):
        if wildcards >> shift & 0x3F > 32:
            wildcards = wildcards & ~(0x3F << shift) | 32 << shift
    return wildcards.to_bytes(4, "big") + raw[4:]


def plain(version: int, actions: bytes) -> bytes:
    """Actions or instructions; ``max_len`` of outputs other than CONTROLLER means nothing and is made zero."""
    found = b""
    for kind, body in of.split_actions(actions):
        if version == of.V13 and kind in (3, 4):
            body = body[:8] + _plain_list(version, body[8:])
        found += body
    return found if version == of.V13 else _plain_list(version, found)


def _plain_list(version: int, actions: bytes) -> bytes:
    found = b""
    for kind, body in of.split_actions(actions):
        if kind == 0 and of.output_ports(version, body) != [of.PORTS[version]["controller"]]:
            body = body[:6] + b"\0\0" if version == of.V10 else body[:8] + b"\0\0" + body[10:]
        found += body
    return found


def guards_in(messages: list[Message]) -> list[of.FlowMod]:
    """The guards among messages, parsed."""
    return [of.parse_flow_mod(m) for m in messages if is_guard(m)]


def guard_ports(mods: list[of.FlowMod], vlan: int) -> set[int]:
    """The ports that ADDs of guards of one VLAN are for; checks that they are guards."""
    ports = set()
    for mod in mods:
        if mod.command == "add" and mod.vlan == vlan:
            assert mod.actions == b""
            assert mod.priority == 65535
            assert mod.table == 0
            assert mod.match.keys() == {"in_port", "vlan_vid"}
            ports.add(mod.match["in_port"][0])
    return ports
