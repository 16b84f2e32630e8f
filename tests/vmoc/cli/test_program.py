"""The program as a shell sees it: exit codes, one sentence per failure, quick to start."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from vmoc import __version__, native
from vmoc.cli import main, program
from vmoc.errors import FOREIGN_VLAN, Refused, VmocError


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vmoc {__version__} ({native.form()})\n"


def test_the_module_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmoc", "--version"],
        env=os.environ | {"VMOC_PURE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    said = f"vmoc {__version__} (interpreted: VMOC_PURE is set)\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["nothing"]])
def test_nothing_heavy_is_imported_for_nothing(arguments: list[str]) -> None:
    done = python(
        f"import sys; from vmoc.cli import main; main({arguments!r});"
        "heavy = {'yaml', 'pydantic', 'os_ken', 'asyncio', 'vmoc.config', 'vmoc.daemon', 'rich', 'ssl'};"
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
    )
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, text) in program.COMMANDS.items():
        assert name in shown and text in shown


@pytest.mark.parametrize("name", program.COMMANDS)
def test_every_command_has_help_that_begins_as_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert program.COMMANDS[name][1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slise"], "vmoc: No such command 'slise'; see 'vmoc --help'\n"),
        (["--verion"], "vmoc: No such option '--verion'."),
        (["config", "chek"], "vmoc: No such command 'chek'."),
        (["run", "x.yaml"], "vmoc: Got unexpected extra argument (x.yaml); see 'vmoc run --help'\n"),
        (["run", "--log-format", "xml"], "vmoc: Invalid value for '--log-format':"),
        (["run", "--config"], "vmoc: Option '--config' requires an argument; see 'vmoc"),
        (["learning-switch", "--listen", "6640"], "vmoc: Invalid value for '--listen': '6640' is not HOST:PORT"),
    ],
)
def test_usage_errors_are_one_sentence_and_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(said) and err.count("\n") == 1 and "--help'" in err


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_without_a_command_help_is_shown_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("Usage: vmoc") and "Commands:" in err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (VmocError("the switch is away"), 1, "vmoc: the switch is away\n"),
        (Refused(FOREIGN_VLAN), FOREIGN_VLAN.exit_code, f"vmoc: {FOREIGN_VLAN.code}: {FOREIGN_VLAN.summary}\n"),
        (click.ClickException("no such thing"), 1, "vmoc: no such thing\n"),
        (VmocError("\x1b]0;owned\x07: no\n  | why"), 1, "vmoc: \ufffd]0;owned\ufffd: no\n  | why\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, ""),
        (ZeroDivisionError("by 0"), 1, "vmoc: this is a bug in VMOC (ZeroDivisionError: by 0); VMOC_DEBUG=1 shows"),
    ],
)
def test_failures_become_a_sentence_and_a_code(
    raised: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(file: object) -> None:
        raise raised

    monkeypatch.setattr("vmoc.config.load", fail)
    monkeypatch.delenv("VMOC_DEBUG", raising=False)
    assert main(["run"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(said) and "Traceback" not in err


def test_what_is_not_text_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slice", "show", "\udcff"]) == 2
    assert capsys.readouterr().err == "vmoc: an argument is not UTF-8 text; type it again\n"


def test_a_library_does_not_speak_for_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmoc", "status", "--server", "nobody.invalid:1", "--timeout", "1"],
        env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 3 and done.stderr.startswith("vmoc: no VMOC answers at nobody.invalid:1")
    assert done.stderr.count("\n") == 1


def test_a_bug_can_be_seen_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("vmoc.config.load", fail)
    monkeypatch.setenv("VMOC_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["run"])


def test_a_reader_that_goes_away_is_no_failure() -> None:
    done = subprocess.run(
        f"{sys.executable} -m vmoc config schema | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_shell_can_complete_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmoc"],
        env={"_VMOC_COMPLETE": "bash_complete", "COMP_WORDS": "vmoc conf", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "plain,config\n"
