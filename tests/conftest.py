"""What every test shares: the marks that follow from a test's folder, and when the privileged ones can run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest

from tests.emulation import VmocProcess
from vmoc import native

HERE = Path(__file__).parent
PRIVILEGED = {"ovs": ("ovs-vswitchd", "ovsdb-server", "ovs-ofctl"), "mininet": ("mn", "ovs-vswitchd")}

# A shared or slow machine must not fail a property test for its speed; a failing example is printed as code to paste.
hypothesis.settings.register_profile("vmoc", deadline=None, print_blob=True)
hypothesis.settings.load_profile("vmoc")

# Worker processes of every ``vmoc run`` that does not say so itself. Each costs half a second of CPU at its start; real
# switches are on two of them.
WORKERS = os.environ.get("VMOC_WORKERS")

VmocProcess.forked = True

# Tests replace parts of what they test, so in this process the sources run; VMOC_PURE=0 has what is compiled run, where
# it can. The programs tests start run in the form they have anywhere else.
if native.SWITCH not in os.environ:
    os.environ[native.SWITCH] = "1"
    native.why_interpreted()  # decides it for this process
    del os.environ[native.SWITCH]
elif os.environ[native.SWITCH] == "0" and native.why_interpreted():
    raise pytest.UsageError(f"{native.SWITCH}=0, but {native.why_interpreted()}")


def _why_not(mark: str) -> str | None:
    """Why tests of that mark cannot run here, or None when they can."""
    if os.geteuid() != 0:
        return "needs root: run make test"
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    absent = [program for program in PRIVILEGED[mark] if shutil.which(program, path=path) is None]
    return f"needs {', '.join(absent)}: run make test" if absent else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture starts something."""
    switches = item.path.parent in (HERE / "ovs", HERE / "mininet", HERE / "compat")
    os.environ["VMOC_WORKERS"] = WORKERS or ("2" if switches else "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests/ovs and tests/mininet, and skip them where they cannot work."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in PRIVILEGED:
            item.add_marker(folder)
        for mark in PRIVILEGED:
            if item.get_closest_marker(mark) and (reason := _why_not(mark)):
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("interpreted") and not native.why_interpreted():
            item.add_marker(pytest.mark.skip(reason="replaces what is compiled"))
    # The long ones first: the last to end should be short.
    items.sort(key=lambda item: not (item.get_closest_marker("slow") and item.get_closest_marker("ovs")))
