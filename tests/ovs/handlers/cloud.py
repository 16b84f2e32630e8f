"""Something like ``openstack``, with its cloud in a file: what ``openstack_sliver`` asks of it, told as it is told.

Called as a program it is the client. With ``DIE`` in the environment it kills its parent after that many changes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

EMPTY: dict[str, Any] = {"servers": {}, "ports": {}, "floating": {}, "next": 1, "calls": []}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


def options(words: list[str], name: str) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == name]


def fail(text: str) -> None:
    print(text, file=sys.stderr)
    raise SystemExit(1)


class Cloud:
    """What there is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else json.loads(json.dumps(EMPTY))

    def new(self) -> str:
        self.state["next"] += 1
        return f"id-{self.state['next']}"

    def find(self, kind: str, name: str) -> str:
        there = self.state[kind]
        found = [key for key, one in there.items() if name in (key, one.get("Name"))]
        if not found:
            fail(f"No {kind} found for {name}")
        return str(found[0])

    def change(self) -> None:
        self.path.write_text(json.dumps(self.state))
        deadly = int(os.environ.get("DIE") or 0)
        made = self.path.with_suffix(".changes")
        made.write_text(str(int(made.read_text()) + 1 if made.exists() else 1))
        if deadly and int(made.read_text()) >= deadly:
            os.kill(os.getppid(), signal.SIGKILL)

    def answer(self, value: Any) -> None:
        print(json.dumps(value))

    # -- commands: names as the client's, with underscores

    def server_list(self, words: list[str]) -> None:
        name = re.compile(option(words, "--name"))
        found = [{"ID": key, "Name": one["Name"]} for key, one in self.state["servers"].items()]
        self.answer([one for one in found if name.search(one["Name"])])

    def server_show(self, words: list[str]) -> None:
        self.answer(self.state["servers"][self.find("servers", words[0])])

    def server_create(self, words: list[str]) -> None:
        data = Path(option(words, "--user-data")).read_text()
        token = dict(one.split("=", 1) for one in options(words, "--property"))
        if option(words, "--image") == "broken":
            fail("Image broken could not be found.")
        key = self.new()
        server = {"Name": words[-1], "status": "ACTIVE", "properties": token, "user-data": data}
        server |= {"flavor": option(words, "--flavor"), "zone": option(words, "--availability-zone")}
        self.state["servers"][key] = server
        for port in options(words, "--port"):
            self.state["ports"][self.find("ports", port)]["device_id"] = key
        self.change()

    def server_delete(self, words: list[str]) -> None:
        del self.state["servers"][self.find("servers", words[-1])]
        self.change()

    def server_set(self, words: list[str]) -> None:
        name, _, value = option(words, "--property").partition("=")
        self.state["servers"][self.find("servers", words[-1])]["properties"][name] = value
        self.change()

    def server_start(self, words: list[str]) -> None:
        self.state["servers"][self.find("servers", words[-1])]["status"] = "ACTIVE"
        self.change()

    server_reboot = server_start

    def server_stop(self, words: list[str]) -> None:
        self.state["servers"][self.find("servers", words[-1])]["status"] = "SHUTOFF"
        self.change()

    def server_add_port(self, words: list[str]) -> None:
        self.state["ports"][self.find("ports", words[1])]["device_id"] = words[0]
        self.change()

    def server_remove_port(self, words: list[str]) -> None:
        self.state["ports"][self.find("ports", words[1])]["device_id"] = ""
        self.change()

    def console_log_show(self, words: list[str]) -> None:
        server = self.state["servers"][self.find("servers", words[0])]
        token = server["properties"]["vmoc-token"]
        said = f"login:\n\nvmoc-boot wrong failed 1 1 .\nvmoc-boot {token} {self.verdict()} ."
        read = self.path.with_suffix(f".{token}")
        print(said if read.exists() else said[:-3])  # it is being written when it is first read
        read.touch()

    def verdict(self) -> str:
        place = self.path.with_suffix(".verdict")
        return place.read_text() if place.exists() else "done"

    def flavor_list(self, words: list[str]) -> None:
        sizes = {"big": (8, 16384, 100), "small": (1, 512, 1), "medium": (2, 4096, 20)}
        names = ("VCPUs", "RAM", "Disk")
        self.answer([{"Name": name, **dict(zip(names, size, strict=True))} for name, size in sizes.items()])

    def port_list(self, words: list[str]) -> None:
        self.answer([{"ID": key, **one} for key, one in self.state["ports"].items()])

    def port_show(self, words: list[str]) -> None:
        self.answer(self.state["ports"][self.find("ports", words[0])])

    def port_create(self, words: list[str]) -> None:
        if option(words, "--network").endswith("-666"):
            fail("No Network found for vlan-666")
        fixed = [
            {"subnet_id": "s", "ip_address": one.removeprefix("ip-address=")} for one in options(words, "--fixed-ip")
        ]
        key = self.new()
        mac = option(words, "--mac-address") or f"FA:16:3E:00:00:{self.state['next']:02X}"
        port = {"Name": words[-1], "MAC Address": mac, "Fixed IP Addresses": fixed, "device_id": ""}
        self.state["ports"][key] = port | {"network": option(words, "--network")}
        self.change()

    def port_delete(self, words: list[str]) -> None:
        if self.path.with_suffix(".stuck").exists():
            fail("Port is in use.")
        del self.state["ports"][self.find("ports", words[-1])]
        self.change()

    def floating_ip_list(self, words: list[str]) -> None:
        self.answer([{"ID": key, **one} for key, one in self.state["floating"].items()])

    def floating_ip_create(self, words: list[str]) -> None:
        key = self.new()
        one = {"Description": option(words, "--description"), "Floating IP Address": "192.0.2.7"}
        self.state["floating"][key] = one | {"Port": option(words, "--port")}
        self.change()

    def floating_ip_delete(self, words: list[str]) -> None:
        del self.state["floating"][self.find("floating", words[-1])]
        self.change()


def main(words: list[str]) -> None:
    cloud = Cloud(Path(os.environ["CLOUD"]))
    assert words[:2] == ["--os-cloud", "lab"]
    words = words[2:]
    if words[-2:] == ["-f", "json"]:
        words = words[:-2]
    for length in (3, 2):
        command = getattr(cloud, "_".join(words[:length]), None)
        if command is not None:
            command(words[length:])
            return
    fail(f"openstack: {words} is not an openstack command.")


if __name__ == "__main__":
    main(sys.argv[1:])
