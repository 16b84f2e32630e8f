r"""The rack: nodes are Mininet hosts, each with network cards and an Open vSwitch of its own.

::

      lab                 control                     compute1, compute2
       |            eth2 |      | eth0, eth1, eth3     | eth0, eth1, eth3
     [ext]---------------+      |                      |
                                |                      |
     [ctl]  eth0: ssh, OpenFlow, the API; 10.0.0.0/24  |
     [data] eth1: what slices send; under VMOC --------+
     [mgt]  eth3: management; 10.3.0.0/24

Inside a node, as GRAM's installer leaves it (the last two on each node, br-ex on
the control node only)::

      br-ex    eth2
      br-eth1  eth1   phy-br-eth1 \        br-int  int-br-eth1
      br-eth3  eth3   phy-br-eth3 /  patch         int-br-eth3, and one port for each card of a sliver

*ctl*, *ext* and *mgt* are plain switches. *data* is OpenFlow only, and its
controller is VMOC, on the control node, over the control network. VMOC runs
handlers on the compute nodes by ssh over the control network, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mininet_scenarios import nodes
from mininet_scenarios.gram.manager import SLICES, SLIVERS
from mininet_scenarios.namespaces import NetworkNamespace, set_up, whole_checksums
from mininet_scenarios.openvswitch import PrivateOvs
from mininet_scenarios.processes import Process, run, wait_until
from mininet_scenarios.vmoc import Vmoc

OPENFLOW: Final = 6653
GRPC: Final = "127.0.0.1:50051"
CONTROLLER: Final = ("192.0.2.10", 6640)
"""Where the experimenters' controllers are: in the lab, behind the external network."""
DATA_DPID: Final = 0xDA7A
FIRST, LAST = 300, 399
"""VLANs for slices."""
COMPUTE: Final = ("compute1", "compute2")
NUMBERS: Final = {"control": 1, "compute1": 11, "compute2": 12}
"""Of a node, on the networks where it has an address."""
UPLINK: Final = {"control": 1, "compute1": 2, "compute2": 3}
"""The port of the data switch that a node's eth1 is at."""
SSHD: Final = "/usr/sbin/sshd"


class RackUnavailableError(RuntimeError):
    """Something is not installed here; the message says what."""


def missing() -> str | None:
    """What keeps the rack from being built here, in one sentence."""
    if not Path(SSHD).exists() or shutil.which("ssh") is None:
        return "There is no ssh server or client here; install them with: apt-get install openssh-server openssh-client"
    return None


class Node:
    """A machine of the rack: its network namespace, and its bridges."""

    def __init__(self, name: str, host: Any, stack: contextlib.ExitStack) -> None:
        self.name = name
        self.namespace = stack.enter_context(NetworkNamespace.of_process(host.pid))
        with self.namespace.entered():
            self.ovs = stack.enter_context(PrivateOvs())
            self._bridges()

    @property
    def number(self) -> int:
        """The last part of its addresses."""
        return NUMBERS[self.name]

    @property
    def address(self) -> str:
        """On the control network."""
        return f"10.0.0.{self.number}"

    def _bridges(self) -> None:
        """What GRAM's installer and the plugins of its network service make of a node."""
        dpid = self.number << 16
        plain = {"fail_mode": "standalone"}
        self.ovs.add_bridge("br-int", dpid | 0xF, **plain)
        for number in (1, 3):
            bridge = f"br-eth{number}"
            self.ovs.add_bridge(bridge, dpid | number, **plain)
            self._plug(bridge, f"eth{number}")
            self.ovs.vsctl(
                *("add-port", "br-int", f"int-{bridge}", "--", "set", "interface", f"int-{bridge}", "type=patch"),
                f"options:peer=phy-{bridge}",
                *("--", "add-port", bridge, f"phy-{bridge}", "--", "set", "interface", f"phy-{bridge}", "type=patch"),
                f"options:peer=int-{bridge}",
            )
        # Slices leave br-int over the data network only, whatever it learns; the management network is its VLAN 1.
        self.ovs.vsctl("set", "port", "int-br-eth1", f"trunks={','.join(map(str, range(FIRST, LAST + 1)))}")
        self.ovs.vsctl("set", "port", "int-br-eth3", "tag=1")
        self._address("br-eth3", f"10.3.0.{self.number}")
        if self.name == "control":
            self.ovs.add_bridge("br-ex", dpid | 2, **plain)
            self.ovs.vsctl("br-set-external-id", "br-ex", "bridge-id", "br-ex")
            self._plug("br-ex", "eth2")
            self._address("br-ex", "192.0.2.1")
        run(["ip", "addr", "add", f"{self.address}/24", "dev", "eth0"])
        set_up("eth0")
        whole_checksums("eth0")

    def _plug(self, bridge: str, interface: str) -> None:
        self.ovs.vsctl("add-port", bridge, interface)
        set_up(interface)

    def _address(self, bridge: str, address: str) -> None:
        run(["ip", "addr", "add", f"{address}/24", "dev", bridge])

    def ports(self, bridge: str) -> set[str]:
        """The ports of one of its bridges."""
        return set(self.ovs.vsctl("list-ports", bridge).split())


