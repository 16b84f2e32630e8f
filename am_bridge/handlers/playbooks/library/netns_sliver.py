"""An Ansible module: one sliver as a network namespace, its cards on an Open vSwitch bridge.

Everything of a sliver carries its instance name or a hash of it, so that a
deletion finds it whatever the run that made it got to::

    namespace      vmoc-SLIVER-HASH; in /etc/netns/vmoc-SLIVER-HASH/ its hosts, hostname and passwd, mounted over /etc
    files          /var/lib/vmoc/netns/vmoc-SLIVER-HASH/: homes, keys, its ssh server's, what we must remember
    card           vHASHxxxx, the outer end, an access port of the card's VLAN; inside it has the card's name
    management     vmgHASH; inside it is mgmt0    only when ports are published
    nftables       table ip vmoc_HASH
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import time
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sliver_namespace import NamespaceSliver
from ansible.module_utils.sliver_verbs import run

DOCUMENTATION = """
module: netns_sliver
short_description: A sliver as a network namespace
description: Makes, changes, removes and looks at a network namespace with cards on an Open vSwitch bridge.
"""

SSHD_PLACES = "/usr/sbin:/sbin:/usr/local/sbin"
SSHD_PATIENCE = 10.0
PRIVILEGE_SEPARATION = "/run/sshd"
"""A folder that Debian's sshd wants to be there."""
SSHD_CONFIG = """\
Port 22
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {keys}/%u
AllowUsers {users}
AuthenticationMethods publickey
PermitRootLogin no
UsePAM no
X11Forwarding no
PrintMotd no
"""


class Namespace(NamespaceSliver):  # type: ignore[misc]
    """A namespace, and in it an ssh server when port 22 is published and the host allows it."""

    kind = "netns"

    def __init__(self, module: AnsibleModule, name: str = "") -> None:
        super().__init__(module, name)
        self.ssh = os.path.join(self.folder, "ssh")

    def wants_sshd(self) -> bool:
        published = {one["port"] for one in self.spec["published_ports"]}
        return bool(self.module.params["sshd"] and 22 in published and self.spec["users"])

    def ensure_published(self) -> None:
        super().ensure_published()
        self.ensure_sshd()

    def ensure_sshd(self) -> None:
        """Have it run with what is written now: it sees the accounts of the time it was started."""
        pid = self.sshd()
        if not self.wants_sshd():
            self.end(pid)
            return
        if self.state().get("stopped"):
            return
        program = shutil.which("sshd", path=SSHD_PLACES)
        if program is None:
            self.fail("there is no sshd on this host; install openssh-server or set netns_sshd to false")
        users = " ".join(user["name"] for user in self.spec["users"])
        config = SSHD_CONFIG.format(folder=self.ssh, keys=os.path.join(self.folder, "keys"), users=users)
        path = os.path.join(self.ssh, "sshd_config")
        self.ensure_file(path, config.splitlines())
        with suppress(OSError), open(os.path.join(self.etc, "passwd")) as file:
            config += file.read()
        digest = hashlib.sha256(config.encode()).hexdigest()
        if pid and self.state().get("sshd") == digest:
            return
        self.end(pid)
        if not os.path.exists(f"{self.ssh}/host_key.pub"):
            for half in ("host_key", "host_key.pub"):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.ssh, half))
            self.change("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", f"{self.ssh}/host_key")
        if not self.module.check_mode:
            os.makedirs(PRIVILEGE_SEPARATION, mode=0o755, exist_ok=True)
        self.change("ip", "netns", "exec", self.name, str(program), "-f", path, "-E", f"{self.ssh}/log")
        deadline = time.monotonic() + SSHD_PATIENCE  # its number is written once it listens
        while not (self.module.check_mode or self.sshd()):
            if time.monotonic() > deadline:
                self.fail(f"sshd does not start; {self.ssh}/log says why")
            time.sleep(0.01)
        self.save(sshd=digest)

    def sshd(self) -> int:
        """Its process; 0: there is none."""
        with suppress(OSError, ValueError), open(os.path.join(self.ssh, "pid")) as file:
            pid = int(file.read())
            return pid if pid in self.processes() else 0
        return 0

    def end(self, pid: int) -> None:
        """End the server; connections have processes of their own and go on."""
        if not pid:
            return
        self.changed = True
        if self.module.check_mode:
            return
        deadline = time.monotonic() + SSHD_PATIENCE  # its port is free when it is gone
        while pid in self.processes() and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.ssh, "pid"))

    def boot(self) -> None:
        super().boot()
        self.ensure_sshd()

    def count_processes(self) -> int:
        return len(self.processes()) - bool(self.sshd())

    def describe(self) -> dict[str, Any]:
        wanted = self.exists() and self.wants_sshd()
        if wanted and not self.state().get("stopped") and not self.sshd():
            self.problems.append("its ssh server does not run; reboot it")
        result: dict[str, Any] = super().describe()
        if wanted:
            with suppress(OSError), open(f"{self.ssh}/host_key.pub") as file:
                result["facts"] = {**result["facts"], "ssh_host_key": " ".join(file.read().split()[:2])}
        return result


if __name__ == "__main__":
    run(Namespace, commands={"type": "bool", "default": False}, sshd={"type": "bool", "default": False})
