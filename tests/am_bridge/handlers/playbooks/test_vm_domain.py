"""The domain says what the machine is, and no text in it becomes markup."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ansible.module_utils.vm_domain import (
    SPARE_SLOTS,
    Card,
    Disk,
    Function,
    Machine,
    build,
    card_element,
    function_element,
    plugged,
    plugged_cards,
)

EVIL = "</name><!--\"'&amp;]]><x a='b'>${x} {{ y }} ünï \U0001f600"


def a_machine(**more: Any) -> Machine:
    card = Card("eth1", "02:00:00:00:00:01", "v1234", "br-int", 101)
    disk = Disk("/images/root.qcow2", "qcow2", "root")
    fields: dict[str, Any] = {
        "cards": [card],
        "disks": [disk],
        "boot": {"kernel": "/k", "initrd": "/i", "cmdline": "q"},
    }
    fields |= {"name": "vmoc-a", "owner": "slice/a", "virtualisation": "qemu", "memory_mib": 512, "vcpus": 2}
    return Machine(**{**fields, "console": "/var/log/console", **more})


def text(root: ET.Element, path: str) -> str | None:
    return root.findtext(path)


def test_a_machine() -> None:
    root = ET.fromstring(build(a_machine(pins={"1": "3", "0": "2", "7": "1"}, nodes="0-1")))
    assert root.get("type") == "qemu" and text(root, "name") == "vmoc-a" and text(root, "vcpu") == "2"
    assert (text(root, "memory"), root.find("memory").get("unit")) == ("512", "MiB")  # type: ignore[union-attr]
    assert text(root, "metadata/{https://vmoc.dev/libvirt/1}sliver") == "slice/a"
    assert text(root, "os/kernel") == "/k" and root.find("os/boot") is None
    assert root.find("cpu").get("mode") == "maximum"  # type: ignore[union-attr]
    pins = {one.get("vcpu"): one.get("cpuset") for one in root.findall("cputune/vcpupin")}
    assert pins == {"0": "2", "1": "3"}, "one for a processor that it no longer has is left out"
    assert root.find("numatune/memory").get("nodeset") == "0-1"  # type: ignore[union-attr]
    card = root.find("devices/interface")
    assert card is not None and card.get("type") == "bridge"
    assert card.find("virtualport").get("type") == "openvswitch"  # type: ignore[union-attr]
    assert card.find("vlan/tag").get("id") == "101" and card.find("vlan").get("trunk") is None  # type: ignore[union-attr]
    assert root.find("devices/serial/log").get("file") == "/var/log/console"  # type: ignore[union-attr]
    ports = [one for one in root.findall("devices/controller") if one.get("model") == "pcie-root-port"]
    assert len(ports) >= 2 + SPARE_SLOTS


def test_the_disk_boots_when_there_is_no_kernel() -> None:
    root = ET.fromstring(build(a_machine(boot={}, virtualisation="kvm")))
    assert root.find("os/boot").get("dev") == "hd" and root.find("os/kernel") is None  # type: ignore[union-attr]
    assert root.find("cpu").get("mode") == "host-passthrough"  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["name", "owner", "console"])
def test_text_stays_text(field: str) -> None:
    machine = a_machine()
    setattr(machine, field, EVIL)
    root = ET.fromstring(build(machine))
    places = {
        "name": text(root, "name"),
        "owner": text(root, "metadata/{https://vmoc.dev/libvirt/1}sliver"),
        "console": root.find("devices/serial/log").get("file"),  # type: ignore[union-attr]
    }
    assert places[field] == EVIL and root.find(".//x") is None


@pytest.mark.parametrize("bad", ["\0", "\x1b", "a\nb", "\ud800", "\uffff"])
@pytest.mark.parametrize("field", ["name", "owner", "cmdline"])
def test_what_xml_cannot_hold_is_refused(bad: str, field: str) -> None:
    machine = a_machine()
    if field == "cmdline":
        machine.boot["cmdline"] = bad
    else:
        setattr(machine, field, bad)
    with pytest.raises(ValueError, match="XML cannot hold"):
        build(machine)


def test_the_same_machine_is_the_same_text_and_has_the_same_uuid() -> None:
    assert build(a_machine()) == build(a_machine())
    one, other = (ET.fromstring(build(a_machine(memory_mib=size))).findtext("uuid") for size in (1, 2))
    assert one == other


def test_a_template_gives_what_the_specification_does_not() -> None:
    template = """<domain type="lxc"><name>other</name><memory>1</memory><memoryBacking><hugepages/></memoryBacking>
    <os><type arch="x86_64" machine="pc">hvm</type><kernel>/other</kernel></os><cpu mode="host-model"/>
    <devices><controller type="pci" model="pcie-root-port"/><watchdog model="i6300esb"/><serial type="tcp"/></devices>
    </domain>"""
    root = ET.fromstring(build(a_machine(), template))
    assert root.find("memoryBacking/hugepages") is not None and root.find("devices/watchdog") is not None
    assert root.get("type") == "qemu" and [one.text for one in root.findall("name")] == ["vmoc-a"]
    assert [one.text for one in root.findall("os/kernel")] == ["/k"]
    assert [one.get("type") for one in root.findall("devices/serial")] == ["pty"]
    assert root.find("cpu").get("mode") == "host-model"  # type: ignore[union-attr]
    assert len(root.findall("devices/controller")) == 1, "its own slots are enough for it"


@pytest.mark.parametrize(("template", "why"), [("<domain>", "no XML"), ("<network/>", "not a <domain>")])
def test_a_template_that_is_none(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        build(a_machine(), template)


def test_what_was_plugged_in_is_found_again() -> None:
    cards = [
        Card("eth1", "02:00:00:00:00:01", "v1", "br-int", 101),
        Card("eth2", "02:00:00:00:00:02", "v2", "br-int", 102, tagged=True, offload=False, mtu=1400),
        Card("mgmt0", "02:00:00:00:00:03", "vmg1", host_address="169.254.128.0", peer="169.254.128.1"),
    ]
    functions = [Function("nic", "41:00.2", "02:00:00:00:00:09"), Function("gpu", "0000:42:00.0")]
    built = build(a_machine(cards=cards, functions=functions))
    found = plugged_cards(built)
    assert {name: (one.port, one.vlan, one.tagged) for name, one in found.items()} == {
        "eth1": ("v1", 101, False),
        "eth2": ("v2", 102, True),
        "mgmt0": ("vmg1", 0, False),
    }
    assert sorted(plugged(built, "pci-")) == ["pci-0000-41-00-2", "pci-0000-42-00-0"]
    assert list(plugged(built, "disk-")) == ["disk-root"]
    off = ET.fromstring(found["eth2"].xml)
    assert off.find("driver/host").get("csum") == "off" and off.find("mtu").get("size") == "1400"  # type: ignore[union-attr]
    assert ET.fromstring(found["mgmt0"].xml).find("source/ip").get("address") == "169.254.128.0"  # type: ignore[union-attr]


def test_a_virtual_function_with_a_mac_address_is_an_interface_and_others_are_devices() -> None:
    nic = function_element(Function("nic", "41:00.2", "02:00:00:00:00:09"))
    assert (nic.tag, nic.get("type"), nic.get("managed")) == ("interface", "hostdev", "yes")
    where = {"type": "pci", "domain": "0x0000", "bus": "0x41", "slot": "0x00", "function": "0x2"}
    assert nic.find("source/address").attrib == where  # type: ignore[union-attr]
    assert nic.find("mac").get("address") == "02:00:00:00:00:09"  # type: ignore[union-attr]
    gpu = function_element(Function("gpu", "0001:42:1f.0"))
    assert (gpu.tag, gpu.get("mode"), gpu.get("managed")) == ("hostdev", "subsystem", "yes")
    where = {"domain": "0x0001", "bus": "0x42", "slot": "0x1f", "function": "0x0"}
    assert gpu.find("source/address").attrib == where  # type: ignore[union-attr]


def test_a_trunk_is_marked_as_one() -> None:
    element = card_element(Card("eth1", "02:00:00:00:00:01", "v1", "br-int", 101, tagged=True))
    assert element.find("vlan").get("trunk") == "yes"  # type: ignore[union-attr]
