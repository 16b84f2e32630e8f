"""Run one of these os-ken applications: ``python -m mininet_scenarios.controllers simple_switch_13 --port 6640``.

os-ken has no ``osken-manager`` any more; this is what a program does instead.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from os_ken import cfg
from os_ken.base.app_manager import AppManager


def main() -> int:
    """Load the application, listen, run until killed."""
    parser = argparse.ArgumentParser(prog="python -m mininet_scenarios.controllers", description=__doc__)
    parser.add_argument("app", help="module in mininet_scenarios.controllers, or a full module name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(name)s %(message)s")

    module = options.app if "." in options.app else f"{__package__}.{options.app}"
    importlib.import_module("os_ken.controller.controller")  # registers the options set below
    cfg.CONF(args=[], project="vmoc-scenarios", default_config_files=[])
    cfg.CONF.set_override("ofp_listen_host", options.host)
    cfg.CONF.set_override("ofp_tcp_listen_port", options.port)
    AppManager.run_apps([module])
    return 0


if __name__ == "__main__":
    sys.exit(main())
