"""Single values in text: numbers, addresses, ports, value/mask pairs."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from vmoc.errors import VmocError
from vmoc.openflow import v10, v13

_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)
_MAC: Final = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}", re.ASCII)
PORT_NAMES: Final = ("IN_PORT", "TABLE", "NORMAL", "FLOOD", "ALL", "CONTROLLER", "LOCAL")


class TextError(VmocError):
    """A word of the text is not understood; the message names it and says what could stand there."""


def number(text: str, bits: int, what: str) -> int:
    """A decimal or 0x number of at most ``bits`` bits."""
    if not _NUMBER.fullmatch(text):
        raise TextError(f"{what}: {_shown(text)} is not a number")
    base = 16 if text[1:2] in ("x", "X") else 10
    digits = (text[2:] if base == 16 else text).lstrip("0")
    # Longer than any field: not worth converting, and int() would refuse the very long.
    value = int(digits or "0", base) if len(digits) < 60 else 1 << bits
    if value >> bits:
        raise TextError(f"{what}: {_shown(text)} does not fit {bits} bits")
    return value


def mac(text: str, what: str) -> int:
    """A colon-separated Ethernet address."""
    if not _MAC.fullmatch(text):
        raise TextError(f"{what}: {_shown(text)} is not an Ethernet address like 02:00:00:00:00:01")
    return int.from_bytes(bytes(int(part, 16) for part in text.split(":")), "big")


def _shown(text: str) -> str:
    """The word itself, cut when it is absurdly long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def ipv4(text: str, what: str) -> int:
    """A dotted address."""
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        raise TextError(f"{what}: {_shown(text)} is not an IPv4 address") from None


def ipv6(text: str, what: str) -> int:
    """An IPv6 address."""
    try:
        return int(ipaddress.IPv6Address(text.replace("%", "no zones here")))
    except ValueError:
        raise TextError(f"{what}: {_shown(text)} is not an IPv6 address") from None


def address(text: str, bits: int, what: str) -> int:
    """A number, Ethernet, IPv4 or IPv6 address, by the field's width and the text's look."""
    if bits == 48 and ":" in text:
        return mac(text, what)
    if bits == 32 and "." in text:
        return ipv4(text, what)
    if bits == 128 and ":" in text:
        return ipv6(text, what)
    return number(text, bits, what)


def masked(text: str, bits: int, what: str) -> tuple[int, int | None]:
    """``VALUE`` or ``VALUE/MASK``; an IP address may be followed by a prefix length.

    As ``ovs-ofctl`` does, value bits that the mask ignores are cleared.
    """
    value_text, slash, mask_text = text.partition("/")
    value = address(value_text, bits, what)
    if not slash:
        return value, None
    looks_like_ip = (bits == 32 and "." in value_text) or bits == 128
    if looks_like_ip and mask_text.isdigit():
        length = number(mask_text, 8, what)
        if length > bits:
            raise TextError(f"{what}: a prefix of {length} bits is longer than the address")
        mask = ((1 << length) - 1) << (bits - length)
    else:
        mask = address(mask_text, bits, what)
    return value & mask, mask


def port(text: str, version: int, what: str) -> int:
    """A port number or a reserved port's name."""
    names = v10 if version == 1 else v13
    upper = text.upper()
    if upper in PORT_NAMES:
        value: int = getattr(names, upper)
        return value
    if upper in ("NONE", "ANY"):
        return v10.NONE if version == 1 else v13.ANY
    return number(text, 16 if version == 1 else 32, what)


def port_text(value: int, version: int) -> str:
    """The name of a reserved port, the number of any other."""
    names = v10 if version == 1 else v13
    for name in PORT_NAMES:
        if getattr(names, name) == value:
            return name
    if value == (v10.NONE if version == 1 else v13.ANY):
        return "NONE" if version == 1 else "ANY"
    return str(value)


def mac_text(value: int) -> str:
    """Six octets, colon-separated."""
    return value.to_bytes(6, "big").hex(":")


def value_text(value: int, bits: int) -> str:
    """An address in its own form, everything else as a number."""
    if bits == 48:
        return mac_text(value)
    if bits == 32:
        return str(ipaddress.IPv4Address(value))
    if bits == 128:
        return str(ipaddress.IPv6Address(value))
    return str(value)


def split(text: str) -> list[str]:
    """Cut at commas and blanks that are outside parentheses; empty words are dropped. ``TextError`` when unbalanced."""
    words, depth, start = list[str](), 0, 0
    for at, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth < 0:
                raise TextError(f"unbalanced ')' in {_shown(text)}")
        elif depth == 0 and (character == "," or character.isspace()):
            words.append(text[start:at])
            start = at + 1
    if depth:
        raise TextError(f"unbalanced '(' in {_shown(text)}")
    words.append(text[start:])
    return [word for word in words if word]
