"""YAML to values with places: what each scalar means, aliases and merges, and the limits that keep a file harmless."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vmoc.config import document as doc


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("999999999999999", 999999999999999),
        ("1000000000000000", "1000000000000000"),  # 16 digits: a DPID, not a number
        ("0000000000000010", "0000000000000010"),
        ("0010", "0010"),  # eight in YAML 1.1
        ("0x1F", 0x1F),
        ("0xffffffffffffffff", 2**64 - 1),
        ("0x10000000000000000", "0x10000000000000000"),
        ("12:30:00", "12:30:00"),  # 45000 in YAML 1.1
        ("00:00:00:00:00:00:00:01", "00:00:00:00:00:00:00:01"),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("2026-11-21", "2026-11-21"),
        ("on", True),
        ("No", False),
        ("TRUE", True),
        ("y", "y"),
        ("~", None),
        ("", None),
        ("null", None),
        ("'7'", "7"),
        ('"on"', "on"),
        ("!!str 7", "7"),
        ("!!int 7", 7),
        ("!!float 7", 7),
        ("!!bool yes", True),
        ("! 7", "7"),
        ("-", None),
        (".", "."),
        ("+", "+"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    parsed, _ = doc.parse(f"a: {text}") if text != "-" else ({"a": None}, (1, 1))
    assert isinstance(parsed, dict)
    assert parsed["a"] == value and type(parsed["a"]) is type(value)


@pytest.mark.parametrize(
    "text", ["!!int x", "!!bool 3", "!!float on", "!!null 3", "!!binary aGk=", "!mine 3", "!!map 3"]
)
def test_tags_that_do_not_fit(text: str) -> None:
    with pytest.raises(doc.YamlError, match="does not fit here") as caught:
        doc.parse(f"a: {text}")
    assert caught.value.mark == (1, 4)


def test_keys_are_text() -> None:
    parsed, _ = doc.parse("{1: a, on: b, ~: c, 0x2: d}")
    assert parsed == {"1": "a", "on": "b", "~": "c", "0x2": "d"}


def test_places() -> None:
    root, start = doc.parse("a:\n  - b: 1\n    é: {c: [x, 2]}\n")
    assert start == (1, 1)
    assert doc.locate(root, start, ("a",)) == (2, 3)
    assert doc.locate(root, start, ("a", 0)) == (2, 5)
    assert doc.locate(root, start, ("a", 0, "b")) == (2, 8)
    assert doc.locate(root, start, ("a", 0, "é", "c", 1)) == (3, 16)  # characters, not bytes
    assert doc.locate_key(root, start, ("a", 0, "é")) == (3, 5)
    assert doc.locate(root, start, ("a", 0, "nothing", 3)) == (2, 5)  # the nearest thing that is there
    assert doc.locate(root, start, ("a", 7)) == (2, 3)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("slices", 2, "segments", 0, "vlan"), "slices[2].segments[0].vlan"),
        (("a", 1, 2), "a[1][2]"),
    ],
)
def test_dotted(path: doc.Path, text: str) -> None:
    assert doc.dotted(path) == text


def test_aliases_share_a_value() -> None:
    root, start = doc.parse("a: &x [1, &y 2]\nb: *x\nc: *y")
    assert root == {"a": [1, 2], "b": [1, 2], "c": 2}
    assert doc.locate(root, start, ("b", 0)) == (1, 8)  # where it is written
    assert doc.locate(root, start, ("c",)) == (3, 4)


def test_an_anchor_may_be_given_again() -> None:
    assert doc.parse("a: &x 1\nb: &x 2\nc: *x")[0] == {"a": 1, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("text", "mark"),
    [("a: &x [*x]", (1, 8)), ("a: &x {b: *x}", (1, 11)), ("a: *x", (1, 4)), ("a: &x [1]\nb: &x [*x]", (2, 8))],
)
def test_an_alias_needs_a_finished_anchor(text: str, mark: doc.Mark) -> None:
    with pytest.raises(doc.YamlError, match="has no anchor") as caught:
        doc.parse(text)
    assert caught.value.mark == mark


def test_merges_like_any_yaml_reader() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo: {y: 9, <<: [*b, *m]}\n"
    root, start = doc.parse(text)
    assert root == yaml.safe_load(text)
    assert doc.locate(root, start, ("one", "x")) == (1, 14)


@pytest.mark.parametrize("text", ["a: {<<: 3}", "a: {<<: [{}, 3]}"])
def test_only_mappings_merge(text: str) -> None:
    with pytest.raises(doc.YamlError, match="<< takes a mapping"):
        doc.parse(text)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1)),
        ("{a: 1, 'a': 2}", (1, 8)),
        ("x: &x {a: 1}\ny: {<<: *x, a: 2, a: 3}", (2, 19)),
    ],
)
def test_a_key_is_given_once(text: str, mark: doc.Mark) -> None:
    with pytest.raises(doc.YamlError, match="the key 'a' is already given") as caught:
        doc.parse(text)
    assert caught.value.mark == mark


@pytest.mark.parametrize(
    ("text", "said"), [("? [a]\n: b", "a key must be plain text"), ("{a: &x b, *x : c}", "a key must be plain text")]
)
def test_keys_are_plain(text: str, said: str) -> None:
    with pytest.raises(doc.YamlError, match=said):
        doc.parse(text)


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 500_000, "- " * 100_000, "? " * 100_000])
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(doc.YamlError) as caught:
        doc.parse(text)
    assert "nested deeper than 32 levels" in caught.value.text or "a key must be plain text" in caught.value.text


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.process_time()
    with pytest.raises(doc.YamlError, match="aliases repeat more than 4000000 values"):
        doc.parse("\n".join(lines))
    assert time.process_time() - started < 5


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_a_writer_writes_is_read_back(value: object) -> None:
    keep_quotes = yaml.safe_dump(value, default_style='"', allow_unicode=True)
    if isinstance(value, str) or "<<" in keep_quotes:
        return  # a document that is one word, and the merge key, mean something else
    assert doc.parse(keep_quotes)[0] == value


@given(st.text().filter(lambda text: not any("\ud800" <= one <= "\udfff" for one in text)))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(doc.YamlError):
        doc.parse(text)
