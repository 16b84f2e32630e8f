"""Throw-away virtual environments for controllers whose packages clash with ours.

``tests/compat/NAME.txt`` lists exact versions; the environment is made from it
once, in ``build/compat/NAME``, and made anew when the list or the Python
changes. ``make clean`` removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

LISTS: Final = Path(__file__).parent
PLACE: Final = LISTS.parent.parent / "build" / "compat"
PATIENCE: Final = 240.0  # seconds for one pip
ATTEMPTS: Final = 2  # a registry may fail once
ANY_PACKAGE: Final = "iniconfig==2.3.1"


class NotToBeHadError(RuntimeError):
    """The packages could not be installed; the message says which and what pip said."""


def environment(name: str) -> Path:
    """The ``bin`` folder of the environment ``name``.

    Call it outside of a lab's namespace, which has no way out. Raises ``NotToBeHadError`` when pip cannot install the
    list, for one because there is no network.
    """
    wanted = LISTS / f"{name}.txt"
    place = PLACE / name
    stamp = place / "made-from"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    digest = hashlib.sha256(f"{version}\n{wanted.read_text()}".encode()).hexdigest()
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of it may run in several processes
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(place, ignore_errors=True)
            _run(name, [sys.executable, "-m", "venv", str(place)])
            _install(name, place, wanted)
            stamp.write_text(digest)
    return place / "bin"


def registry_answers() -> bool:
    """Whether pip gets anything at all here: a small package that nobody needs for long."""
    with tempfile.TemporaryDirectory() as place:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--retries", "1"]
        try:
            _run("nobody", [*pip, "--no-deps", "--no-cache-dir", "-d", place, ANY_PACKAGE])
        except NotToBeHadError:
            return False
        return True


def _install(name: str, place: Path, wanted: Path) -> None:
    """Install the list: lines before a line ``# then`` first, for what later ones need to be built.

    Without build isolation, so that a package is built with what the list names and not with the newest tools.
    """
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for stage in wanted.read_text().split("# then\n"):
        packages = [line for line in stage.splitlines() if line and not line.startswith("#")]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _run(name, [*pip, "--no-deps", "--no-build-isolation", *packages])
                break
            except NotToBeHadError:
                if attempt == ATTEMPTS:
                    raise


def _run(name: str, words: list[str]) -> None:
    # Our folder `packaging` must not pass for the package of that name.
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False, env=clean)
    except subprocess.TimeoutExpired as error:
        raise NotToBeHadError(f"the packages of {name} were not there after {PATIENCE:g} s") from error
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-300:]]
        raise NotToBeHadError(f"the packages of {name} cannot be installed here: {complaints[0].strip()}")
