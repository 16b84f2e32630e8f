"""An os-ken application that does not start."""

from __future__ import annotations

from typing import Any

from os_ken.base import app_manager


class Broken(app_manager.OSKenApp):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("no configuration")
