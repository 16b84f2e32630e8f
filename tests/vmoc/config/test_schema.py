"""The schema knows every key of the model and of the manual, with the same defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from vmoc.config import load
from vmoc.config.schema import json_schema
from vmoc.model import Limits, Policy, Timers

MANUAL = Path(__file__).parents[3] / "docs" / "configuration.md"


def keys(schema: dict[str, Any], section: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key the schema knows, in dotted form with ``[]`` for the items of a list, and what is known of it."""
    for key, known in section.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield here, known
        for one in [known, *known.get("anyOf", ())]:
            target, suffix = (one["items"], "[]") if "items" in one else (one, "")
            if "$ref" in target:
                yield from keys(schema, schema["$defs"][target["$ref"].rsplit("/", 1)[1]], here + suffix)


def leaves() -> dict[str, dict[str, Any]]:
    schema = json_schema()
    found = dict(keys(schema, schema))
    return {
        key: known
        for key, known in found.items()
        if not any(other.startswith((key + ".", key + "[]")) for other in found)
    }


@pytest.mark.parametrize(("section", "model"), [("policy", Policy), ("limits", Limits), ("timers", Timers)])
def test_options_are_the_models(section: str, model: type[Any]) -> None:
    known = {key.split(".")[1]: one.get("default") for key, one in leaves().items() if key.startswith(section + ".")}
    assert known == {field.name: field.default for field in fields(model)}


def test_the_schema_stands_alone() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema") and schema["additionalProperties"] is False
    text = repr(schema)
    assert set(re.findall(r"'#/\$defs/(\w+)'", text)) == set(schema["$defs"])
    sections = [one for one in schema["$defs"].values() if one["type"] == "object"]
    assert all(one["additionalProperties"] is False for one in sections)


def test_what_must_not_be_empty_may_not_be_null() -> None:
    schema = json_schema()
    assert schema["$defs"]["AttachmentSection"]["properties"]["ports"]["type"] == "array"
    assert schema["$defs"]["SegmentSection"]["properties"]["attachments"]["type"] == "array"


def test_the_manual_lists_every_key_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.\[\]]+)` \| ([^|]*?) \|", MANUAL.read_text(), re.MULTILINE))
    known = leaves()
    assert set(rows) == set(known)
    for key, one in known.items():
        default = one.get("default")
        if isinstance(default, bool):
            default = "on" if default else "off"
        if default not in (None, [], {}):
            shown = str(default).removesuffix(".0") if isinstance(default, float) else str(default)
            assert rows[key] == f"`{shown}`", key


def test_the_manuals_examples_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        (tmp_path / "vmoc.yaml").write_text(text)
        load(tmp_path / "vmoc.yaml")
