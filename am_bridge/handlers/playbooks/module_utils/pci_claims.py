"""PCI functions of a host: what sysfs says of them, and which sliver has which.

A claim is a file, ``/var/lib/vmoc/pci/BDF``. It is there before the function is
given away and goes when the function is free again and holds nothing of its
last user's.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

CLAIMS = "/var/lib/vmoc/pci"
NVME = "0x0108"
"""The class of NVMe controllers, without the programming interface."""
BRIDGE = "0x06"


@dataclass(frozen=True)
class Function:
    """One function, as sysfs has it."""

    bdf: str
    place: str
    """Its folder."""

    def read(self, name: str) -> str:
        """An attribute; "" when there is none."""
        with suppress(OSError), open(os.path.join(self.place, name)) as file:
            return file.read().strip()
        return ""

    def names(self, *path: str) -> list[str]:
        """What is in a folder of it."""
        with suppress(OSError):
            return sorted(os.listdir(os.path.join(self.place, *path)))
        return []

    @property
    def exists(self) -> bool:
        """Whether the host has it."""
        return os.path.isdir(self.place)

    @property
    def is_nvme(self) -> bool:
        """Whether it is an NVMe controller."""
        return self.read("class").startswith(NVME)

    @property
    def is_virtual(self) -> bool:
        """Whether it is a function that SR-IOV made."""
        return os.path.exists(os.path.join(self.place, "physfn"))

    @property
    def parents(self) -> list[str]:
        """The network interfaces of the physical function behind it."""
        return self.names("physfn", "net")

    @property
    def namespaces(self) -> list[str]:
        """The disks of an NVMe controller, ``nvme0n1``, when the host's driver has it."""
        return [
            disk
            for controller in self.names("nvme")
            for disk in self.names("nvme", controller)
            if disk.startswith(f"{controller}n")
        ]


def full_bdf(bdf: str) -> str:
    """With its domain: ``0000:41:00.2``."""
    return bdf if bdf.count(":") == 2 else f"0000:{bdf}"


def find_function(sysfs: str, bdf: str) -> Function:
    """That function, there or not."""
    return Function(full_bdf(bdf), os.path.join(sysfs, "bus", "pci", "devices", full_bdf(bdf)))


def claims(folder: str) -> dict[str, dict[str, Any]]:
    """All claims by BDF: ``instance``, and ``vepa``, the parent link that was switched for it."""
    found = {}
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            with suppress(OSError, ValueError), open(os.path.join(folder, name)) as file:
                one = json.load(file)
                if isinstance(one, dict) and "instance" in one:
                    found[name] = one
    return found


def claim(folder: str, bdf: str, instance: str, vepa: str) -> None:
    """Write one down, whole or not at all."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    new = os.path.join(folder, f".{bdf}.{instance}")
    with open(new, "w") as file:
        json.dump({"instance": instance, "vepa": vepa}, file)
    os.replace(new, os.path.join(folder, bdf))


def drop_claim(folder: str, bdf: str) -> None:
    """It is free."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, bdf))
