"""docs/tutorial.md, command by command, on a private Open vSwitch."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from mininet_scenarios.openvswitch import PrivateOvs

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?```sh\n(?P<code>.*?)```", re.DOTALL)


def script(text: str) -> str:
    """The tutorial as one shell script that ends at the first command that is not as described."""
    lines = ["set -eu -o pipefail"]
    for block in BLOCK.finditer(text):
        mark, code = block["mark"] or "", block["code"]
        if mark.startswith("not run"):
            continue
        if mark == "fails":
            code = f"if {code.strip()}; then echo 'this should have failed' >&2; exit 1; fi\n"
        lines.append(code)
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_tutorial_works_as_written(namespace: None, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    # It is written for the repository's directory; here it works on links to it, so that its files land elsewhere.
    for name in (".venv", "mininet_scenarios", "vmoc"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tutorial.sh").write_text(script(text))
    with PrivateOvs() as ovs:
        # A mount namespace with its own /run/netns: named namespaces are files there.
        inside = "mkdir -p /run/netns && mount -t tmpfs none /run/netns && exec bash tutorial.sh"
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "bash", "-c", inside],
            cwd=tmp_path,
            env={**os.environ, **ovs.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        logs = "".join(log.read_text() for log in tmp_path.glob("*.log"))
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}\n{logs[-3000:]}"
        assert ovs.vsctl("list-br") == ""
    assert "this should have failed" not in done.stderr
    assert not list(tmp_path.glob("*.log"))


def test_every_block_is_understood() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    assert text.count("```") == 2 * len(BLOCK.findall(text))
    assert [
        mark for mark, _ in BLOCK.findall(text) if mark and mark != "fails" and not mark.startswith("not run")
    ] == []
