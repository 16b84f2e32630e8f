"""What a machine says on its console while it boots."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.vm_guest import Console, read_verdict

SAID = b"login: \r\nvmoc-boot other done\r\nvmoc-boot 77ab failed 2 127 bm90IGZvdW5k\r\n"


@pytest.mark.parametrize("end", range(len(SAID) + 1))
def test_a_line_counts_when_it_is_whole(tmp_path: Path, end: int) -> None:
    """The console's file grows while it is read."""
    file = tmp_path / "console.log"
    file.write_bytes(b"vmoc-boot 77ab done\r\n" + SAID[:end])
    verdict = Console(str(file), 21).verdict("77ab")
    assert verdict == ("failed 2 127 bm90IGZvdW5k" if end == len(SAID) else "")
    if verdict:
        assert read_verdict(verdict) == ("command 2 ended with 127: not found", 127)


def test_without_a_console_nothing_was_said(tmp_path: Path) -> None:
    assert Console(str(tmp_path / "none"), 0).verdict("77ab") == ""
