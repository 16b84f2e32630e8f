"""What a judge raises."""

from __future__ import annotations


class Breach(AssertionError):
    """Something went where it must not go."""


def check(holds: object, text: str, about: object = "") -> None:
    """Raise ``Breach`` unless it holds."""
    if not holds:
        raise Breach(f"{text}: {about}" if about != "" else text)
