"""The inside of a running machine: how its boot ended, and what the QEMU guest agent says and does there.

Programs get their arguments as lists and texts on standard input; the scripts
are fixed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ansible.module_utils.vm_seed import END, MARK
from ansible.module_utils.waiting import until

CONSOLE_TAIL = 4096
_WRITE = 'mkdir -p "${1%/*}" && cat >"$1"'
_ADD_USER = 'id -- "$1" >/dev/null 2>&1 || useradd -m -s /bin/sh -- "$1" || adduser -D -s /bin/sh -- "$1"'
_DROP_USER = '! id -- "$1" >/dev/null 2>&1 || userdel -r -- "$1" || deluser --remove-home -- "$1"'
_KEYS = """
home=$(awk -F: -v user="$1" '$1 == user {print $6}' /etc/passwd) && [ -n "$home" ] || exit 1
umask 077 && mkdir -p "$home/.ssh" && cat >"$home/.ssh/authorized_keys" && chown -R "$1" "$home/.ssh"
"""
_SUDO = """
umask 227
if [ "$2" = yes ]; then mkdir -p /etc/sudoers.d && echo "$1 ALL=(ALL) NOPASSWD:ALL" >"/etc/sudoers.d/vmoc-$1"
else rm -f "/etc/sudoers.d/vmoc-$1"; fi
"""


class GuestError(Exception):
    """Something inside failed; the text says what."""


class Agent:
    """The guest agent of one domain. ``call`` runs a virsh command: (status, output, errors)."""

    def __init__(self, call: Callable[..., tuple[int, str, str]], domain: str) -> None:
        self._call = call
        self._domain = domain

    def ask(self, command: str, patience: int = 5, **arguments: Any) -> Any:
        """What the agent returns. Raises ``GuestError``."""
        request = json.dumps({"execute": command, "arguments": arguments})
        status, out, err = self._call("qemu-agent-command", "--timeout", str(patience), self._domain, request)
        if status != 0:
            raise GuestError((err or out).strip().removeprefix("error: ") or "the guest agent does not answer")
        return json.loads(out)["return"]

    def answers(self) -> bool:
        """Whether there is one."""
        with suppress(GuestError, ValueError, KeyError):
            self.ask("guest-ping", patience=2)
            return True
        return False

    def run(self, *argv: str, data: str | None = None, limit: float = 60.0) -> str:
        """What a program inside printed. Raises ``GuestError`` when it fails."""
        status, out, err = self.execute(*argv, data=data, limit=limit)
        if status != 0:
            text = (err or out).strip().splitlines()
            raise GuestError(f"{' '.join(argv[:2])} inside failed: {text[-1][:200] if text else status}")
        return out

    def execute(self, *argv: str, data: str | None = None, limit: float = 60.0) -> tuple[int, str, str]:
        """Run a program inside to its end: status, output, errors. Raises ``GuestError`` when it cannot be run."""
        words: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        if data is not None:
            words["input-data"] = base64.b64encode(data.encode()).decode()
        pid = self.ask("guest-exec", **words)["pid"]
        for _ in until(limit):
            if (ended := self.ask("guest-exec-status", pid=pid))["exited"]:
                break
        else:
            raise GuestError(f"{argv[0]} inside takes longer than {limit:g} s")
        out, err = (base64.b64decode(ended.get(name, "")).decode(errors="replace") for name in ("out-data", "err-data"))
        return ended.get("exitcode", 128 + ended.get("signal", 0)), out, err

    def cards(self) -> dict[str, tuple[str, set[str]]]:
        """MAC address to name and addresses; of the links of one MAC address, each has its own entry ``MAC@NAME``."""
        found: dict[str, tuple[str, set[str]]] = {}
        for one in self.ask("guest-network-get-interfaces"):
            mac, name = str(one.get("hardware-address", "")).lower(), str(one.get("name", ""))
            addresses = {
                f"{each['ip-address']}/{each['prefix']}"
                for each in one.get("ip-addresses", [])
                if not str(each.get("ip-address", "")).lower().startswith("fe80:")
            }
            found[f"{mac}@{name}"] = (name, addresses)
            if "." not in name:
                found.setdefault(mac, (name, addresses))
        return found

    def write(self, path: str, text: str) -> None:
        """A file inside."""
        self.run("/bin/sh", "-c", _WRITE, "sh", path, data=text)

    def add_user(self, user: dict[str, Any]) -> None:
        """An account with its keys, and sudo or not; what is there is made so."""
        self.run("/bin/sh", "-c", _ADD_USER, "sh", user["name"])
        self.set_keys(user["name"], user["keys"])
        self.run("/bin/sh", "-c", _SUDO, "sh", user["name"], "yes" if user["sudo"] else "no")

    def drop_user(self, name: str) -> None:
        """Remove an account and its home."""
        self.run("/bin/sh", "-c", _SUDO, "sh", name, "no")
        self.run("/bin/sh", "-c", _DROP_USER, "sh", name)

    def set_keys(self, name: str, keys: list[str]) -> None:
        """A user's authorized_keys."""
        self.run("/bin/sh", "-c", _KEYS, "sh", name, data="".join(f"{key}\n" for key in keys))

    def rename(self, name: str, new: str) -> None:
        """Another name for a link; it goes down for that and loses its addresses of IPv6."""
        self.run("ip", "link", "set", name, "down")
        self.run("ip", "link", "set", name, "name", new)

    def set_card(self, card: dict[str, Any]) -> None:
        """Name, MTU and addresses of the card with that MAC address, and its VLAN's sub-interface."""
        for _ in until(10):  # a card just plugged in takes a moment
            if (found := self.cards().get(card["mac"])) is not None:
                break
        else:
            raise GuestError(f"there is no card {card['mac']} inside")
        name, have = found
        if name != card["name"]:
            other = next((mac for mac, one in self.cards().items() if "@" not in mac and one[0] == card["name"]), "")
            if other:
                self.rename(card["name"], f"x{other.replace(':', '')}")
            self.rename(name, card["name"])
            name, have = card["name"], set()
        if card["mtu"]:
            self.run("ip", "link", "set", name, "mtu", str(card["mtu"]))
        self.run("ip", "link", "set", name, "up")
        if card["tagged"]:
            name = f"{name}.{card['vlan']}"
            inner = self.cards().get(f"{card['mac']}@{name}")
            if inner is None:
                words = ("ip", "link", "add", "link", card["name"], "name", name, "type", "vlan")
                self.run(*words, "id", str(card["vlan"]))
                self.run("ip", "link", "set", name, "up")
            have = inner[1] if inner is not None else set()
        for address in sorted(have - set(card["addresses"])):
            self.run("ip", "addr", "del", address, "dev", name)
        for address in sorted(set(card["addresses"]) - have):
            self.run("ip", "addr", "add", address, "dev", name)


