"""``vmoc completion``."""

from __future__ import annotations

import pytest

from vmoc.cli import main

Captured = pytest.CaptureFixture[str]


def test_completion_scripts(capsys: Captured) -> None:
    assert main(["completion", "bash"]) == 0
    assert "_VMOC_COMPLETE=bash_complete" in capsys.readouterr().out
