"""Statistics messages: their frame, their records, and replies that do not fit one message."""

from __future__ import annotations

import pytest

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import stats

VERSIONS = pytest.mark.parametrize("version", [1, 4])


def test_the_frame_of_a_request() -> None:
    assert stats.request(1, 5, stats.FLOW, b"body") == bytes.fromhex("0110001000000005" + "00010000" + b"body".hex())
    assert stats.request(4, 5, stats.FLOW, b"body") == bytes.fromhex(
        "0412001400000005" + "0001000000000000" + b"body".hex()
    )


def test_the_frame_of_a_reply() -> None:
    assert stats.reply(1, 5, stats.TABLE) == bytes.fromhex("0111000c00000005" + "00030000")
    assert stats.reply(4, 5, stats.TABLE, more=True) == bytes.fromhex("0413001000000005" + "0003000100000000")


@VERSIONS
def test_head(version: int) -> None:
    assert stats.head(stats.reply(version, 1, 13, more=True)) == (13, 1)
    with pytest.raises(Refused) as caught:
        stats.head(stats.reply(version, 1, 13)[:-1])
    assert caught.value.reason is errors.BAD_LENGTH


@VERSIONS
def test_no_items_are_one_empty_reply(version: int) -> None:
    assert list(stats.replies(version, 1, 1, [])) == [stats.reply(version, 1, 1)]
    assert list(stats.replies(version, 1, 1, [], more=True)) == [stats.reply(version, 1, 1, more=True)]


@VERSIONS
def test_items_are_spread_over_replies(version: int) -> None:
    room = 0xFFFF - stats.BODY[version]
    items = [bytes((number,)) * 1000 for number in range(200)]
    parts = list(stats.replies(version, 1, 1, items))
    assert [stats.head(part)[1] for part in parts] == [1] * (len(parts) - 1) + [0]
    assert b"".join(part[stats.BODY[version] :] for part in parts) == b"".join(items)
    assert all(len(part) <= 0xFFFF for part in parts)
    assert len(parts) == -(-len(items) // (room // 1000))
    assert [stats.head(part)[1] for part in stats.replies(version, 1, 1, items, more=True)] == [1] * len(parts)


@VERSIONS
def test_an_item_may_fill_a_reply_to_the_last_byte(version: int) -> None:
    item = bytes(0xFFFF - stats.BODY[version])
    assert [len(part) for part in stats.replies(version, 1, 1, [item])] == [0xFFFF]
    assert [len(part) for part in stats.replies(version, 1, 1, [item, b"x"])] == [0xFFFF, stats.BODY[version] + 1]


def test_flow_requests() -> None:
    match = bytes(range(40))
    assert stats.flow_request_body10(match, 0xFF, 0xFFFF) == match + b"\xff\x00\xff\xff"
    body = stats.flow_request_body13(b"\0\1\0\4\0\0\0\0", 3, 7, 8, 9, 10)
    message = stats.request(4, 1, stats.FLOW, body)
    assert stats.parse_flow_request13(message) == (3, 7, 8, 9, 10)
    assert message[stats.FLOW13_MATCH_AT :] == b"\0\1\0\4\0\0\0\0"
    with pytest.raises(Refused) as caught:
        stats.parse_flow_request13(message[:-1])
    assert caught.value.reason is errors.BAD_LENGTH


def test_aggregate() -> None:
    assert stats.aggregate_body(1, 2, 3) == bytes.fromhex("000000000000000100000000000000020000000300000000")


@VERSIONS
def test_fixed_items(version: int) -> None:
    length = stats.PORT_STATS_LENGTH[version]
    first, second = bytes((0,) * 3 + (1,)) + b"a" * (length - 4), b"b" * length
    reply = stats.reply(version, 1, stats.PORT, first + second)
    assert stats.fixed_items(reply, length) == [first, second]
    assert stats.item_port(version, first) == (0 if version == 1 else 1)
    for broken in (reply[:-1], reply + b"\0", reply[: stats.BODY[version] - 1]):
        with pytest.raises(Refused) as caught:
            stats.fixed_items(broken, length)
        assert caught.value.reason is errors.BAD_LENGTH


def test_a_shared_port_counts_nothing() -> None:
    item = b"\x00\x07" + bytes(6) + bytes(range(96))
    assert stats.masked_port_item(1, item) == item[:8] + b"\xff" * 96
    item = b"\x00\x00\x00\x07" + bytes(4) + bytes(range(104))
    masked = stats.masked_port_item(4, item)
    assert masked == item[:8] + b"\xff" * 96 + item[104:]  # how long the port is up is no secret
    assert len(masked) == stats.PORT_STATS_LENGTH[4]


@VERSIONS
def test_description(version: int) -> None:
    body = stats.desc_body(b"m" * 300, b"hw", b"sw", b"s" * 40, b"")
    assert len(body) == 1056
    reply = stats.reply(version, 1, stats.DESC, body)
    assert stats.parse_desc(reply) == (b"m" * 255, b"hw", b"sw", b"s" * 31, b"")
    with pytest.raises(Refused) as caught:
        stats.parse_desc(reply[:-1])
    assert caught.value.reason is errors.BAD_LENGTH


def test_table_records() -> None:
    item = stats.table_item10(2, b"n" * 40, 0x3FFFFF, 1000, 5)
    assert item == b"\x02\0\0\0" + b"n" * 31 + b"\0" + bytes.fromhex("003fffff000003e800000005") + b"\xff" * 16
    assert stats.table_item13(2, 5) == b"\x02\0\0\0\0\0\0\x05" + b"\xff" * 16
