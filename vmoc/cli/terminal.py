"""Text from elsewhere, made safe for a terminal: names come from switches, experimenters and their machines."""

from __future__ import annotations


def printable(text: str, *, lines: bool = False) -> str:
    """``text`` without what a terminal obeys instead of showing it; with ``lines``, line ends stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or (lines and one == "\n") else "\ufffd" for one in text)
