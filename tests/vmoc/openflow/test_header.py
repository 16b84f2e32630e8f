"""The header and the messages every version shares."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import header


def test_message_puts_a_header_in_front() -> None:
    assert header.message(4, 20, 0x01020304, b"xy") == (bytes.fromhex("0414000a01020304") + b"xy")


def test_the_longest_message_fits_and_no_longer_one() -> None:
    assert len(header.message(1, 13, 0, bytes(0xFFFF - 8))) == header.MAX_LENGTH
    with pytest.raises(ValueError, match="65536 bytes"):
        header.message(1, 13, 0, bytes(0xFFFF - 7))


def test_xid_is_read_and_replaced() -> None:
    echo = header.message(1, header.ECHO_REQUEST, 0xDEADBEEF, b"payload")
    assert header.xid_of(echo) == 0xDEADBEEF
    other = header.with_xid(echo, 7)
    assert header.xid_of(other) == 7
    assert header.with_xid(other, 0xDEADBEEF) == echo


def test_hello_of_1_0_is_bare() -> None:
    assert header.hello(1, (1,), 5) == bytes.fromhex("0100000800000005")


def test_hello_of_1_3_carries_a_bitmap() -> None:
    assert header.hello(4, (1, 4), 5) == bytes.fromhex("0400001000000005" + "00010008" + "00000012")


def hello(version: int, *elements: str) -> bytes:
    return header.message(version, header.HELLO, 0, bytes.fromhex("".join(elements)))


@pytest.mark.parametrize(
    ("data", "versions"),
    [
        (hello(1), {1}),
        (hello(4), {1, 2, 3, 4}),
        (hello(3), {1, 2, 3}),
        (hello(0), set()),
        (hello(1, "0001000800000010"), {1}),  # a 1.0 HELLO has no elements
        (hello(4, "0001000800000012"), {1, 4}),
        (hello(6, "0001000800000010"), {4}),  # the bitmap overrides the header
        (hello(4, "00010004"), set()),  # a bitmap of no words
        (hello(4, "0001000c0000000000000001", "00000000"), {32}),
        (hello(4, "00010007000000ff"), set()),  # less than a word
        (hello(4, "0007000500000000", "0001000800000010"), {4}),  # other elements are passed over, with their padding
        (hello(4, "0001000800000010", "0001000800000002"), {4}),  # the first bitmap counts
        (hello(4, "0001"), {1, 2, 3, 4}),  # too short for an element
    ],
)
def test_hello_versions(data: bytes, versions: set[int]) -> None:
    assert header.hello_versions(data) == versions


def test_a_bitmap_names_no_version_beyond_one_byte() -> None:
    bitmap = (4 + 4 * 1000).to_bytes(2, "big").hex()
    assert header.hello_versions(hello(4, "0001" + bitmap, "ff" * 4000)) == frozenset(range(256))


@pytest.mark.parametrize("elements", ["00010003", "00010000", "0001000900000010"])
def test_malformed_elements_fail_the_hello(elements: str) -> None:
    with pytest.raises(Refused) as caught:
        header.hello_versions(hello(4, elements))
    assert caught.value.reason is errors.HELLO_FAILED


def test_own_hello_is_understood() -> None:
    assert header.hello_versions(header.hello(4, (1, 4))) == {1, 4}
    assert header.hello_versions(header.hello(1, (1,))) == {1}


def test_echo_reply_repeats_everything_but_the_type() -> None:
    request = header.message(4, header.ECHO_REQUEST, 99, b"\x00\xffping")
    assert header.echo_reply(request) == header.message(4, header.ECHO_REPLY, 99, b"\x00\xffping")


def test_error_carries_the_first_64_bytes() -> None:
    refused = bytes(range(200))
    data = header.error(4, 0x55, (2, 4), refused)
    assert data == bytes.fromhex("0401004c00000055" + "00020004" + refused[:64].hex())
    assert header.error_code(data) == (2, 4)
    short = header.error(1, 1, (1, 6), b"\x01\x02")
    assert len(short) == 14


def test_hello_error_is_ascii() -> None:
    data = header.hello_error(4, 3, "needs 1.3 – sorry")
    assert data[8:12] == bytes(4)
    assert data[12:] == b"needs 1.3 ? sorry"


def test_error_code_of_a_short_error() -> None:
    with pytest.raises(Refused) as caught:
        header.error_code(header.message(1, header.ERROR, 0, b"\x00\x01\x00"))
    assert caught.value.reason is errors.BAD_LENGTH
