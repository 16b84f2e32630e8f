"""Which form of the hot modules runs: compiled to machine code, or as they are written.

``scripts/build-native`` compiles ``MODULES`` into ``build/native/KEY`` beside this package. KEY is made of everything
they are compiled from, so what was compiled from other sources is never loaded: whoever edits a source runs the
sources until it is compiled again. ``VMOC_PURE=1`` in the environment has the sources run in any case.

``install`` is called when the package is imported. Which form it is gets decided when the first of ``MODULES`` is
imported, or somebody asks.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

SWITCH: Final = "VMOC_PURE"
PACKAGE: Final = Path(__file__).resolve().parent
BUILDS: Final = PACKAGE.parent / "build" / "native"
GROUP: Final = "vmoc"
LIBRARY: Final = f"{GROUP}__mypyc"
"""The module that holds them all; each of the others is a name for a part of it."""
SUFFIX: Final = importlib.machinery.EXTENSION_SUFFIXES[0]
MODULES: Final = tuple(
    f"vmoc.{package}.{name}"
    for package, names in {
        "openflow": "framing header",
        "openflow.v10": "actions flow match",
        "openflow.v13": "actions flow oxm",
        "policy": "actions10 actions13 flowmod grant match outputs packetout recipes tagstate verdict",
        "mux": "buckets classify clock counters datapath downward flows hub inflight north"
        " packetouts pending residents south switch upward xids",
    }.items()
    for name in names.split()
)
_FOUND: Final = frozenset((*MODULES, LIBRARY))


def sources() -> list[Path]:
    """What the compiled form depends on: constants and types of other modules are compiled in."""
    found = list(PACKAGE.glob("*.py"))
    for package in ("openflow", "policy", "mux"):
        found += (PACKAGE / package).rglob("*.py")
    return sorted(found)


def key() -> str:
    """Names the build that belongs to these sources and this interpreter."""
    total = hashlib.blake2b(SUFFIX.encode(), digest_size=16)
    for path in sources():
        data = path.read_bytes()
        total.update(f"\0{path.relative_to(PACKAGE)}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


class _Finder:
    """Finds ``MODULES`` in the build that belongs to the sources; leaves everything else to the others."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self.why_not: str | None = None
        """Why the sources run; empty: they do not; None: it is not decided yet."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Part of the import system."""
        if name not in _FOUND or self.decide():
            return None
        assert self._folder is not None
        return _spec(name, self._folder)

    def decide(self) -> str:
        """Why the sources run, or nothing."""
        if self.why_not is None:
            self.why_not = self._decide()
        return self.why_not

    def _decide(self) -> str:
        if os.environ.get(SWITCH, "") not in ("", "0"):
            return f"{SWITCH} is set"
        folder = BUILDS / key()
        if not folder.is_dir():
            return "nothing is compiled from these sources; make native does it"
        try:
            spec = _spec(LIBRARY, folder)
            assert spec is not None and spec.loader is not None
            library = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(library)
        except ImportError as exc:
            return f"what is compiled cannot be loaded ({exc})"
        sys.modules[LIBRARY] = library
        self._folder = folder
        return ""


def _spec(name: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    return importlib.util.spec_from_file_location(name, folder / (name.replace(".", "/") + SUFFIX))


_finder: Final = _Finder()


def install() -> None:
    """Have the compiled form found from now on, if there is one."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def why_interpreted() -> str:
    """Why the sources run; nothing if the compiled form does."""
    return _finder.decide()


def form() -> str:
    """The form in words: ``compiled``, or ``interpreted: WHY``."""
    why = why_interpreted()
    return f"interpreted: {why}" if why else "compiled"
