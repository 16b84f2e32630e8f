"""Counting instructions: what is played, how valgrind's answer is read, what is said where it cannot be done."""

from __future__ import annotations

import shutil

import pytest

from bench import instructions, micro, tools
from tests.emulation import wire as of
from vmoc import native


@pytest.mark.parametrize("kind", instructions.KINDS)
@pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])
def test_every_message_played_comes_out(monkeypatch: pytest.MonkeyPatch, kind: str, version: int) -> None:
    came, drain = [], micro.Rig.drain

    def counted(rig: micro.Rig) -> int:
        came.append(drain(rig))
        return came[-1]

    monkeypatch.setattr(micro.Rig, "drain", counted)
    instructions.play(kind, version, 2)
    assert sum(came) >= 2 * instructions.MESSAGES


def test_what_happens_once_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "count", lambda kind, version, rounds: 10**9 + rounds * instructions.MESSAGES * 7)
    assert instructions.per_message("flow-mod, down", of.V10) == 7


def test_valgrind_s_answer_is_read() -> None:
    assert instructions.collected("==1== Events    : Ir\n==1== Collected : 52256822\n") == 52256822
    for told in ("", "==1== Collected : 0\n", "valgrind: no such tool"):
        with pytest.raises(tools.ToolError, match="counted nothing"):
            instructions.collected(told)


def test_without_valgrind_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(tools.ToolError, match="apt-get install valgrind"):
        list(instructions.run())


def test_the_sources_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(native, "form", lambda: "interpreted")
    with pytest.raises(tools.ToolError, match="make native"):
        list(instructions.run())
