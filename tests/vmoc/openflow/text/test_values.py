"""Single values, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmoc.openflow import v10, v13
from vmoc.openflow.text import values
from vmoc.openflow.text.values import TextError


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("0x1F", 31), ("010", 10), ("65535", 0xFFFF)])
def test_numbers(text: str, value: int) -> None:
    assert values.number(text, 16, "field") == value


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "1_0", "0b1", " 1", "1 ", "²", "0x", "1e3", "٣"])
def test_not_numbers(text: str) -> None:
    with pytest.raises(TextError, match=r"^priority: .* is not a number$"):
        values.number(text, 16, "priority")


@pytest.mark.parametrize("text", ["65536", "0x10000", "9" * 10000, "0x" + "f" * 10000])
def test_numbers_that_do_not_fit(text: str) -> None:
    with pytest.raises(TextError, match=r"^priority: .* does not fit 16 bits$") as raised:
        values.number(text, 16, "priority")
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.mac, "02:00:00:00:00:01", 0x020000000001),
        (values.mac, "2:0:0:0:0:A", 0x02000000000A),
        (values.ipv4, "10.0.0.1", 0x0A000001),
        (values.ipv6, "fe80::1", 0xFE80 << 112 | 1),
    ],
)
def test_addresses(read: Callable[[str, str], int], text: str, value: int) -> None:
    assert read(text, "field") == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.mac, "02:00:00:00:00"),
        (values.mac, "02:00:00:00:00:100"),
        (values.mac, "02:00:00:00:00:+1"),
        (values.mac, "02-00-00-00-00-01"),
        (values.ipv4, "10.0.0"),
        (values.ipv4, "10.0.0.256"),
        (values.ipv6, "fe80::1::2"),
        (values.ipv6, "fe80::1%eth0"),
    ],
)
def test_not_addresses(read: Callable[[str, str], int], text: str) -> None:
    with pytest.raises(TextError, match=r"^there: '.*' is not an "):
        read(text, "there")


@pytest.mark.parametrize(
    ("text", "bits", "expected"),
    [
        ("10.1.2.3", 32, (0x0A010203, None)),
        ("10.1.2.3/8", 32, (0x0A000000, 0xFF000000)),
        ("10.1.2.3/0", 32, (0, 0)),
        ("10.1.2.3/255.0.255.0", 32, (0x0A000200, 0xFF00FF00)),
        ("167838211/8", 32, (0, 8)),
        ("fe80::1/16", 128, (0xFE80 << 112, 0xFFFF << 112)),
        ("02:00:00:00:00:01/01:00:00:00:00:00", 48, (0, 1 << 40)),
        ("0x1064/0x1000", 16, (0x1000, 0x1000)),
    ],
)
def test_masks(text: str, bits: int, expected: tuple[int, int | None]) -> None:
    assert values.masked(text, bits, "field") == expected


def test_a_prefix_longer_than_the_address() -> None:
    with pytest.raises(TextError, match=r"^nw_src: a prefix of 33 bits"):
        values.masked("10.0.0.0/33", 32, "nw_src")


@pytest.mark.parametrize(("version", "module", "none"), [(1, v10, "NONE"), (4, v13, "ANY")])
def test_ports(version: int, module: object, none: str) -> None:
    for name in values.PORT_NAMES:
        number = getattr(module, name)
        assert values.port(name.lower(), version, "port") == number
        assert values.port_text(number, version) == name
    assert values.port("7", version, "port") == 7 and values.port_text(7, version) == "7"
    any_port = values.port("any", version, "port")
    assert any_port == values.port("none", version, "port") == getattr(module, none)
    assert values.port_text(any_port, version) == none
    with pytest.raises(TextError, match=r"^output: 'eth0' is not a number"):
        values.port("eth0", version, "output")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" a,b c\t,, d ", ["a", "b", "c", "d"]),
        ("a(b,c),d", ["a(b,c)", "d"]),
        ("a(b (c, d)) e", ["a(b (c, d))", "e"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert values.split(text) == words


@pytest.mark.parametrize("text", ["a(b", "a)b", "(()"])
def test_unbalanced_brackets(text: str) -> None:
    with pytest.raises(TextError, match=r"^unbalanced '[()]' in "):
        values.split(text)
