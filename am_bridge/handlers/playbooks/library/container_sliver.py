"""An Ansible module: one sliver as a container, which is a network namespace and a first process of its own in it.

As with ``netns_sliver`` everything carries the instance's name::

    namespace      vmoc-SLIVER-HASH, with cards, management link and nftables table as there
    files          /var/lib/vmoc/netns/vmoc-SLIVER-HASH/: root (its file system), console.log, what we must remember
    first process  has VMOC_SLIVER=vmoc-SLIVER-HASH in its environment
    limits         control groups vmoc/vmoc-SLIVER-HASH
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_limits import Group
from ansible.module_utils.container_root import Root, merge_accounts
from ansible.module_utils.container_start import UIDS, make_network, start
from ansible.module_utils.sliver_life import PATIENCE, change_lines
from ansible.module_utils.sliver_name import hosts_lines
from ansible.module_utils.sliver_namespace import COMMAND_LIMIT, FIRST_UID, NamespaceSliver
from ansible.module_utils.sliver_verbs import run

DOCUMENTATION = """
module: container_sliver
short_description: A sliver as a container
description: Makes, changes, removes and looks at a container with cards on an Open vSwitch bridge.
"""

MARK = "VMOC_SLIVER"
SUDOERS = "etc/sudoers.d/vmoc"
COMMANDS = "var/lib/vmoc/commands"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "linux"}
MAX_PROCESSES = 4096
MAX_CONSOLE = 1 << 20
"""Bytes kept of the console when the container is started again."""


class Container(NamespaceSliver):  # type: ignore[misc]
    """A namespace with files, users and processes of its own."""

    kind = "container"

    def __init__(self, module: AnsibleModule, name: str = "") -> None:
        super().__init__(module, name)
        # Neighbours do not share user ids: what escapes one container finds nothing of its own in another.
        self.root = Root(os.path.join(self.folder, "root"), (1 << 20) + int(self.hash, 16) % (1 << 13) * UIDS)
        self.console = os.path.join(self.folder, "console.log")
        self.group = Group(self.name)
        limits = (self.spec.get("memory_mib", 0), self.spec.get("vcpus", 0), MAX_PROCESSES)
        self.limits: dict[str, dict[str, str]] = self.group.wanted(*limits)

    # -- files ---------------------------------------------------------------------------------------------------------

    def ensure_files(self) -> None:
        if not os.path.isdir(self.root.path):
            archive = self.archive()
            self.changed = True
            if self.module.check_mode:
                return
            os.chmod(self.folder, 0o700)
            try:
                self.root.build(archive)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self.fail(f"the root file system cannot be made: {error}")
        users = self.spec["users"]
        names = [user["name"] for user in users]
        self.ensure_inside("etc/hosts", lines_of(hosts_lines(self.spec, self.hostname)))
        self.ensure_inside("etc/hostname", f"{self.hostname}\n")
        numbered = list(enumerate(names, FIRST_UID))
        for path, lines in (
            ("etc/passwd", [f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh" for uid, name in numbered]),
            ("etc/group", [f"{name}:x:{uid}:" for uid, name in numbered]),
        ):
            self.ensure_inside(path, merge_accounts(self.root.read(path) or "", lines, FIRST_UID, names))
        before = self.state().get("users", [])
        if (shadow := self.root.read("etc/shadow")) is not None:  # PAM lets nobody in whom it does not name
            kept = [line for line in shadow.splitlines() if line.split(":")[0] not in {*before, *names}]
            lines = [*kept, *(f"{name}:*:19000:0:99999:7:::" for name in names)]
            self.ensure_inside("etc/shadow", lines_of(lines), mode=0o640)
        sudo = "".join(f"{user['name']} ALL=(ALL:ALL) NOPASSWD: ALL\n" for user in users if user["sudo"])
        if sudo or self.root.read(SUDOERS) is not None:
            self.ensure_inside(SUDOERS, sudo, mode=0o440)
        for uid, user in enumerate(users, FIRST_UID):
            self.ensure_inside(self.keys(user["name"]), lines_of(user["keys"]), uid, 0o600)
        for name in sorted(set(before) - set(names)):
            self.changed = True
            if not self.module.check_mode:
                self.root.remove(f"home/{name}")
        if before != names:
            self.save(users=names)

    def keys(self, user: str) -> str:
        return f"home/{user}/.ssh/authorized_keys"

    def archive(self) -> str:
        """The file of the image; "" for the one made of busybox."""
        image: str = self.spec["image"]
        if image in ("", "busybox"):
            return ""
        folder = os.path.realpath(self.module.params["images"])
        for ending in (".tar", ".tar.gz", ".tar.xz", ".tgz"):
            path: str = os.path.realpath(os.path.join(folder, image + ending))
            if path.startswith(folder + os.sep) and os.path.isfile(path):
                return path
        self.fail(f"there is no image {image} in {folder}; give NAME.tar, .tar.gz or .tar.xz there, or busybox")
        return ""

    def ensure_inside(self, path: str, text: str, uid: int = 0, mode: int = 0o644) -> None:
        if self.root.read(path) == text:
            return
        self.changed = True
        if self.module.check_mode:
            return
        try:
            self.root.write(path, text, uid, mode)
        except OSError as error:
            self.fail(f"/{path} of the container cannot be written: {error.strerror}")

    def make_namespace(self) -> None:
        if self.module.check_mode:
            self.changed = True
            return
        attach = partial(self.change, "ip", "netns", "attach", self.name)
        if reason := make_network(self.root.first_uid, lambda pid: attach(str(pid))):
            self.fail(f"the container's network cannot be made: {reason}")

    # -- life ----------------------------------------------------------------------------------------------------------

    def first_process(self) -> int:
        """The host's number of the container's first process; 0: none runs."""
        mark = f"{MARK}={self.name}".encode()
        for name in os.listdir("/proc"):
            if name.isdecimal():
                with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read(4096).split(b"\0") and inner_number(name) == 1:
                        return int(name)
        return 0

    def processes(self) -> list[int]:
        """Those inside, the first one included."""
        found = set(super().processes())
        return sorted(found | {first} if (first := self.first_process()) else found)

    def ensure_running(self) -> None:
        if self.state().get("stopped") or self.first_process():
            return
        self.changed = True
        if self.module.check_mode:
            return
        self.shorten_console()
        self.group.set(self.limits)
        environment = {**ENVIRONMENT, "container": "vmoc", MARK: self.name}
        if reason := start(self.name, self.root.path, self.hostname, self.console, environment, self.group.join):
            self.fail(f"the container cannot be started: {reason}")

    def shorten_console(self) -> None:
        with suppress(FileNotFoundError), open(self.console, "r+b") as file:
            if os.fstat(file.fileno()).st_size > MAX_CONSOLE:
                file.seek(-MAX_CONSOLE, os.SEEK_END)
                kept = file.read()
                file.seek(0)
                file.write(kept)
                file.truncate()

    def run_commands(self) -> None:
        if not self.module.check_mode and self.group.set(self.limits):
            self.changed = True
        self.ensure_running()
        if self.state().get("booted") or self.module.check_mode:
            return
        for number, command in enumerate(self.spec["commands"], 1):
            self.ensure_inside(f"{COMMANDS}/{number}", command + "\n", mode=0o700)
            status, last = self.execute("/bin/sh", f"/{COMMANDS}/{number}")
            if status != 0:
                self.fail(f"command {number} ended with {status}: {last}", status)
        self.save(booted=True)

    def execute(self, *argv: str) -> tuple[int, str]:
        """Run something inside, as its root; what it prints goes to the console. (Status, the last of it)."""
        # All but the time namespace, and the user namespace last: nsenter(1) does that when it gives up rights.
        words = ["nsenter", "-t", str(self.first_process()), *"-m -u -i -n -p -C -U -r".split(), "--wd=/"]
        with open(self.console, "a+b") as console:
            before = console.seek(0, os.SEEK_END)
            done = subprocess.run(
                [*words, "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=ENVIRONMENT,
                preexec_fn=self.group.join,
                check=False,
            )
            end = console.seek(0, os.SEEK_END)
            console.seek(max(before, end - COMMAND_LIMIT))
            return done.returncode, console.read(COMMAND_LIMIT).decode(errors="replace").strip()

    def boot(self) -> None:
        super().boot()
        self.ensure_running()

    def kill(self) -> None:
        """First ask all but the first process, which ignores what it does not know; with it all others end."""
        first = self.first_process()
        others = [pid for pid in self.processes() if pid != first]
        if self.module.check_mode or not (first or others):
            return
        self.changed = True
        send(others, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while any(os.path.exists(f"/proc/{pid}/ns/pid") for pid in others if running(pid)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        deadline = time.monotonic() + PATIENCE
        while (left := self.processes()) and time.monotonic() < deadline:
            send(left, signal.SIGKILL)
            time.sleep(0.01)

    def tear_down(self) -> None:
        super().tear_down()
        if not self.module.check_mode:
            self.changed |= self.group.remove(PATIENCE)

    def remains(self) -> list[str]:
        return [*super().remains(), *(f"cgroup:{path}" for path in self.group.left())]

    # -- what it is like -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        if self.exists() and not self.state().get("stopped") and not self.first_process():
            self.problems.append("its first process does not run; start it, or reboot")
        result: dict[str, Any] = super().describe()
        if result["state"] != "absent":
            limited = self.group.in_force(self.limits)
            result["facts"] = {**result["facts"], "console": self.console, "limits": limited}
        return result

    def count_processes(self) -> int:
        """Those of the tenant."""
        return max(0, len(self.processes()) - 1)

    def change_keys(self, parameters: dict[str, Any], add: bool) -> None:
        name, keys = self.checked_keys(parameters)
        text = self.root.read(self.keys(name)) or ""
        uid = FIRST_UID + [user["name"] for user in self.spec["users"]].index(name)
        self.ensure_inside(self.keys(name), lines_of(change_lines(text.splitlines(), keys, add)), uid, 0o600)


def lines_of(lines: list[str]) -> str:
    """A file's text."""
    return "".join(f"{line}\n" for line in lines)


def inner_number(pid: str) -> int:
    """A process's number in the innermost of its process namespaces, 0 when it is in the host's only."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return int(numbers[-1]) if len(numbers) > 1 else 0
    return 0


def running(pid: int) -> bool:
    """Whether there is such a process, zombies excepted."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def send(pids: list[int], number: signal.Signals) -> None:
    """A signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    run(Container, images={"type": "path", "default": ""})
