"""Tables: columns without a terminal, and no way for a name to steer the reader's terminal."""

from __future__ import annotations

import pytest

from vmoc.cli.tables import ago, show_document, show_facts, show_list, show_table, span


def test_columns_are_aligned_without_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "LONG"], [["xx", 1], ["y", [1, 2]], ["z", True]], empty="none")
    assert capsys.readouterr().out == "A   LONG\nxx  1\ny   1, 2\nz   yes\n"


def test_an_empty_table_says_so_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A"], [], empty="no slices")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "no slices\n")


def test_terminal_codes_in_names_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A"], [["\x1b]0;owned\x07x"]], empty="")
    show_facts({"name": "a\x1b[2Jb"})
    assert "\x1b" not in capsys.readouterr().out


def test_a_cell_cannot_pass_for_another_row(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["DPID", "WHAT IT IS"], [["0x1", "a switch\n0x2   another"]], empty="")
    assert capsys.readouterr().out.splitlines()[1:] == ["0x1   a switch\ufffd0x2   another"]


@pytest.mark.parametrize(("output", "said"), [("table", "A\nx\n"), ("json", '[\n  "x"\n]\n'), ("yaml", "- x\n")])
def test_a_list_in_all_forms(output: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_list(output, iter(["x"]), ["A"], lambda one: [one], empty="none", document=str)
    assert capsys.readouterr().out == said


def test_facts_leave_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts({"slice": "a", "owner": "", "labels": [], "text": "one\ntwo", "number": 0})
    assert capsys.readouterr().out == "slice:  a\ntext:   one\n        two\nnumber: 0\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (192, "3m12s"), (3600, "1h"), (90061, "1d1h"), (86405, "1d")],
)
def test_spans(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_ago() -> None:
    assert ago(0) == ""
    assert ago(100, now=160) == "1m"
    assert ago(160, now=100) == "in 1m"


def test_documents(capsys: pytest.CaptureFixture[str]) -> None:
    show_document("json", {"a": 1})
    show_document("yaml", {"a": 1})
    assert capsys.readouterr().out == '{\n  "a": 1\n}\na: 1\n'
