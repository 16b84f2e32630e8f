"""PCI functions, NVMe disks and volumes: the modules, on a tree like sysfs and with programs that write down calls.

There is no such hardware here. What libvirt makes of our XML is in test_vm_xml.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from am_bridge.handlers.decode import encode
from am_bridge.handlers.spec import read_spec
from tests.ovs.handlers.quick import call_module

CARD, VF, OTHER_VF = "0000:41:00.0", "0000:41:00.2", "0000:41:00.3"
DISK, BRIDGE, GPU = "0000:42:00.0", "0000:00:1c.0", "0000:43:00.0"
ALL = [CARD, VF, OTHER_VF, DISK, BRIDGE, GPU]
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >>"{calls}"
case "$*" in
*show*) [ -e "{mode}" ] && echo '[{{"ifname": "ens1f0", "hwmode": "VEPA"}}]' || echo '[{{"ifname": "ens1f0"}}]' ;;
*"hwmode vepa") touch "{mode}" ;;
*"hwmode veb") rm -f "{mode}" ;;
esac
[ ! -e "{broken}" ] || {{ echo "$(cat "{broken}")" >&2; exit 1; }}
"""


class Hardware:
    """A host with a card of two virtual functions, an NVMe disk, a GPU and a bridge."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.broken = folder / "broken"
        self.claims = folder / "claims"
        self.slice_id = f"t-{uuid.uuid4().hex[:12]}"
        classes = {CARD: "0x020000", VF: "0x020000", OTHER_VF: "0x020000", DISK: "0x010802", BRIDGE: "0x060400"}
        for bdf in ALL:
            self.device(bdf).mkdir(parents=True)
            (self.device(bdf) / "class").write_text(classes.get(bdf, "0x030000") + "\n")
        (self.device(CARD) / "net" / "ens1f0").mkdir(parents=True)
        (self.device(DISK) / "nvme" / "nvme0" / "nvme0n1").mkdir(parents=True)
        (self.device(DISK) / "nvme" / "nvme0" / "power").mkdir()
        for bdf in (VF, OTHER_VF):
            (self.device(bdf) / "physfn").symlink_to(f"../{CARD}")
        (folder / "mounts").write_text("/dev/vda1 / ext4 rw 0 0\n")
        (folder / "bin").mkdir()
        text = PROGRAM.format(calls=self.calls, mode=folder / "mode", broken=self.broken)
        for name in ("bridge", "nvme"):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(stat.S_IRWXU)

    def device(self, bdf: str) -> Path:
        return self.folder / "sys" / "bus" / "pci" / "devices" / bdf

    def spec(self, name: str, *components: dict[str, Any]) -> dict[str, Any]:
        document = {"slice_id": self.slice_id, "sliver_id": name, "resource_type": "VM", "components": components}
        return encode(read_spec(document))

    def call(self, module: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
        places = {"sysfs": str(self.folder / "sys"), "claims": str(self.claims), "spec": spec}
        return call_module(module, {**places, **more})

    def claim(self, spec: dict[str, Any], *allowed: str, **more: Any) -> dict[str, Any]:
        mounts = str(self.folder / "mounts")
        return self.call("pci_functions", spec, state="claimed", allowed=allowed or ALL, mounts=mounts, **more)

    def free(self, spec: dict[str, Any], keep: bool = False) -> dict[str, Any]:
        wiped = self.call("nvme_wipe", spec, keep=keep, patience=0.1)
        return wiped if wiped.get("failed") else self.call("pci_functions", spec, state="free", keep=keep)

    def claimed(self) -> dict[str, str]:
        found = self.claims.glob("[0-9]*") if self.claims.exists() else ()
        return {one.name: json.loads(one.read_text())["instance"].split("-")[1] for one in found}

    def told(self) -> list[str]:
        """The calls that change something, since the last time."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [line for line in lines if "show" not in line]


@pytest.fixture
def hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Hardware(tmp_path)


def nic(name: str, bdf: str, **more: Any) -> dict[str, Any]:
    return {"type": "SharedNIC", "name": name, "bdfs": [bdf], "macs": ["02:00:00:00:00:09"], **more}


