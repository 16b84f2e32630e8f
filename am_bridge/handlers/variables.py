"""Values for Ansible that are text to it and nothing else.

Ansible evaluates ``{{ ... }}`` in any variable it is given, as root, on the
control node. The one form in which it leaves text alone is a YAML scalar with
the tag ``!unsafe``; so every text here gets it, keys included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_unsafe_yaml(values: Mapping[str, Any]) -> str:
    """A YAML document whose every text is ``!unsafe``; top-level keys are ours and plain.

    Raises ``ValueError`` for what is not a mapping, list, text, number, boolean or null.
    """
    return "".join(f"{key}: {_flow(value)}\n" for key, value in values.items())


def _flow(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"!unsafe {quote(value)}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"? !unsafe {quote(str(key))} : {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    raise ValueError(f"a {type(value).__name__} cannot be given to a playbook")


def quote(text: str) -> str:
    """The text as a double-quoted YAML scalar of ASCII letters only."""
    return '"' + "".join(_escape(one) for one in text) + '"'


def _escape(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    return one if " " <= one <= "~" else f"\\U{ord(one):08x}"
