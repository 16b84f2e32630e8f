"""What all that makes slivers agrees on: what one is called on its host, and what is written of it there."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from typing import Any

STATES = "/var/lib/vmoc/netns"
STATE = "vmoc.json"
MARK = "made"


def name_instance(spec: dict[str, Any]) -> str:
    """The instance's name, which follows from slice and sliver and nothing else; its last 8 digits are a hash."""
    key = f"{spec['slice_id']}/{spec['sliver_id']}"
    readable = re.sub(r"[^a-z0-9-]", "-", spec["sliver_id"][:40].lower())
    return f"vmoc-{readable}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def read_state(name: str) -> dict[str, Any]:
    """What we must remember about an instance."""
    with suppress(OSError, ValueError), open(os.path.join(STATES, name, STATE)) as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def read_mark(name: str) -> tuple[str, str]:
    """What made an instance, and for which VMOC; "" for what is not written down."""
    with suppress(OSError), open(os.path.join(STATES, name, MARK)) as file:
        kind, _, installation = file.read(1024).partition("\n")
        return kind, installation.strip()
    return "", ""


def hosts_lines(spec: dict[str, Any], hostname: str) -> list[str]:
    """Of /etc/hosts."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", f"127.0.1.1 {hostname}"]
    return lines + [f"{one['address']} {' '.join(one['names'])}" for one in spec["hosts"]]