class Console:
    """The file that gets what the machine writes, from byte ``start`` on."""

    def __init__(self, path: str, start: int) -> None:
        self.path = path
        self._start = start

    def text(self) -> str:
        """What was written since, at most the last 64 KiB of it."""
        with suppress(OSError), open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = self._start if size >= self._start else 0  # libvirt's log daemon began a new file
            file.seek(max(start, size - 65536))
            return file.read().decode(errors="replace")
        return ""


def find_verdict(console: str, token: str) -> str:
    """What the boot script said there, "" when it has not yet, or not all of it."""
    for line in reversed(console.splitlines()):
        words = line.strip().split(" ")
        if words[:2] == [MARK, token] and END in words:
            return " ".join(words[2 : words.index(END)])
    return ""


def read_verdict(verdict: str) -> tuple[str, int]:
    """What went wrong and the status of the command, ("", 0) when nothing did."""
    words = verdict.split(" ")
    if words[0] == "done":
        return "", 0
    try:
        number, status = int(words[1]), int(words[2])
        last = base64.b64decode(words[3] if len(words) > 3 else "", validate=True).decode(errors="replace")
    except (IndexError, ValueError, binascii.Error):
        return f"the machine's boot ended with {verdict[:200]!r}", 1
    return f"command {number} ended with {status}: {last.strip()}", status
