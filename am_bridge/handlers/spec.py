"""What a sliver should be, as plain values, and what its words may be.

Handlers hand these values to programs that run as root. So every field is held
to the narrowest form that still serves: names to a short alphabet, addresses to
addresses, and free text (commands, keys) to a length and no NUL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from am_bridge.handlers.decode import DecodeError, decode

MAX_ITEMS: Final = 256
"""Of any list in a specification."""
MAX_TEXT: Final = 64 * 1024
"""Characters of a command."""
MAX_KEY: Final = 16 * 1024
"""Characters of one ssh key line."""

_SLICE: Final = re.compile(r"[A-Za-z0-9._:+-]{1,128}")
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_HOSTNAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,8}", re.I)
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_NIC: Final = re.compile(r"[a-z][a-z0-9]{0,9}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_BDF: Final = re.compile(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+@-]{0,254}")
_KEY: Final = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\r\n\0]*)?")


class SpecError(DecodeError):
    """A specification is malformed; see ``problems``."""


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card on one VLAN. ``tagged``: the guest sees tagged frames, on a sub-interface ``NAME.VLAN``."""

    name: str
    vlan: int = 0
    """0: that of the network sliver called ``network``."""
    mac: str = ""
    """Colon notation, lower case; empty: derived from the sliver's and the card's name."""
    addresses: tuple[str, ...] = ()
    """With prefix length: ``10.0.1.5/24``, ``fd00::5/64``."""
    mtu: int = 0
    """Bytes; 0: the bridge's."""
    network: str = ""
    """Of a network sliver of the same slice, or, with a VLAN, any name for people."""
    tagged: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """An account inside the sliver."""

    name: str
    keys: tuple[str, ...] = ()
    """Lines for ``authorized_keys``."""
    sudo: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """``to`` is a network or ``default``."""

    to: str
    via: str


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A line of the hosts file."""

    address: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A TCP port of the sliver, reachable at the host's ``host_port`` (0: the handler picks one)."""

    port: int
    host_port: int = 0


@dataclass(frozen=True, slots=True)
class Component:
    """A device or volume given to the sliver, in AMHandlers' vocabulary of types."""

    type: str
    name: str
    model: str = ""
    bdfs: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    vepa: bool = False
    volume: str = ""
    mount_point: str = ""
    size_gib: int = 0


@dataclass(frozen=True, slots=True)
class SliverSpec:
    """One sliver as wanted. ``properties`` are the handler's own, checked by the schema in ``handlers.yaml``."""

    slice_id: str
    sliver_id: str
    resource_type: str
    model: str = ""
    host: str = ""
    """Name of a host of ``handlers.yaml``; empty: its first."""
    hostname: str = ""
    image: str = ""
    vcpus: int = 1
    memory_mib: int = 0
    disk_gib: int = 0
    interfaces: tuple[Nic, ...] = ()
    components: tuple[Component, ...] = ()
    users: tuple[User, ...] = ()
    routes: tuple[Route, ...] = ()
    hosts: tuple[HostEntry, ...] = ()
    commands: tuple[str, ...] = ()
    """Shell commands run inside the sliver, in order, once, when it is first started."""
    published_ports: tuple[PublishedPort, ...] = ()
    boot_timeout: int = 0
    """Seconds the sliver may take to come up; 0: the handler's own."""
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> SliverKey:
        """What identifies the sliver."""
        return SliverKey(self.slice_id, self.sliver_id)


@dataclass(frozen=True, slots=True, order=True)
class SliverKey:
    """A sliver's identity: ids are unique within a slice."""

    slice_id: str
    sliver_id: str

    def __str__(self) -> str:
        return f"{self.slice_id}/{self.sliver_id}"


def read_spec(document: object) -> SliverSpec:
    """A specification from a JSON-like document, checked. Raises ``SpecError`` with every problem."""
    try:
        spec = decode(SliverSpec, document)
    except DecodeError as error:
        raise SpecError(error.problems) from None
    problems = list(find_problems(spec))
    if problems:
        raise SpecError(problems)
    return spec


def find_problems(spec: SliverSpec) -> Iterator[tuple[str, str]]:
    """What is wrong with the values: (path, sentence)."""
    yield from _form("slice_id", spec.slice_id, _SLICE, "1 to 128 of A-Z a-z 0-9 . _ : + -")
    yield from _form("sliver_id", spec.sliver_id, _SLICE, "1 to 128 of A-Z a-z 0-9 . _ : + -")
    yield from _form("resource_type", spec.resource_type, _TYPE, "a resource type such as VM")
    for name in ("model", "image"):
        yield from _form(name, getattr(spec, name), _WORD, "one word of letters, digits and . _ : / + @ -", empty=True)
    for name in ("host", "hostname"):
        yield from _form(name, getattr(spec, name), _HOSTNAME, "a host name", empty=True)
    for name, most in (("vcpus", 1024), ("memory_mib", 1 << 24), ("disk_gib", 1 << 20), ("boot_timeout", 3600)):
        yield from _within(name, getattr(spec, name), 0, most)
    for name, check in _LISTS.items():
        items = getattr(spec, name)
        if len(items) > MAX_ITEMS:
            yield name, f"has {len(items)} items; at most {MAX_ITEMS} are allowed"
            continue
        for index, item in enumerate(items):
            yield from check(f"{name}[{index}]", item)
    for name, key in (("interfaces", "name"), ("users", "name"), ("components", "name"), ("published_ports", "port")):
        yield from _unique(name, [getattr(one, key) for one in getattr(spec, name)])
    yield from _unique("interfaces", [one.mac for one in spec.interfaces if one.mac], "MAC address ")


