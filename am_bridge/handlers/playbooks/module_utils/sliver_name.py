"""What a sliver is called on its host: everything of it carries this name, or the hash in it."""

from __future__ import annotations

import hashlib
import re
from typing import Any


def name_instance(spec: dict[str, Any]) -> tuple[str, str]:
    """The instance's name and its hash, which follow from slice and sliver and nothing else."""
    key = f"{spec['slice_id']}/{spec['sliver_id']}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9-]", "-", spec["sliver_id"][:40].lower())
    return f"vmoc-{readable}-{digest}", digest
