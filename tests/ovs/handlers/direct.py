"""Runs one of our Ansible modules without Ansible around it: ``python direct.py MODULE ARGUMENTS``."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import ansible.module_utils
from ansible.module_utils import basic

PLAYBOOKS = Path(__file__).resolve().parents[3] / "am_bridge" / "handlers" / "playbooks"


def main(module: str, arguments: str) -> None:
    ansible.module_utils.__path__.append(str(PLAYBOOKS / "module_utils"))
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.loads(arguments)}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    runpy.run_path(str(PLAYBOOKS / "library" / f"{module}.py"), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