def _nic(path: str, nic: Nic) -> Iterator[tuple[str, str]]:
    yield from _form(f"{path}.name", nic.name, _NIC, "an interface name such as eth1")
    if nic.name == "lo":
        yield f"{path}.name", "must not be lo"
    if nic.vlan or not nic.network:
        yield from _within(f"{path}.vlan", nic.vlan, 1, 4094)
    yield from _mac(f"{path}.mac", nic.mac)
    yield from _bounded(f"{path}.addresses", nic.addresses, 32)
    for index, address in enumerate(nic.addresses):
        if "/" not in address or not _parses(ipaddress.ip_interface, address):
            yield f"{path}.addresses[{index}]", "must be an address with its prefix length, such as 10.0.1.5/24"
    if nic.mtu and not 576 <= nic.mtu <= 9216:
        yield f"{path}.mtu", "must be 0 or 576 to 9216"
    yield from _form(f"{path}.network", nic.network, _SLICE, "a segment's name", empty=True)


def _user(path: str, user: User) -> Iterator[tuple[str, str]]:
    yield from _form(f"{path}.name", user.name, _USER, "a user name of a-z 0-9 _ -, up to 32")
    if user.name in {"root", "nobody", "sshd", "daemon", "bin", "sys"}:
        yield f"{path}.name", f"must not be the system's user {user.name}"
    yield from _bounded(f"{path}.keys", user.keys, 64)
    for index, key in enumerate(user.keys):
        yield from find_key_problems(f"{path}.keys[{index}]", key)


def find_key_problems(path: str, key: str) -> Iterator[tuple[str, str]]:
    """An ssh public key is one line: type, base64, comment."""
    if len(key) > MAX_KEY:
        yield path, f"is longer than {MAX_KEY} characters"
    elif not _KEY.fullmatch(key) or not key.isprintable():
        yield path, "must be one line: the type of the key, the key in base64, and perhaps a comment"


def _route(path: str, route: Route) -> Iterator[tuple[str, str]]:
    if route.to != "default" and not _parses(ipaddress.ip_network, route.to):
        yield f"{path}.to", "must be default or a network such as 10.0.2.0/24"
    if not _parses(ipaddress.ip_address, route.via):
        yield f"{path}.via", "must be an address"


def _host(path: str, entry: HostEntry) -> Iterator[tuple[str, str]]:
    if not _parses(ipaddress.ip_address, entry.address):
        yield f"{path}.address", "must be an address"
    yield from _bounded(f"{path}.names", entry.names, 16)
    for index, name in enumerate(entry.names):
        yield from _form(f"{path}.names[{index}]", name, _HOSTNAME, "a host name")


def _command(path: str, command: str) -> Iterator[tuple[str, str]]:
    if len(command) > MAX_TEXT:
        yield path, f"is longer than {MAX_TEXT} characters; fetch a script instead"
    elif "\0" in command or not command.strip():
        yield path, "must be text without NUL, and not empty"
    elif any(0xD800 <= ord(one) <= 0xDFFF for one in command):
        yield path, "must be valid Unicode"


def _port(path: str, port: PublishedPort) -> Iterator[tuple[str, str]]:
    yield from _within(f"{path}.port", port.port, 1, 65535)
    if port.host_port and not 1024 <= port.host_port <= 65535:
        yield f"{path}.host_port", "must be 0 or 1024 to 65535"


def _component(path: str, one: Component) -> Iterator[tuple[str, str]]:
    yield from _form(f"{path}.type", one.type, _TYPE, "a type such as SmartNIC")
    yield from _form(f"{path}.name", one.name, _NAME, "a name of a-z 0-9 -")
    yield from _form(f"{path}.model", one.model, _WORD, "one word", empty=True)
    yield from _form(f"{path}.volume", one.volume, _WORD, "one word", empty=True)
    yield from _bounded(f"{path}.bdfs", one.bdfs, 64)
    yield from _bounded(f"{path}.macs", one.macs, 64)
    for index, bdf in enumerate(one.bdfs):
        yield from _form(f"{path}.bdfs[{index}]", bdf, _BDF, "a PCI address such as 0000:41:00.2")
    for index, mac in enumerate(one.macs):
        yield from _mac(f"{path}.macs[{index}]", mac)
    if one.mount_point and not re.fullmatch(r"(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){1,8}", one.mount_point):
        yield f"{path}.mount_point", "must be an absolute path of plain names"
    yield from _within(f"{path}.size_gib", one.size_gib, 0, 1 << 20)


_LISTS: Final[dict[str, Callable[[str, Any], Iterator[tuple[str, str]]]]] = {
    "interfaces": _nic,
    "components": _component,
    "users": _user,
    "routes": _route,
    "hosts": _host,
    "commands": _command,
    "published_ports": _port,
}


def _form(path: str, text: str, form: re.Pattern[str], what: str, *, empty: bool = False) -> Iterator[tuple[str, str]]:
    if not (empty and not text) and not form.fullmatch(text):
        yield path, f"must be {what}"


def _mac(path: str, mac: str) -> Iterator[tuple[str, str]]:
    if mac and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00"):
        yield path, "must be a unicast MAC address such as 02:00:00:00:00:01"


def _within(path: str, value: int, least: int, most: int) -> Iterator[tuple[str, str]]:
    if not least <= value <= most:
        yield path, f"must be {least} to {most}"


def _bounded(path: str, items: tuple[str, ...], most: int) -> Iterator[tuple[str, str]]:
    if len(items) > most:
        yield path, f"has {len(items)} items; at most {most} are allowed"


def _unique(path: str, values: list[Any], what: str = "") -> Iterator[tuple[str, str]]:
    for value in sorted({one for one in values if values.count(one) > 1}):
        yield path, f"has {what}{value} twice"


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return "%" not in text
