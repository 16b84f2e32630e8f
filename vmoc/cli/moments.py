"""Times and lengths of time as options take them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

import click
from google.protobuf import duration_pb2, timestamp_pb2

LONGEST: Final = 7000 * 366 * 86400
"""Seconds; what is longer ends after the year 9999, which no timestamp can tell."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Expiry(click.ParamType[timestamp_pb2.Timestamp | duration_pb2.Duration]):
    """A time (``2030-01-31T12:00:00Z``) or a length of time from now (``90m``, ``7d12h``)."""

    name = "when"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timestamp_pb2.Timestamp | duration_pb2.Duration:
        if isinstance(value, timestamp_pb2.Timestamp | duration_pb2.Duration):
            return value
        text = str(value).strip()
        seconds = parse_span(text)
        if seconds:
            return duration_pb2.Duration(seconds=seconds)
        try:
            return read_time(text)
        except ValueError:
            self.fail(
                f"{text!r} is neither a time like 2030-01-31T12:00:00Z nor a length like 90m or 7d12h", param, ctx
            )


def read_time(text: str) -> timestamp_pb2.Timestamp:
    """A time in ISO 8601, in UTC if it says nothing else. Raises ``ValueError``."""
    when = datetime.fromisoformat(text)
    stamp = timestamp_pb2.Timestamp()
    try:
        stamp.FromDatetime(when if when.tzinfo is not None else when.replace(tzinfo=UTC))
    except OverflowError as error:
        raise ValueError(f"{text} is not within the years 1 to 9999 in UTC") from error
    return stamp


def parse_span(text: str) -> int:
    """``7d12h`` in seconds; 0 when it is not a length of time, or one beyond all calendars."""
    if not re.fullmatch(r"([0-9]{1,9}[smhdw])+", text):
        return 0
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    return seconds if seconds <= LONGEST else 0


def until(expires: timestamp_pb2.Timestamp | duration_pb2.Duration) -> timestamp_pb2.Timestamp:
    """The time that an ``Expiry`` means, now."""
    if isinstance(expires, timestamp_pb2.Timestamp):
        return expires
    return timestamp_pb2.Timestamp(seconds=int(time.time()) + expires.seconds)
