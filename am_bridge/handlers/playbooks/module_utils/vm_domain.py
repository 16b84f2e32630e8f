"""The libvirt domain of a sliver: built as a tree, so that no text of anybody's can become markup.

The operator may give a template, a ``<domain>`` of which everything is kept
but what a sliver's specification decides.
"""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from ansible.module_utils.pci_claims import full_bdf

NAMESPACE = "https://vmoc.dev/libvirt/1"
"""Of our element in the domain's metadata: it says whose machine this is."""
SPARE_SLOTS = 4
"""Cards and disks that can be plugged in later, besides those there are."""
_OFFLOADS = {
    "host": dict.fromkeys("csum gso tso4 tso6 ecn ufo".split(), "off"),
    "guest": dict.fromkeys("csum tso4 tso6 ecn ufo".split(), "off"),
}

TEMPLATE = """
<domain>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <features><acpi/><apic/></features>
  <clock offset="utc"/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type="usb" model="none"/>
    <memballoon model="none"/>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>
"""


@dataclass
class Disk:
    """A virtio disk of a file; ``serial`` names it inside."""

    path: str
    format: str
    serial: str
    readonly: bool = False


@dataclass
class Card:
    """A network card on Open vSwitch; with ``bridge`` empty one of the host alone, for published ports."""

    name: str
    mac: str
    port: str
    bridge: str = ""
    vlan: int = 0
    tagged: bool = False
    mtu: int = 0
    offload: bool = True
    host_address: str = ""
    peer: str = ""
    """The address inside, when there is one of the host."""


@dataclass
class Function:
    """A PCI function of the host. With ``mac`` it is a virtual function whose MAC address the host sets."""

    name: str
    bdf: str
    mac: str = ""


@dataclass
class Machine:
    """All that the domain's description says."""

    name: str
    owner: str
    virtualisation: str
    """``kvm`` or ``qemu``."""
    memory_mib: int
    vcpus: int
    console: str
    """File that gets what the machine writes on its serial console."""
    boot: dict[str, str] = field(default_factory=dict)
    """``kernel``, ``initrd`` and ``cmdline``, when it is not its disk that boots."""
    disks: list[Disk] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    pins: dict[str, str] = field(default_factory=dict)
    """Virtual CPU to the host's CPUs, as ``2,4-5``."""
    nodes: str = ""
    """NUMA nodes that its memory may come from."""


def build(machine: Machine, template: str = "") -> str:
    """The domain's XML. Raises ``ValueError`` for a template that is no domain, and for text that XML cannot hold."""
    try:
        domain = ET.fromstring(template or TEMPLATE)
    except ET.ParseError as error:
        raise ValueError(f"the template is no XML: {error}") from None
    if domain.tag != "domain":
        raise ValueError(f"the template is a <{domain.tag}>, not a <domain>")
    domain.set("type", machine.virtualisation)
    for name in ("name", "uuid", "memory", "currentMemory", "vcpu"):
        _drop(domain, name)
    head = [
        _leaf("name", machine.name),
        _leaf("uuid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{NAMESPACE}/{machine.name}"))),
        _leaf("memory", str(machine.memory_mib), unit="MiB"),
        _leaf("vcpu", str(machine.vcpus)),
    ]
    for place, element in enumerate(head):
        domain.insert(place, element)
    metadata = _child(domain, "metadata")
    ET.SubElement(metadata, f"{{{NAMESPACE}}}sliver").text = _text(machine.owner)
    if domain.find("cpu") is None:
        ET.SubElement(domain, "cpu", mode="host-passthrough" if machine.virtualisation == "kvm" else "maximum")
    _set_boot(_child(domain, "os"), machine)
    _set_pins(domain, machine)
    devices = _child(domain, "devices")
    if not [one for one in devices.findall("controller") if one.get("model") == "pcie-root-port"]:
        _add_slots(devices, machine)
    for number, disk in enumerate(machine.disks):
        devices.append(disk_element(disk, number))
    for card in machine.cards:
        devices.append(card_element(card))
    for function in machine.functions:
        devices.append(function_element(function))
    _add_console(devices, machine)
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def disk_element(disk: Disk, number: int) -> ET.Element:
    """``<disk>``; the number gives it its target's name, which must differ from other disks' and means nothing else."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type=_text(disk.format), discard="unmap")
    ET.SubElement(element, "source", file=_text(disk.path))
    ET.SubElement(element, "target", dev=_disk_name(number), bus="virtio")
    if disk.readonly:
        ET.SubElement(element, "readonly")
    ET.SubElement(element, "serial").text = _text(disk.serial)
    ET.SubElement(element, "alias", name=f"ua-disk-{_text(disk.serial)}")
    return element


def card_element(card: Card) -> ET.Element:
    """``<interface>``: an access or trunk port of the bridge. ``virsh attach-interface`` cannot say that."""
    element = ET.Element("interface", type="bridge" if card.bridge else "ethernet")
    ET.SubElement(element, "mac", address=_text(card.mac))
    if card.bridge:
        ET.SubElement(element, "source", bridge=_text(card.bridge))
        ET.SubElement(element, "virtualport", type="openvswitch")
        vlan = ET.SubElement(element, "vlan", {"trunk": "yes"} if card.tagged else {})
        ET.SubElement(vlan, "tag", id=str(card.vlan))
    elif card.host_address:
        source = ET.SubElement(element, "source")
        # As a peer: libvirt would call the other address of a /31 the broadcast address.
        ET.SubElement(source, "ip", address=card.host_address, family="ipv4", prefix="32", peer=card.peer)
    ET.SubElement(element, "target", dev=_text(card.port))
    ET.SubElement(element, "model", type="virtio")
    if not card.offload:
        driver = ET.SubElement(element, "driver", name="qemu")
        for side, offloads in _OFFLOADS.items():
            ET.SubElement(driver, side, offloads)
    ET.SubElement(element, "alias", name=f"ua-{_text(card.name)}")
    if card.mtu:
        ET.SubElement(element, "mtu", size=str(card.mtu))
    return element


def function_element(function: Function) -> ET.Element:
    """``<interface type="hostdev">`` for a virtual function with a MAC address, ``<hostdev>`` for any other.

    ``managed``: libvirt takes the function from the host's driver, and gives it back.
    """
    domain, bus, rest = full_bdf(function.bdf).split(":")
    slot, number = rest.split(".")
    where = {"domain": f"0x{domain}", "bus": f"0x{bus}", "slot": f"0x{slot}", "function": f"0x{number}"}
    if function.mac:
        element = ET.Element("interface", type="hostdev", managed="yes")
        ET.SubElement(element, "mac", address=_text(function.mac))
        ET.SubElement(ET.SubElement(element, "source"), "address", {"type": "pci", **where})
    else:
        element = ET.Element("hostdev", mode="subsystem", type="pci", managed="yes")
        ET.SubElement(ET.SubElement(element, "source"), "address", where)
    ET.SubElement(element, "alias", name=f"ua-pci-{full_bdf(function.bdf).replace(':', '-').replace('.', '-')}")
    return element


@dataclass(frozen=True)
class Plugged:
    """A card as the running domain has it."""

    mac: str
    port: str
    vlan: int
    tagged: bool
    xml: str


def plugged_cards(text: str) -> dict[str, Plugged]:
    """The cards of a domain's XML by their names; those without one of our names are not ours."""
    found = {}
    for element in ET.fromstring(text).findall("devices/interface"):
        name = alias(element)
        target, tag, mac = element.find("target"), element.find("vlan/tag"), element.find("mac")
        if name and not name.startswith("pci-") and target is not None and mac is not None:
            vlan = element.find("vlan")
            found[name] = Plugged(
                mac.get("address", ""),
                target.get("dev", ""),
                int(tag.get("id", "0")) if tag is not None else 0,
                vlan is not None and vlan.get("trunk") == "yes",
                ET.tostring(element, encoding="unicode"),
            )
    return found


