"""The shape of the tree: which way imports point, how long and how named modules are, and what no file may contain."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("vmoc", "am_bridge", "bench", "mininet_scenarios")
NOT_OURS = {"build", "dist", "htmlcov", "__pycache__", "node_modules"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
LONGEST = 600
# Put together here so that this file does not contain what it looks for.
REGISTRIES = re.compile(
    r"https?://[^\s/]*(?:pypi|pythonhosted|npmjs|registry|debian|golang|crates|docker)\.|"
    + "|".join(re.escape(name) for name in ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org"))
)


def files(pattern: str = "*") -> Iterator[Path]:
    """Every file of the project itself, without what tools made."""
    for path in sorted(ROOT.rglob(pattern)):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        if path.is_file() and not hidden and not NOT_OURS.intersection(parts) and parts[0] != ".git":
            yield path


def modules(*packages: str) -> list[Path]:
    """Python modules written by hand, of those top-level packages or of the whole tree."""
    return [
        path
        for path in files("*.py")
        if not re.search(r"_pb2(_grpc)?$", path.stem) and (not packages or path.relative_to(ROOT).parts[0] in packages)
    ]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml for the packages in that folder."""
    program = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_imports_point_down_only() -> None:
    verdict = lint_imports(ROOT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize(
    ("module", "offence"),
    [
        ("vmoc/mux/zz_offender.py", "import socket\n"),
        ("vmoc/policy/zz_offender.py", "import time\n"),
        ("vmoc/registry/zz_offender.py", "from os_ken.lib import hub\n"),
        ("vmoc/registry/zz_offender.py", "import vmoc.v1\n"),
        ("vmoc/openflow/zz_offender.py", "from vmoc.mux import effects\n"),
        ("vmoc/mux/zz_offender.py", "from vmoc.net import zz_upper\n"),
        ("am_bridge/zz_offender.py", "import vmoc.mux\n"),
        ("am_bridge/zz_offender.py", "import vmoc.net\n"),
        ("vmoc/config/zz_offender.py", "import am_bridge\n"),
    ],
)
def test_the_contracts_notice_an_offence(tmp_path: Path, module: str, offence: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("am_bridge", *(f"vmoc/{layer}" for layer in "mux policy registry openflow net config v1".split())):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    for leaf in ("__init__", "model", "events", "status", "errors", "mux/effects", "net/zz_upper"):
        (tmp_path / "vmoc" / f"{leaf}.py").touch()
    clean = lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    (tmp_path / module).write_text(offence)
    assert lint_imports(tmp_path).returncode == 1


def test_modules_are_named_for_what_they_hold() -> None:
    nameless = [path for path in modules() if EMPTY_NAMES & {path.stem, path.parent.name}]
    assert not nameless, nameless


def test_no_module_does_two_things() -> None:
    # A test file mirrors one module, and the cases of a subtle one run longer than its code.
    limits = {path: LONGEST * 3 // 2 if "tests" in path.relative_to(ROOT).parts else LONGEST for path in modules()}
    long = {path: count for path, limit in limits.items() if (count := len(path.read_text().splitlines())) > limit}
    assert not long, long


def test_every_public_module_says_what_it_is() -> None:
    public = [path for path in modules(*PACKAGES) if not path.stem.startswith("_") or path.stem == "__init__"]
    assert public
    silent = [path for path in public if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent, silent


def test_no_file_names_a_package_registry() -> None:
    named = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        named += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in REGISTRIES.finditer(text)]
    assert not named, named
