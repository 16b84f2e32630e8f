"""What is compiled runs if it was made from these very sources, and does byte for byte what they do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmoc import native

ROOT = Path(__file__).resolve().parents[2]
EPISODES = 20
WHICH = (
    "import json; from vmoc import native; import vmoc.mux.flows as flows, vmoc.openflow.framing as framing; "
    "print(json.dumps([native.form(), flows.__file__, framing.__file__]))"
)
PLAY = """
import hashlib, json, sys, time

time.monotonic = lambda: 0.0  # the ages the emulated switch tells would differ

from fuzz import plot, world
from pathlib import Path
from vmoc import native
from vmoc.mux.core import Mux

take, said = Mux.take, hashlib.blake2b()

def noted(mux):
    output = take(mux)
    said.update(repr((output.writes, output.effects, output.journal)).encode())
    return output

Mux.take = noted
world.limit = lambda: 60.0  # how long it takes is not asked here
found = {"form": native.form()}
paths = sorted(Path("tests/fuzz/regressions").glob("*.json"))
episodes = [(path.stem, plot.Episode.load(path)) for path in paths]
for name, episode in episodes + [(str(seed), plot.write(seed)) for seed in range(int(sys.argv[1]))]:
    result = plot.play(episode)
    found[name] = [result.failure, result.step, result.calls, said.hexdigest()]
print(json.dumps(found))
"""


def python(*arguments: str, root: Path = ROOT, pure: str = "") -> str:
    """What it prints."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "0", "VMOC_PURE": pure}
    done = subprocess.run(
        [sys.executable, "-c", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def build() -> Path:
    """The build of these sources, made now if it is not there."""
    folder = native.BUILDS / native.key()
    if not folder.is_dir():
        if shutil.which("gcc") is None:
            pytest.skip("needs a compiler: run make native")
        subprocess.run([sys.executable, ROOT / "scripts" / "build-native"], check=True, timeout=600)
    assert folder.is_dir(), (native.BUILDS / "failed.log").read_text()
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources without a build."""
    shutil.copytree(ROOT / "vmoc", tmp_path / "vmoc", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def which(root: Path, pure: str = "") -> tuple[str, bool]:
    """The form, and whether the modules are compiled; all or none of them are."""
    form, *files = json.loads(python(WHICH, root=root, pure=pure))
    compiled = {file.endswith(native.SUFFIX) for file in files}
    assert len(compiled) == 1, files
    return form, compiled.pop()


def test_every_module_that_is_compiled_exists() -> None:
    for name in native.MODULES:
        assert (ROOT / (name.replace(".", "/") + ".py")) in native.sources(), name


def test_without_a_build_the_sources_run(checkout: Path) -> None:
    assert which(checkout) == ("interpreted: nothing is compiled from these sources; make native does it", False)


def test_what_cannot_be_loaded_is_not_used(checkout: Path) -> None:
    key = python("from vmoc import native; print(native.key())", root=checkout).strip()
    folder = checkout / "build" / "native" / key
    folder.mkdir(parents=True)
    (folder / (native.LIBRARY + native.SUFFIX)).write_bytes(b"not a library")
    form, compiled = which(checkout)
    assert form.startswith("interpreted: what is compiled cannot be loaded (") and not compiled


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_what_is_compiled_is_used_for_its_own_sources_only(build: Path, checkout: Path) -> None:
    assert which(ROOT) == ("compiled", True)
    assert which(ROOT, pure="1") == ("interpreted: VMOC_PURE is set", False)
    (checkout / "build").mkdir()
    (checkout / "build" / "native").symlink_to(build.parent)
    assert which(checkout) == ("compiled", True)
    for edited in ("mux/flows.py", "mux/hub.py", "model.py"):  # compiled; used by what is; its constants are in there
        path = checkout / "vmoc" / edited
        before = path.read_bytes()
        path.write_bytes(before + b"\n# edited\n")
        form, compiled = which(checkout)
        assert form.startswith("interpreted: nothing is compiled from these sources") and not compiled
        path.write_bytes(before)
    assert which(checkout) == ("compiled", True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_forms_say_the_same_to_the_same(build: Path) -> None:
    compiled = json.loads(python(PLAY, str(EPISODES)))
    interpreted = json.loads(python(PLAY, str(EPISODES), pure="1"))
    assert compiled.pop("form") == "compiled"
    assert interpreted.pop("form") == "interpreted: VMOC_PURE is set"
    assert len(compiled) > EPISODES
    assert compiled == interpreted
    assert not any(failure for failure, *_ in compiled.values())