def plugged(text: str, prefix: str) -> dict[str, str]:
    """The other devices of ours whose names begin so (``disk-``, ``pci-``): name to XML."""
    devices = ET.fromstring(text).find("devices")
    named = {alias(one): one for one in (devices if devices is not None else ())}
    return {name: ET.tostring(one, encoding="unicode") for name, one in named.items() if name.startswith(prefix)}


def console_terminal(text: str) -> str:
    """The pseudo-terminal of a running domain's console; "" when there is none."""
    source = ET.fromstring(text).find("devices/serial/source")
    return source.get("path", "") if source is not None else ""


def alias(element: ET.Element) -> str:
    """The name of ours that a device has."""
    alias = element.find("alias")
    name = alias.get("name", "") if alias is not None else ""
    return name[3:] if name.startswith("ua-") else ""


def _set_boot(place: ET.Element, machine: Machine) -> None:
    for name in ("kernel", "initrd", "cmdline", "boot"):
        _drop(place, name)
    if machine.boot:
        for name in ("kernel", "initrd", "cmdline"):
            if machine.boot.get(name):
                place.append(_leaf(name, machine.boot[name]))
    else:
        ET.SubElement(place, "boot", dev="hd")


def _set_pins(domain: ET.Element, machine: Machine) -> None:
    if machine.pins:
        tune = _child(domain, "cputune")
        for vcpu, cpus in sorted(machine.pins.items(), key=lambda one: int(one[0])):
            if int(vcpu) < machine.vcpus:
                ET.SubElement(tune, "vcpupin", vcpu=str(int(vcpu)), cpuset=_text(cpus))
    if machine.nodes:
        tune = _child(domain, "numatune")
        _drop(tune, "memory")
        ET.SubElement(tune, "memory", mode="strict", nodeset=_text(machine.nodes))


def _add_slots(devices: ET.Element, machine: Machine) -> None:
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    wanted = len(machine.disks) + len(machine.cards) + len(machine.functions) + 2  # the channel's controller, the rng
    for _ in range(min(wanted + SPARE_SLOTS, 28)):
        ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _add_console(devices: ET.Element, machine: Machine) -> None:
    """A pseudo-terminal for ``virsh console``, and a file of all that was ever written."""
    for name, target in (("serial", {"port": "0"}), ("console", {"type": "serial", "port": "0"})):
        _drop(devices, name)
        element = ET.SubElement(devices, name, type="pty")
        if name == "serial":
            ET.SubElement(element, "log", file=_text(machine.console), append="on")
        ET.SubElement(element, "target", target)


def _drop(parent: ET.Element, name: str) -> None:
    for one in parent.findall(name):
        parent.remove(one)


def _child(parent: ET.Element, name: str) -> ET.Element:
    found = parent.find(name)
    return found if found is not None else ET.SubElement(parent, name)


def _leaf(name: str, text: str, **attributes: str) -> ET.Element:
    element = ET.Element(name, attributes)
    element.text = _text(text)
    return element


def _text(text: str) -> str:
    """XML has no way to write most control characters, and the writer does not look."""
    if any(not (one >= " " or one == "\t") or one in "\ufffe\uffff" or "\ud800" <= one <= "\udfff" for one in text):
        raise ValueError(f"{text[:80]!r} has characters that XML cannot hold")
    return text


def _disk_name(number: int) -> str:
    name = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        name = chr(ord("a") + letter) + name
    return f"vd{name}"
