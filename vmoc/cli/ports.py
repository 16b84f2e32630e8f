"""Port numbers as people write them: decimal, and LOCAL for the switch's own."""

from __future__ import annotations

from vmoc.registry import LOCAL_PORT

LARGEST = (1 << 32) - 1


def port_text(number: int) -> str:
    """``7``, or ``LOCAL``."""
    return "LOCAL" if number == LOCAL_PORT else str(number)


def port_number(text: str) -> int:
    """The inverse of ``port_text``. Raises ``ValueError``."""
    if text.upper() == "LOCAL":
        return LOCAL_PORT
    if not (text.isascii() and text.isdecimal() and int(text) <= LARGEST):
        raise ValueError(f"{text!r} is not a port: write its number, or LOCAL")
    return int(text)
