"""Runs one of our Ansible modules without Ansible around it: ``python direct.py MODULE ARGUMENTS``."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

from ansible.module_utils import basic

PLAYBOOKS = Path(__file__).resolve().parents[3] / "am_bridge" / "handlers" / "playbooks"


def main(module: str, arguments: str) -> None:
    for path in (PLAYBOOKS / "module_utils").glob("*.py"):
        name = f"ansible.module_utils.{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.loads(arguments)}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    runpy.run_path(str(PLAYBOOKS / "library" / f"{module}.py"), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
