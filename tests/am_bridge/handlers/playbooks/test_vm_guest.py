"""What a machine says on its console while it boots."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.vm_guest import Console, find_verdict, read_verdict

EARLIER = "vmoc-boot 77ab done .\r\n"
SAID = "login: \r\nvmoc-boot other done .\r\nvmoc-boot 77ab failed 2 127 bm90IGZvdW5k .\r\n"
WHOLE = SAID.index(" .\r\n", SAID.index("77ab")) + 2


@pytest.mark.parametrize("end", range(len(SAID) + 1))
def test_what_is_said_counts_when_it_is_whole(tmp_path: Path, end: int) -> None:
    """The console's file grows while it is read."""
    file = tmp_path / "console.log"
    file.write_text(EARLIER + SAID[:end], newline="")
    verdict = find_verdict(Console(str(file), len(EARLIER)).text(), "77ab")
    assert verdict == ("failed 2 127 bm90IGZvdW5k" if end >= WHOLE else "")
    if verdict:
        assert read_verdict(verdict) == ("command 2 ended with 127: not found", 127)


def test_the_last_word_counts() -> None:
    console = "vmoc-boot 77ab failed 1 1 .\n[   12.3] eth0: link up\nvmoc-boot 77ab done . \n"
    assert read_verdict(find_verdict(console, "77ab")) == ("", 0)


def test_without_a_console_nothing_was_said(tmp_path: Path) -> None:
    assert find_verdict(Console(str(tmp_path / "none"), 0).text(), "77ab") == ""
