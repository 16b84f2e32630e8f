"""What a virtual machine is told about itself: a NoCloud seed for cloud-init, as three documents.

Free text is in double-quoted YAML scalars or, where it becomes a file, in
base64: nothing of it can end a scalar. Commands are files of their own, which
a script of ours runs; their texts never meet.
"""

from __future__ import annotations

import base64
import ipaddress
import shlex
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.sliver_name import hosts_lines

PLACE = "/var/lib/vmoc"
"""Our folder inside."""
SCRIPT = "/var/lib/cloud/scripts/per-boot/vmoc"
MARK = "vmoc-boot"
"""Begins the words on the console that say how a boot ended: ``vmoc-boot TOKEN done .``, or ``failed`` with the
command's number, its status and the base64 of the last it printed."""
END = "."
"""Ends them: the console is read while it is written."""

_BOOT = """#!/bin/sh
# Runs the sliver's commands at the first boot; tells the console, at each, how it went.
cd / || exit 1
console=/dev/console
[ ! -c /dev/ttyS0 ] || console=/dev/ttyS0
say() {{ printf '\\n{mark} {token} %s {end}\\n' "$*" >"$console"; }}
if [ ! -e {place}/booted ]; then
    number=1
    while [ -e "{place}/commands/$number" ]; do
        /bin/sh "{place}/commands/$number" </dev/null >{place}/output 2>&1
        status=$?
        if [ $status -ne 0 ]; then
            say failed "$number" "$status" "$(tail -c 3000 {place}/output | base64 | tr -d '\\n')"
            exit 0
        fi
        number=$((number + 1))
    done
    : >{place}/booted
fi
say done
"""


def quote(text: str) -> str:
    """A double-quoted YAML scalar. What YAML or cloud-init could take for anything but itself is escaped."""
    return '"' + "".join(_escape(one) for one in text) + '"'


def _escape(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    if one.isprintable():
        return one
    return f"\\x{ord(one):02x}" if ord(one) < 256 else f"\\U{ord(one):08x}"


def meta_data(instance: str, hostname: str) -> str:
    """``instance`` must be another one for each new machine: with it cloud-init begins anew."""
    return f"instance-id: {quote(instance)}\nlocal-hostname: {quote(hostname)}\n"


def user_data(spec: dict[str, Any], hostname: str, token: str, volumes: list[dict[str, Any]]) -> str:
    """``volumes``: the ``serial`` of each, its ``mount_point`` if it has one, and whether it is ``scratch``, empty."""
    lines = [
        "#cloud-config",
        f"hostname: {quote(hostname)}",
        "preserve_hostname: false",
        # Images of Debian's have it on: each boot would put its template in place of ours.
        "manage_etc_hosts: false",
        # Cards of a later boot are configured, too, not only those of the first.
        'updates: {network: {when: ["boot-new-instance", "boot"]}}',
        "users:",
        '  - "default"',
    ]
    for user in spec["users"]:
        lines += [f"  - name: {quote(user['name'])}", '    shell: "/bin/sh"', "    lock_passwd: true"]
        if user["sudo"]:
            lines.append('    sudo: "ALL=(ALL) NOPASSWD:ALL"')
        if user["keys"]:
            lines += ["    ssh_authorized_keys:", *(f"      - {quote(key)}" for key in user["keys"])]
    lines.append("write_files:")
    for path, mode, text in files(spec, hostname, token):
        content = base64.b64encode(text.encode()).decode()
        lines += [f"  - path: {quote(path)}", f'    permissions: "{mode}"', '    encoding: "b64"']
        lines.append(f'    content: "{content}"')
    scratch = [quote(disk_path(one["serial"])) for one in volumes if one["scratch"]]
    if scratch:
        lines += ["fs_setup:", *(f'  - {{device: {disk}, filesystem: "ext4", overwrite: false}}' for disk in scratch)]
    mounts = [(quote(disk_path(one["serial"])), quote(one["mount_point"])) for one in volumes if one["mount_point"]]
    if mounts:
        lines += ["mounts:", *(f'  - [{disk}, {place}, "auto", "defaults,nofail", "0", "2"]' for disk, place in mounts)]
    return "\n".join(lines) + "\n"


def files(spec: dict[str, Any], hostname: str, token: str) -> Iterator[tuple[str, str, str]]:
    """(path, mode, text) of what is written inside."""
    yield "/etc/hosts", "0644", hosts_file(spec, hostname)
    for number, command in enumerate(spec["commands"], 1):
        yield f"{PLACE}/commands/{number}", "0700", command + "\n"
    yield SCRIPT, "0700", _BOOT.format(mark=MARK, end=END, place=PLACE, token=shlex.quote(token))


def hosts_file(spec: dict[str, Any], hostname: str) -> str:
    """/etc/hosts."""
    return "".join(f"{line}\n" for line in hosts_lines(spec, hostname))


def disk_path(serial: str) -> str:
    """Where udev puts a virtio disk of that serial number."""
    return f"/dev/disk/by-id/virtio-{serial}"


def network_config(cards: list[dict[str, Any]], routes: list[dict[str, Any]]) -> str:
    """Version 2, a line for each card and VLAN. ``cards``: name, mac, vlan, tagged, mtu, addresses.

    A route belongs to the link that reaches its gateway; one that none reaches, to the first.
    """
    ethernets, vlans = [], []
    owner = {id(route): _towards(route["via"], cards) for route in routes}
    for card in cards:
        own = [
            f"{{to: {quote(everywhere(one['to'], one['via']))}, via: {quote(one['via'])}}}"
            for one in routes
            if owner[id(one)] == card["name"]
        ]
        addresses = f"addresses: [{', '.join(quote(one) for one in card['addresses'])}]"
        layer_3 = f"{addresses}, routes: [{', '.join(own)}]"
        words = f"match: {{macaddress: {quote(card['mac'])}}}, set-name: {quote(card['name'])}, dhcp4: false, "
        words += "dhcp6: false, accept-ra: false, optional: true"
        if card["mtu"]:
            words += f", mtu: {card['mtu']}"
        ethernets.append(f"  {quote(card['name'])}: {{{words}{'' if card['tagged'] else ', ' + layer_3}}}")
        if card["tagged"]:
            name = quote(f"{card['name']}.{card['vlan']}")
            vlans.append(f"  {name}: {{id: {card['vlan']}, link: {quote(card['name'])}, {layer_3}}}")
    lines = ["version: 2"]
    if ethernets:
        lines += ["ethernets:", *ethernets]
    if vlans:
        lines += ["vlans:", *vlans]
    return "\n".join(lines) + "\n"


def everywhere(to: str, via: str) -> str:
    """``default`` as a network: not every renderer of cloud-init knows the word."""
    return to if to != "default" else "::/0" if ":" in via else "0.0.0.0/0"


def _towards(via: str, cards: list[dict[str, Any]]) -> str:
    gateway = ipaddress.ip_address(via)
    for card in cards:
        if any(gateway in ipaddress.ip_interface(one).network for one in card["addresses"]):
            return str(card["name"])
    return str(cards[0]["name"]) if cards else ""
