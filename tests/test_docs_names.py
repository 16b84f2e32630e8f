"""What the documents name exists: commands, options, targets, modules, files, headings, keys, events, metrics."""

from __future__ import annotations

import ast
import importlib.util
import logging
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import grpc
import pytest

from am_bridge.reasons import API_REASONS
from tests.test_docs import DOCUMENTS, ROOT
from tests.vmoc.config.test_schema import keys
from vmoc.cli.program import COMMANDS, program
from vmoc.config.schema import json_schema
from vmoc.errors import REASONS
from vmoc.events import Kind
from vmoc.telemetry.events import LEVELS

TEXTS = {page: page.read_text() for page in DOCUMENTS}
SOURCES = [
    path for top in ("vmoc", "am_bridge", "bench", "fuzz", "mininet_scenarios") for path in ROOT.glob(f"{top}/**/*.py")
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SUFFIXES = {"CounterMetricFamily": "_total", "_total": "_total", "_per_slice": "_total", "InfoMetricFamily": "_info"}
NOT_MODULES = {"spec", "networks", "verb", "parameters", "db", "yaml", "default_controller"}
"""What follows ``vmoc.`` and is no module: of the variable that playbooks get, a file, a logger."""
each_page = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))


def spans(text: str) -> list[str]:
    """What stands between backticks outside of blocks."""
    return [" ".join(one.replace("\\|", "|").split()) for one in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def shell_lines(text: str) -> Iterator[str]:
    """The commands of shell blocks: whole lines of ``sh``, lines after a prompt of ``console``."""
    for language, block in FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        if language == "sh":
            yield from lines
        elif language == "console":
            yield from (line[2:] for line in lines if line.startswith("$ "))


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without what the shell itself reads."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";|&<>()"):
            yield words
            words = []
        else:
            words.append(word)


def code(text: str) -> list[str]:
    return [*spans(text), *shell_lines(text)]


def headings(page: Path) -> set[str]:
    """The anchors that a page has, as forges make them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and what is left of them."""
    command: click.Command = program
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    return command, words


@cache
def metrics() -> set[str]:
    """Names of all metrics, from where they are made."""
    found = set()
    for path in [*ROOT.glob("vmoc/telemetry/*.py"), *ROOT.glob("vmoc/daemon/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                name = node.args[0]
                made = node.func.id.endswith("MetricFamily") or node.func.id in SUFFIXES
                if made and isinstance(name, ast.Constant) and isinstance(name.value, str):
                    found.add(name.value + SUFFIXES.get(node.func.id, ""))
    return found


@each_page
def test_links_lead_to_headings(page: Path) -> None:
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", TEXTS[page]):
        target = (page.parent / file) if file else page
        assert anchor in headings(target), f"{file}#{anchor}"


@each_page
def test_commands_of_blocks_are_taken(page: Path) -> None:
    for line in shell_lines(TEXTS[page]):
        if "vmoc " not in line:
            continue
        for words in simple_commands(line):
            if words and words[0].rpartition("/")[2] == "vmoc":
                command, rest = resolve(words[1:])
                if rest not in (["--help"], ["--version"]):
                    command.make_context("vmoc", list(rest))


@each_page
def test_commands_named_in_the_text_exist(page: Path) -> None:
    for span in spans(TEXTS[page]):
        words = re.sub(r"[\[\]]", " ", span).split()
        if not words or words[0] != "vmoc" or len(words) == 1 or not re.fullmatch(r"[a-z|.-]+", words[1]):
            continue
        for verb in words[2].split("|") if len(words) > 2 and re.fullmatch(r"[a-z|.]+", words[2]) else [""]:
            command, _ = resolve([words[1], verb] if verb.strip(".") else [words[1]])
            known = {name for option in command.params for name in option.opts} | {"--help", "--version", "-h"}
            assert {word for word in words if re.fullmatch(r"--?[a-z-]+", word)} <= known, span


@each_page
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in code(TEXTS[page]):
        for words in re.findall(r"(?:^|[\s;&])make((?: +[\w-]+(?==|\b))+)", line.partition("#")[0]):
            for word in words.split():
                assert re.search(rf"^{word}(:| +\?=)", makefile, re.MULTILINE), line


@each_page
def test_modules_and_their_options_exist(page: Path) -> None:
    for line in code(TEXTS[page]):
        for module, rest in re.findall(r"python3? -m ([\w.]+)([^#]*)", line):
            found = importlib.util.find_spec(module)
            assert found is not None, line
            top = module.split(".")[0]
            if top not in ("bench", "fuzz", "mininet_scenarios"):
                continue
            folder = ROOT / module.replace(".", "/")
            files = [*folder.glob("*.py")] if folder.is_dir() else [folder.with_suffix(".py")]
            source = "".join(file.read_text() for file in files)
            if "report.parser(" in source:  # the options that all benchmarks have
                source += (ROOT / "bench" / "report.py").read_text()
            for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
                assert f'"{option}"' in source, line


@each_page
def test_files_named_exist(page: Path) -> None:
    tops = "vmoc|am_bridge|bench|fuzz|mininet_scenarios|tests|scripts|proto|docs|examples|packaging|playbooks"
    for span in spans(TEXTS[page]):
        for name in re.findall(rf"(?<![\w/.-])((?:{tops})/[\w./*-]*)", span):
            path = Path("am_bridge/handlers") / name if name.startswith("playbooks/") else Path(name)
            assert any(ROOT.glob(str(path).rstrip("/."))) or str(path).startswith("bench/build"), name


@each_page
def test_modules_named_exist(page: Path) -> None:
    for span in spans(TEXTS[page]):
        if not re.fullmatch(r"(vmoc|am_bridge)(\.[a-z_]\w*)+(\(\))?", span):
            continue
        top, first, *rest = span.removesuffix("()").split(".")
        path = ROOT / top / first
        if top == "vmoc" and not path.is_dir() and not path.with_suffix(".py").exists():
            assert first in NOT_MODULES, span
            continue
        while rest and path.is_dir():
            path /= rest.pop(0)
        assert path.is_dir() or path.with_suffix(".py").is_file(), span
        assert all(re.search(rf"^(def|class) {name}\b", path.with_suffix(".py").read_text(), re.M) for name in rest), (
            span
        )


@each_page
def test_tests_named_exist(page: Path) -> None:
    wanted = {name for span in spans(TEXTS[page]) for name in re.findall(r"^(test_\w+)$", span)}
    defined = (
        {
            name
            for path in ROOT.glob("tests/**/test_*.py")
            for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
        }
        if wanted
        else set()
    )
    assert wanted <= defined


@each_page
def test_keys_of_the_configuration_exist(page: Path) -> None:
    schema = json_schema()
    known = {name for key, _ in keys(schema, schema) for name in (key, key.replace("[]", ""))}
    sections = "openflow|grpc|metrics|state|policy|limits|timers|vlans|default_controller"
    for span in spans(TEXTS[page]):
        for key in re.findall(rf"^((?:{sections})\.[a-z_]+(?:\.[a-z_]+)*)(?=$|[:=\[ ])", span):
            assert key in known or f"{key}[]" in known, key


@each_page
def test_environment_variables_are_read(page: Path) -> None:
    wanted = {name for line in code(TEXTS[page]) for name in re.findall(r"\b_?VMOC_[A-Z_]+\b", line)}
    sources = "".join(path.read_text() for path in [*SOURCES, *ROOT.glob("tests/**/*.py")] if wanted)
    assert not {name for name in wanted - set(API_REASONS) if f'"{name}"' not in sources}


def test_every_event_is_documented_with_its_level() -> None:
    section = TEXTS[ROOT / "docs" / "events.md"].partition("## Kinds")[2].partition("\n## ")[0]
    rows = {
        name: level
        for names, level in re.findall(r"^\| (`.*?`) \| (\w+) \|", section, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert rows == {kind.value: logging.getLevelName(LEVELS.get(kind, logging.INFO)).lower() for kind in Kind}


def test_every_metric_is_documented() -> None:
    section = TEXTS[ROOT / "docs" / "events.md"].partition("## Metrics")[2]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(vmoc_\w+)`", row)} == metrics()


@each_page
def test_metrics_named_exist(page: Path) -> None:
    named = {name for span in spans(TEXTS[page]) for name in re.findall(r"^(vmoc_\w+)(?=$|\{)", span)}
    assert named <= metrics() | {"vmoc_target", "vmoc_result", "vmoc_leftovers"}  # the last three are Ansible's


@each_page
def test_events_and_reasons_named_exist(page: Path) -> None:
    text = " ".join(TEXTS[page].split())
    for word, name in re.findall(r"\b(event|reason|kind)s? (?:of kind )?`([a-z]+(?:-[a-z]+)*)`", text):
        assert name in REASONS or name in set(Kind) or name in {"audit", "held-out"}, f"{word} {name}"
    for name in (
        re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)`", text) if page.name in ("api.md", "slivers.md", "cli.md") else ()
    ):
        known = {*API_REASONS, *grpc.StatusCode.__members__, "NOT_SERVING"}
        assert name in known or name.startswith("VMOC_"), name


def test_reasons_of_the_tables_exist() -> None:
    readme = re.findall(r"^\| `([a-z-]+)` \|", TEXTS[ROOT / "README.md"].partition("*reason*")[2], re.MULTILINE)
    assert len(readme) >= 5 and set(readme) <= set(REASONS)
    table = TEXTS[ROOT / "docs" / "isolation.md"].partition("| reason codes |")[2].partition("\n\n")[0]
    cells = [row.split(" | ")[2] for row in table.splitlines() if row.count(" | ") == 3]
    names = {name for cell in cells for name in re.findall(r"`([a-z-]+)`", cell)}
    assert len(names) >= 10 and names <= set(REASONS)


@pytest.mark.parametrize("name", ["run", "explain", "learning-switch"])
def test_tables_of_options_are_complete(name: str) -> None:
    section = TEXTS[ROOT / "docs" / "cli.md"].partition(f"\n## vmoc {name}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`-.*?`) \|", section, re.MULTILINE)
    command, _ = resolve([name])
    longest = {max(option.opts, key=len) for option in command.params if isinstance(option, click.Option)}
    assert {option for cell in cells for option in re.findall(r"--[a-z-]+", cell)} == longest - {"--help"}


def test_every_command_is_in_the_table_of_the_command_line() -> None:
    table = TEXTS[ROOT / "docs" / "cli.md"].partition("\n## ")[0]
    assert set(re.findall(r"^\| `vmoc ([a-z-]+)", table, re.MULTILINE)) == set(COMMANDS)


def test_every_layer_and_every_decision_is_in_the_architecture() -> None:
    page = TEXTS[ROOT / "docs" / "architecture.md"]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    table = page.partition("## Layers")[2].partition("\n## ")[0]
    assert {name for layer in layers for name in re.findall(r"[\w.]+", layer)} <= set(re.findall(r"`([\w.]+)`", table))
    decisions = page.partition("## Decisions")[2]
    assert {f"adr/{path.name}" for path in (ROOT / "docs" / "adr").iterdir()} == set(
        re.findall(r"adr/[^)]+", decisions)
    )


def test_the_unit_runs_commands_there_are() -> None:
    unit = (ROOT / "packaging" / "vmoc.service").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^Exec\w+=(.*/vmoc .*)$", unit, re.MULTILINE)]
    assert len(commands) == 3
    for words in commands:
        command, rest = resolve(words[1:])
        command.make_context("vmoc", rest)


def test_every_story_is_in_the_readme() -> None:
    table = TEXTS[ROOT / "README.md"].partition("| story |")[2].partition("\n\n")[0]
    stories = {path.stem for path in (ROOT / "mininet_scenarios" / "scenarios").glob("[!_]*.py")} - {"stage"}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == stories
