"""The documents keep their promises: links lead somewhere, examples are valid, the reasons are all explained."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from vmoc.errors import REASONS, OfError
from vmoc.openflow import names
from vmoc.policy.advice import CHAPTERS, ENTRIES
from vmoc.policy.advice import PAGE as PAGE_NAME
from vmoc.policy.advice.entry import Entry

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / PAGE_NAME
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
HEAD = """\
# Reasons for a refusal

When VMOC does not pass a controller's message on, the controller receives an `OFPT_ERROR` with its own xid and the
first 64 bytes of its message; and the same reason code stands in the event `refused`, in the log line, in the metric
`vmoc_refused_total` and in the answer of [`vmoc explain`](cli.md#vmoc-explain), which shows rule by rule what happens
to a message. Here is every code with its OpenFlow error (type, code), and what to do.

This page is written by `scripts/reasons-page` from `vmoc/errors.py` and `vmoc/policy/advice`. A dash: that version of
OpenFlow has no such message.

| reason | 1.0 | 1.3 | meaning |
| --- | --- | --- | --- |
"""


def reasons_page() -> str:
    """docs/reasons.md as it should be."""
    rows = [f"| [`{r.code}`](#{r.code}) | {_pair(r.of10)} | {_pair(r.of13)} | {r.summary} |" for r in REASONS.values()]
    chapters = "".join(f"\n## {title}\n" + "".join(_section(entry) for entry in entries) for title, entries in CHAPTERS)
    return HEAD + "\n".join(rows) + "\n" + chapters


def _pair(error: OfError | None) -> str:
    return "-" if error is None else f"{error[0]}, {error[1]}"


def _section(entry: Entry) -> str:
    errors = [
        f"{names.version_name(version)} `{names.error_name(version, *error)}`"
        for version, error in ((1, entry.reason.of10), (4, entry.reason.of13))
        if error is not None
    ]
    facts = f"Messages: {entry.messages}. Rule: {entry.rule}. Error: {', '.join(errors)}."
    paragraphs = (facts, entry.meaning, f"*What to do:* {entry.advice}")
    return f"\n### `{entry.reason.code}`\n\n" + "\n\n".join(fill(each, 120) for each in paragraphs) + "\n"


def fill(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def test_every_reason_has_its_entry() -> None:
    assert set(ENTRIES) == set(REASONS), "vmoc/policy/advice must say what to do about every reason of vmoc/errors.py"
    assert sum(len(entries) for _, entries in CHAPTERS) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_is_in_whole_sentences(entry: Entry) -> None:
    for text in (entry.meaning, entry.advice):
        assert text[0].isupper()
        assert text.endswith(".") and "  " not in text and text.count("`") % 2 == 0
    assert entry.messages and entry.rule and not entry.messages.endswith(".") and not entry.rule.endswith(".")


def test_the_page_of_reasons_is_up_to_date() -> None:
    assert PAGE.read_text() == reasons_page(), "run scripts/reasons-page"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    dead = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not dead, dead


def test_the_comparison_names_tests_that_exist() -> None:
    page = ROOT / "docs" / "comparison.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    proofs = [row.strip(" |").split(" | ")[-1] for row in rows if not row.endswith(" tests |")]
    assert len(proofs) >= 30
    for row, proof in zip([row for row in rows if not row.endswith(" tests |")], proofs, strict=True):
        assert row.count(" | ") == 5, f"not six columns: {row}"
        links = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", proof)
        assert links and proof == ", ".join(f"[{name}]({file})" for name, file in links), f"no tests: {row}"
        for name, file in links:
            found = ast.parse((page.parent / file).read_text()).body
            assert f"test_{name}" in {node.name for node in found if isinstance(node, ast.FunctionDef)}, (name, file)
        assert "../tests/vectors/" in proof, f"no vector proves: {row}"


def test_readme_shows_the_example_as_it_is() -> None:
    assert (ROOT / "examples" / "two-vlans.yaml").read_text() in (ROOT / "README.md").read_text()


def test_every_target_is_documented() -> None:
    documented = (ROOT / "CONTRIBUTING.md").read_text()
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "test-fast", "lint", "bench", "run", "proto", "clean"} <= set(targets)
    absent = [name for name in targets if not re.search(rf"`?{name}\b", documented) and name not in {"help"}]
    assert not absent, absent
