"""A private Open vSwitch: own database, own daemon, own run directory, userspace datapath.

It needs no kernel module, no running system service and disturbs none. Run it
in a network namespace of its own (``mininet_scenarios.namespaces``): the
userspace datapath's ``ovs-netdev`` device exists once per namespace.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from mininet_scenarios.namespaces import set_up
from mininet_scenarios.processes import Process, run, wait_until

SCHEMA: Final = Path("/usr/share/openvswitch/vswitch.ovsschema")
TOOLS: Final = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
BOTH: Final = ("OpenFlow10", "OpenFlow13")
_PREFIX: Final = "vmoc-ovs-"
_COUNTERS: Final = re.compile(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^ ,]*,? ?")


class OvsUnavailableError(RuntimeError):
    """Open vSwitch is not installed here; the message says what to install."""


def missing() -> str | None:
    """One sentence saying what to install, None when everything is there."""
    absent = [tool for tool in TOOLS if _which(tool) is None]
    if absent or not SCHEMA.exists():
        return (
            f"Open vSwitch is missing here ({', '.join(absent) or SCHEMA}); "
            "install it with: apt-get install openvswitch-switch"
        )
    if not Path("/dev/net/tun").exists():
        return "Open vSwitch's userspace datapath needs /dev/net/tun, which this machine does not have."
    return None


class PrivateOvs:
    """``ovsdb-server`` and ``ovs-vswitchd`` of our own, in the calling thread's network namespace."""

    def __init__(self) -> None:
        self.directory = Path()
        self._database: Process | None = None
        self._switch: Process | None = None
        self._starts = 0

    # life

    def start(self) -> PrivateOvs:
        """Start both daemons and wait until they answer.

        Raises ``OvsUnavailableError`` when Open vSwitch is not installed.
        """
        problem = missing()
        if problem:
            raise OvsUnavailableError(problem)
        _sweep()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        atexit.register(self.stop)
        try:
            database = self.directory / "conf.db"
            run([_tool("ovsdb-tool"), "create", str(database), str(SCHEMA)])
            self._database = Process(
                "ovsdb-server",
                [
                    _tool("ovsdb-server"),
                    str(database),
                    f"--remote=punix:{self._socket('db.sock')}",
                    f"--unixctl={self._socket('ovsdb-server.ctl')}",
                    "-vfile:off",
                    "-vsyslog:off",
                ],
                log=self.directory / "ovsdb-server.log",
                env=self.env,
            )
            wait_until(lambda: self._socket("db.sock").exists(), "ovsdb-server's socket")
            # It may not listen yet.
            run([_tool("ovs-vsctl"), "--no-wait", "--retry", "--timeout=15", "init"], env=self.env)
            self.start_switch()
        except BaseException:
            self.stop()
            raise
        return self

    def start_switch(self) -> None:
        """Start ``ovs-vswitchd``; it makes the bridges the database has.

        After ``kill_switch`` the taps are new ones: open wires on them anew.
        """
        self._socket("ovs-vswitchd.ctl").unlink(missing_ok=True)
        self._switch = Process(
            "ovs-vswitchd",
            [
                _tool("ovs-vswitchd"),
                f"unix:{self._socket('db.sock')}",
                f"--unixctl={self._socket('ovs-vswitchd.ctl')}",
                "-vfile:off",
                "-vsyslog:off",
                "-vconsole:info",
            ],
            log=self.directory / "ovs-vswitchd.log",
            env=self.env,
        )
        wait_until(lambda: self._socket("ovs-vswitchd.ctl").exists(), "ovs-vswitchd's control socket")
        self._starts += 1
        # A change of the database is what ovs-vsctl waits for until the daemon has taken all of it in.
        self.vsctl("set", "Open_vSwitch", ".", f"external-ids:starts={self._starts}")
        for interface in self.vsctl("--columns=name", "--bare", "find", "interface", "type=internal").split():
            with contextlib.suppress(OSError):
                set_up(interface)

    def kill_switch(self) -> None:
        """``kill -9`` for ``ovs-vswitchd``: every flow and every connection is gone, the database stays."""
        assert self._switch is not None
        self._switch.kill()

    def stop(self) -> None:
        """Delete the bridges and their taps, end both daemons, remove the directory. Harmless when repeated."""
        atexit.unregister(self.stop)
        if self._switch is not None and self._switch.alive:
            with contextlib.suppress(Exception):
                bridges = self.vsctl("list-br").split()
                self.vsctl(*_joined(["--if-exists", "del-br", bridge] for bridge in bridges))
        for process in (self._switch, self._database):
            if process is not None:
                process.stop(grace=2.0)
        self._switch = self._database = None
        if self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> PrivateOvs:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    # tools

    @property
    def env(self) -> dict[str, str]:
        """What makes every ovs-* tool, and Mininet through them, talk to this instance."""
        place = str(self.directory)
        return {"OVS_RUNDIR": place, "OVS_DBDIR": place, "OVS_LOGDIR": place, "OVS_SYSCONFDIR": place}

    @property
    def log(self) -> str:
        """What ``ovs-vswitchd`` has logged."""
        return (self.directory / "ovs-vswitchd.log").read_text(errors="replace")

    def vsctl(self, *args: str) -> str:
        """Run ``ovs-vsctl``; waits until ``ovs-vswitchd`` has done it."""
        return run([_tool("ovs-vsctl"), "-t", "10", *args], env=self.env)

    def ofctl(self, *args: str, version: str = "OpenFlow13") -> str:
        """Run ``ovs-ofctl`` in one protocol version."""
        return run([_tool("ovs-ofctl"), "-O", version, "-t", "10", *args], env=self.env)

    def appctl(self, *args: str) -> str:
        """Run ``ovs-appctl`` on ``ovs-vswitchd``."""
        return run([_tool("ovs-appctl"), "-T", "10", "-t", str(self._socket("ovs-vswitchd.ctl")), *args], env=self.env)

    # bridges

    def add_bridge(
        self,
        bridge: str,
        dpid: int,
        *,
        protocols: Iterable[str] = BOTH,
        fail_mode: str = "secure",
        controllers: Sequence[str] = (),
    ) -> None:
        """A userspace bridge with a fixed DPID; ``controllers`` as in ``tcp:127.0.0.1:6653``."""
        self.vsctl(
            *("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", f"fail_mode={fail_mode}"),
            f"other-config:datapath-id={dpid:016x}",
            "other-config:disable-in-band=true",
            f"protocols={','.join(protocols)}",
        )
        set_up(bridge)
        if controllers:
            self.set_controller(bridge, *controllers)

    def set_controller(self, bridge: str, *targets: str) -> None:
        """Replace the bridge's controllers; reconnects at once and then every second."""
        self.vsctl("set-controller", bridge, *targets)
        for uuid in re.findall(r"[0-9a-f-]{36}", self.vsctl("get", "bridge", bridge, "controller")):
            self.vsctl("set", "controller", uuid, "max_backoff=1000", "connection_mode=out-of-band")

    def add_port(self, bridge: str, port: str, number: int, *, tag: int | None = None) -> None:
        """An internal port (a tap) as OpenFlow port ``number``; an access port of VLAN ``tag`` when given."""
        self.vsctl(
            *("add-port", bridge, port),
            *(() if tag is None else (f"tag={tag}",)),
            *("--", "set", "interface", port, "type=internal", f"ofport_request={number}"),
        )
        set_up(port)

    def add_patch(self, bridge: str, number: int, peer_bridge: str, peer_number: int) -> None:
        """A trunk between two bridges of this instance."""
        here, there = f"{bridge}-{peer_bridge}", f"{peer_bridge}-{bridge}"
        self.vsctl(
            *("add-port", bridge, here, "--", "set", "interface", here, "type=patch", f"options:peer={there}"),
            f"ofport_request={number}",
            *("--", "add-port", peer_bridge, there, "--", "set", "interface", there, "type=patch"),
            f"options:peer={here}",
            f"ofport_request={peer_number}",
        )

    def connected(self, bridge: str) -> bool:
        """Whether every controller of the bridge is connected, OpenFlow versions agreed.

        Read from the log, which is immediate; the database learns it up to five seconds later.
        """
        targets = re.findall(r"(?:tcp|ssl):\S+", self.vsctl("get-controller", bridge))
        log = self.log
        return bool(targets) and all(_last_state(log, bridge, target) == "connected" for target in targets)

    def wait_connected(self, *bridges: str, timeout: float = 15.0) -> None:
        """Wait until every bridge is connected to its controllers."""
        for bridge in bridges:
            wait_until(lambda name=bridge: self.connected(name), f"{bridge} to connect", timeout=timeout)  # type: ignore[misc]

    def flows(self, bridge: str, match: str = "", *, version: str = "OpenFlow13", counters: bool = False) -> list[str]:
        """``ovs-ofctl dump-flows``, one string per flow, sorted, without counters and ages unless asked for."""
        text = self.ofctl("dump-flows", bridge, *([match] if match else []), version=version)
        lines = [line.strip() for line in text.splitlines() if "actions=" in line]
        return sorted(lines if counters else (_COUNTERS.sub("", line) for line in lines))

    def _socket(self, name: str) -> Path:
        return self.directory / name


def _last_state(log: str, bridge: str, target: str) -> str:
    states = re.findall(rf"\|rconn\|[A-Z]+\|{re.escape(bridge)}<->{re.escape(target)}: (.*)", log)
    return states[-1] if states else ""


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _tool(tool: str) -> str:
    return _which(tool) or tool


def _joined(commands: Iterable[list[str]]) -> list[str]:
    words: list[str] = []
    for command in commands:
        words += ["--", *command]
    return words


def _sweep() -> None:
    """Remove run directories whose owner was killed before it could."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