def test_a_virtual_function_is_claimed_once_and_its_parent_does_vepa(hardware: Hardware) -> None:
    one, two = hardware.spec("one", nic("n", VF, vepa=True)), hardware.spec("two", nic("n", "41:00.2"))
    assert hardware.claim(one)["changed"]
    assert hardware.told() == ["bridge link set dev ens1f0 hwmode vepa"]
    assert not hardware.claim(one)["changed"] and hardware.told() == []
    refused = hardware.claim(two)
    assert refused["failed"] and refused["msg"].startswith(f"{VF} belongs to vmoc-one-")
    assert hardware.claimed() == {VF: "one"}
    assert hardware.free(two)["changed"] is False and hardware.claimed() == {VF: "one"}
    assert hardware.free(one)["changed"] and hardware.claimed() == {}
    assert hardware.told() == ["bridge link set dev ens1f0 hwmode veb"]
    assert not hardware.free(one)["changed"]


def test_the_last_who_wants_vepa_switches_it_off(hardware: Hardware) -> None:
    one = hardware.spec("one", nic("n", VF, vepa=True))
    two = hardware.spec("two", nic("n", OTHER_VF, vepa=True))
    hardware.claim(one)
    hardware.claim(two)
    hardware.told()
    hardware.free(one)
    assert hardware.told() == []
    hardware.free(two)
    assert hardware.told() == ["bridge link set dev ens1f0 hwmode veb"]


def test_a_modify_frees_what_is_no_longer_wanted(hardware: Hardware) -> None:
    hardware.claim(hardware.spec("one", nic("a", VF), nic("b", OTHER_VF, macs=["02:00:00:00:00:08"])))
    less = hardware.spec("one", nic("a", VF))
    assert hardware.free(less, keep=True)["changed"] and hardware.claimed() == {VF: "one"}


@pytest.mark.parametrize(
    ("component", "why"),
    [
        (nic("n", "0000:44:00.0"), "0000:44:00.0 is not one of those that slivers may have; see vm_pci_functions"),
        (nic("n", CARD), f"{CARD} is no virtual function of a network card: it takes neither MAC address nor VEPA"),
        (nic("n", GPU, macs=[], vepa=True), f"{GPU} is no virtual function of a network card: "),
        ({"type": "GPU", "name": "g", "bdfs": [BRIDGE]}, f"{BRIDGE} is a bridge, which cannot be given away"),
        ({"type": "NVME", "name": "d", "bdfs": [GPU]}, f"{GPU} is no NVMe controller"),
        ({"type": "GPU", "name": "g"}, "g needs the BDF of a function"),
        (nic("n", VF, bdfs=[VF, OTHER_VF]), "n needs as many MAC addresses as functions, or none"),
        (nic("n", VF, bdfs=[VF, "41:00.2"], macs=[]), f"{VF} is asked for twice"),
    ],
)
def test_what_cannot_be_given(hardware: Hardware, component: dict[str, Any], why: str) -> None:
    answer = hardware.claim(hardware.spec("one", component))
    assert answer["failed"] and answer["msg"].startswith(why)
    assert hardware.claimed() == {} and hardware.told() == []


def test_a_function_that_sr_iov_did_not_make(hardware: Hardware) -> None:
    answer = hardware.claim(hardware.spec("one", nic("n", "41:00.7")), "41:00.7")
    assert answer["msg"] == "0000:41:00.7 is not there; has SR-IOV made that many?"


def test_a_disk_that_the_host_uses_is_not_given_away(hardware: Hardware) -> None:
    (hardware.folder / "mounts").write_text("/dev/nvme0n1p2 /srv ext4 rw 0 0\n")
    answer = hardware.claim(hardware.spec("one", {"type": "NVME", "name": "d", "bdfs": [DISK]}))
    assert answer["msg"] == f"{DISK} holds nvme0n1, which the host uses"


def test_a_disk_is_erased_before_anybody_else_gets_it(hardware: Hardware) -> None:
    disk = {"type": "NVME", "name": "d", "bdfs": [DISK]}
    one, two = hardware.spec("one", disk), hardware.spec("two", disk)
    hardware.claim(one)
    hardware.broken.write_text("device is busy")
    failed = hardware.free(one)
    assert failed["failed"] and failed["vmoc_leftovers"] == [f"nvme:{DISK}"]
    assert failed["msg"] == f"{DISK} could not be erased: device is busy"
    assert hardware.claim(two)["failed"], "it still holds what the first one wrote"
    hardware.broken.unlink()
    hardware.told()
    assert hardware.free(one)["changed"]
    assert hardware.told() == ["nvme format /dev/nvme0n1 --ses=1 --force"]
    assert hardware.claim(two)["changed"]