class GramRack:
    """Everything that stands and runs. A context manager, in a namespace of its own and in the main thread."""

    def __init__(self) -> None:
        problem = missing()
        if problem:
            raise RackUnavailableError(problem)
        self._stack = contextlib.ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="vmoc-gram-"))
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.token = secrets.token_hex(3)
        """Ends the names of the slices, so that nothing of theirs is taken for an earlier story's."""
        self.vmoc_log = ""
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        self._stack.callback(self._remove_slivers)  # a story that broke off has some left
        self._stack.enter_context(self._stack.enter_context(NetworkNamespace.create()).entered())
        self.ovs = self._stack.enter_context(PrivateOvs())
        classes = nodes.nodes()
        self.net: Any = nodes.empty_net(self.ovs, classes, (f"10.0.0.{NUMBERS['control']}", OPENFLOW))
        self._stack.callback(nodes.stop, self.net)
        link = classes.package.link
        switches = {
            name: nodes.add_compute_node(self.net, classes, name, number)
            for number, name in enumerate(("ctl", "ext", "mgt"), 0xE0)
        }
        data = nodes.add_core_switch(self.net, classes, "data", DATA_DPID)
        hosts = {name: self.net.addHost(name, ip=None) for name in (*NUMBERS, "lab")}
        for name in NUMBERS:
            link.Link(hosts[name], switches["ctl"], intfName1="eth0")
            link.Link(hosts[name], data, intfName1="eth1", port2=UPLINK[name])
            link.Link(hosts[name], switches["mgt"], intfName1="eth3")
        link.Link(hosts["control"], switches["ext"], intfName1="eth2")
        link.Link(hosts["lab"], switches["ext"], intfName1="eth0")
        self.net.build()
        self.net.start()
        # The data switch reaches its controller over the control network.
        run(["ip", "addr", "add", "10.0.0.254/24", "dev", "ctl"])
        set_up("ctl")
        self.nodes = {name: Node(name, hosts[name], self._stack) for name in NUMBERS}
        self.lab = self._stack.enter_context(NetworkNamespace.of_process(hosts["lab"].pid))
        with self.lab.entered():
            run(["ip", "addr", "add", f"{CONTROLLER[0]}/24", "dev", "eth0"])
            set_up("eth0")
            whole_checksums("eth0")
        self._ssh()
        with self.control.namespace.entered():
            self.vmoc = Vmoc(self.directory, self._configuration())
            self._stack.callback(self._keep_log)
            self._stack.enter_context(self.vmoc)
        self.ovs.set_controller("data", f"tcp:{self.control.address}:{OPENFLOW}")
        self.ovs.wait_connected("data")

    @property
    def control(self) -> Node:
        """The control node."""
        return self.nodes["control"]

    def _keep_log(self) -> None:
        self.vmoc_log = self.vmoc.output()

    def instances(self) -> list[str]:
        """The slivers that are there, by the names of their namespaces."""
        slices = {name: f"{name}.{self.token}" for name in SLICES}
        names = ((f"{slices[one.partition('-')[0]]}/{one}", one) for one in SLIVERS)
        every = [f"vmoc-{one}-{hashlib.sha256(text.encode()).hexdigest()[:8]}" for text, one in names]
        return [name for name in every if Path("/run/netns", name).exists()]

    def _remove_slivers(self) -> None:
        for name in self.instances():
            for pid in run(["ip", "netns", "pids", name]).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "del", name])
            for place in ("/var/lib/vmoc/netns", "/etc/netns"):
                shutil.rmtree(Path(place, name), ignore_errors=True)

    def _ssh(self) -> None:
        """An ssh server on each compute node that lets the control node's key in."""
        for name in ("host", "control"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.directory / name)])
        authorized = self.directory / "authorized_keys"
        shutil.copy(self.directory / "control.pub", authorized)
        host_key = " ".join((self.directory / "host.pub").read_text().split()[:2])
        known = [f"{self.nodes[name].address} {host_key}\n" for name in COMPUTE]
        (self.directory / "known_hosts").write_text("".join(known))
        made = not Path("/run/sshd").exists()
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        if made:
            self._stack.callback(_remove_empty, Path("/run/sshd"))
        for name in COMPUTE:
            node = self.nodes[name]
            file = self.directory / f"sshd-{name}"
            file.write_text(
                f"ListenAddress {node.address}:22\nHostKey {self.directory / 'host'}\n"
                f"AuthorizedKeysFile {authorized}\nPidFile none\nStrictModes no\nUsePAM no\n"
                "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\n"
            )
            with node.namespace.entered():
                server = Process(
                    f"sshd {name}", [SSHD, "-D", "-e", "-f", str(file)], log=self.directory / f"{name}.log"
                )
            self._stack.callback(server.stop)

    def _configuration(self) -> dict[str, Any]:
        handlers = self.directory / "handlers.yaml"
        handlers.write_text(json.dumps(self._handlers(), indent=2))
        return {
            "openflow": {"listen": [{"address": self.control.address, "port": OPENFLOW}]},
            "grpc": {"listen": GRPC},
            "state": {"path": str(self.directory / "vmoc.db")},
            "vlans": {"pool": [f"{FIRST}-{LAST}"], "reserved": [1]},
            "handlers": {"config": str(handlers)},
            "timers": {"reconnect_first": 0.2, "reconnect_max": 2},
        }

    def _handlers(self) -> dict[str, Any]:
        ssh = f"-o UserKnownHostsFile={self.directory / 'known_hosts'} -o GlobalKnownHostsFile=/dev/null"
        hosts = {}
        for name in COMPUTE:
            node = self.nodes[name]
            variables: dict[str, Any] = {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(self.directory / "control"),
                "ansible_ssh_common_args": ssh,
                "ansible_python_interpreter": sys.executable,
            }
            for kind in ("netns", "container"):
                variables |= {
                    f"{kind}_bridge": "br-int",
                    f"{kind}_ovs_rundir": str(node.ovs.directory),
                    f"{kind}_dpid": f"{DATA_DPID:#018x}",
                    f"{kind}_port": UPLINK[name],
                    f"{kind}_published_ports": f"{3000 + 100 * node.number}-{3099 + 100 * node.number}",
                }
            hosts[name] = {"address": node.address, "variables": variables}
        actions = ["start", "stop", "reboot", "add_keys", "remove_keys"]
        kinds = {
            kind: {"playbooks": {"inventory": f"{kind}.yml"}, "actions": actions, "timeouts": {"default": 60}}
            for kind in ("netns", "container")
        }
        return {
            "playbooks": {"netns": "netns.yml", "container": "container.yml"},
            "hosts": hosts,
            "handlers": {**kinds, "L2Bridge": {"backend": "l2bridge", "variables": {"bridge": "br-int"}}},
        }

    # what one can see

    def start_controller(self, app: str) -> Process:
        """One of the experimenters' controllers, in the lab."""
        words = [sys.executable, "-m", "mininet_scenarios.controllers", app]
        with self.lab.entered():
            process = Process(
                app, [*words, "--host", CONTROLLER[0], "--port", str(CONTROLLER[1])], log=self.directory / f"{app}.log"
            )
        self._stack.callback(process.stop)
        return process

    @contextlib.contextmanager
    def manager(self) -> Iterator[subprocess.Popen[str]]:
        """The aggregate manager's program, on the control node."""
        with self.control.namespace.entered(), (self.directory / "am.log").open("w") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "mininet_scenarios.gram.manager",
                    GRPC,
                    f"tcp:{CONTROLLER[0]}:{CONTROLLER[1]}",
                    self.token,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def flows(self) -> list[str]:
        """Every flow of the data switch, without counters."""
        return self.ovs.flows("data")

    def flows_of(self, vlan: int) -> list[str]:
        """Those of a VLAN."""
        return [flow for flow in self.flows() if f"dl_vlan={vlan}" in flow.replace(" ", ",").split(",")]

    def cards(self) -> set[str]:
        """Ports on the compute nodes' br-int that slivers' cards are at."""
        fixed = {"int-br-eth1", "int-br-eth3"}
        return {f"{name}:{port}" for name in COMPUTE for port in self.nodes[name].ports("br-int") - fixed}

    def controlled(self, vlan: int) -> bool:
        """Whether a VLAN's controller has asked for what no flow matches."""
        return any("CONTROLLER" in flow for flow in self.flows_of(vlan))

    def wait_controlled(self, *vlans: int) -> None:
        """Wait until all of them are."""
        wait_until(lambda: all(map(self.controlled, vlans)), f"controllers of the VLANs {vlans}", timeout=30)

    def __enter__(self) -> GramRack:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
