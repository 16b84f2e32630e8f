"""Values for Ansible that are text to it and nothing else.

Ansible evaluates ``{{ ... }}`` in any variable it trusts, as root, on the
control node. What stands under the YAML tag ``!unsafe`` it does not trust. The
tag is put on the whole, not on each text: on a scalar it makes Ansible guess
the type anew, so that the text ``"true"`` would become a boolean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_unsafe_yaml(values: Mapping[str, Any]) -> str:
    """A YAML document with those variables, all ``!unsafe``; their names are ours, and plain.

    Raises ``ValueError`` for what is not a mapping, list, text, number, boolean or null.
    """
    return "".join(f"{key}: !unsafe {_flow(value)}\n" for key, value in values.items())


def _flow(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else "null"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"? {quote(str(key))} : {_flow(one)}" for key, one in value.items()) + "}"
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