def test_a_disk_that_the_driver_does_not_take_back_is_a_leftover(hardware: Hardware) -> None:
    spec = hardware.spec("one", {"type": "NVME", "name": "d", "bdfs": [DISK]})
    hardware.claim(spec)
    for name in ("nvme/nvme0/nvme0n1", "nvme/nvme0/power", "nvme/nvme0", "nvme"):
        (hardware.device(DISK) / name).rmdir()
    answer = hardware.free(spec)
    assert answer["vmoc_leftovers"] == [f"nvme:{DISK}"] and "driver does not have it" in answer["msg"]
    assert hardware.claimed() == {DISK: "one"}


def test_check_mode_claims_and_erases_nothing(hardware: Hardware) -> None:
    spec = hardware.spec("one", nic("n", VF, vepa=True), {"type": "NVME", "name": "d", "bdfs": [DISK]})
    assert hardware.claim(spec, _ansible_check_mode=True)["changed"]
    assert hardware.claimed() == {} and hardware.told() == []
    hardware.claim(spec)
    hardware.told()
    assert hardware.call("nvme_wipe", spec, _ansible_check_mode=True)["changed"]
    assert hardware.call("pci_functions", spec, state="free", _ansible_check_mode=True)["changed"]
    assert sorted(hardware.claimed()) == sorted([VF, DISK]) and hardware.told() == []


# -- volumes


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    (tmp_path / "volumes").mkdir()
    return tmp_path / "volumes"


def call_volumes(hardware: Hardware, volumes: Path, *components: dict[str, Any], **more: Any) -> dict[str, Any]:
    words = {"spec": hardware.spec("one", *components), "volumes": str(volumes), "most_gib": 10, **more}
    return call_module("sliver_volumes", words)


def test_a_named_volume_is_the_slice_s_own(hardware: Hardware, volumes: Path) -> None:
    home = volumes / hardware.slice_id
    home.mkdir()
    (home / "data.raw").touch()
    (volumes / "other").mkdir()
    (volumes / "other" / "data.raw").touch()
    one = {"type": "Storage", "name": "d", "volume": "data", "mount_point": "/data"}
    answer = call_volumes(hardware, volumes, one)
    want = {"serial": "d", "mount_point": "/data", "scratch": False, "path": str(home / "data.raw"), "format": "raw"}
    assert answer["disks"] == [want] and not answer["changed"]
    for escape in ("a/../../other/data", "a/../../../../etc/passwd"):
        refused = call_volumes(hardware, volumes, {"type": "Storage", "name": "d", "volume": escape})
        assert refused["failed"] and refused["msg"].startswith(f"the slice has no volume {escape}; ")


def test_a_link_out_of_the_slice_s_folder_is_not_followed(hardware: Hardware, volumes: Path) -> None:
    (volumes / hardware.slice_id).mkdir()
    (volumes / "secret.raw").touch()
    (volumes / hardware.slice_id / "x.raw").symlink_to(volumes / "secret.raw")
    assert call_volumes(hardware, volumes, {"type": "Storage", "name": "d", "volume": "x"})["failed"]


def test_scratch_is_made_once(hardware: Hardware, volumes: Path) -> None:
    one = {"type": "Storage", "name": "s", "size_gib": 2}
    planned = call_volumes(hardware, volumes, one, _ansible_check_mode=True)
    path = Path(planned["disks"][0]["path"])
    assert planned["changed"] and not path.exists()
    try:
        made = call_volumes(hardware, volumes, one)
        assert made["changed"] and made["disks"][0]["scratch"]
        described = subprocess.run(
            ["qemu-img", "info", "--output=json", str(path)], capture_output=True, check=True, timeout=30
        )
        assert json.loads(described.stdout)["virtual-size"] == 2 << 30
        assert not call_volumes(hardware, volumes, one)["changed"]
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
    for size in (0, 11):
        assert "must have 1 to 10 GiB" in call_volumes(hardware, volumes, one | {"size_gib": size})["msg"]
    long = call_volumes(hardware, volumes, one | {"name": "a-name-of-21-letters1"})
    assert "at most 20 characters" in long["msg"]
