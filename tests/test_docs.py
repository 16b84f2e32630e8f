"""The documents keep their promises: links lead somewhere, examples are valid, the list of refusals is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmoc.errors import REASONS, OfError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "refusals.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
HEAD = """\
# Reasons for a refusal

What a controller receives (type and code of the `OFPT_ERROR`) and what VMOC reports (the reason, in the event `refused`
and in the metrics) when a message is not passed on. A dash: that version of OpenFlow has no such request.

This page is written by `scripts/refusals-page` from `vmoc/errors.py`.

| reason | 1.0 | 1.3 | meaning |
| --- | --- | --- | --- |
"""


def refusals_page() -> str:
    """docs/refusals.md as it should be."""

    def pair(error: OfError | None) -> str:
        return "-" if error is None else f"{error[0]}, {error[1]}"

    rows = [f"| `{r.code}` | {pair(r.of10)} | {pair(r.of13)} | {r.summary} |" for r in REASONS.values()]
    return HEAD + "\n".join(rows) + "\n"


def test_every_refusal_has_its_line() -> None:
    assert PAGE.read_text() == refusals_page(), "run scripts/refusals-page"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    dead = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert not dead, dead


def test_readme_shows_the_example_as_it_is() -> None:
    assert (ROOT / "examples" / "two-vlans.yaml").read_text() in (ROOT / "README.md").read_text()


def test_every_target_is_documented() -> None:
    documented = (ROOT / "CONTRIBUTING.md").read_text()
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "test-fast", "lint", "bench", "run", "proto", "clean"} <= set(targets)
    absent = [name for name in targets if not re.search(rf"`?{name}\b", documented) and name not in {"help"}]
    assert not absent, absent
