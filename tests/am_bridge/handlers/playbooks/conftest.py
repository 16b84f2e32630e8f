"""Our Ansible modules' own modules are found where Ansible puts them: ``ansible.module_utils``."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

PLAYBOOKS = Path(__file__).resolve().parents[4] / "am_bridge" / "handlers" / "playbooks"
PLACE = str(PLAYBOOKS / "module_utils")
if PLACE not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(PLACE)
