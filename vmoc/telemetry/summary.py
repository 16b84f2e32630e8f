"""A refused message in one line."""

from __future__ import annotations

from typing import Final

from vmoc.openflow import header, names, v13
from vmoc.openflow.text.flow import format_flow, format_packet_out
from vmoc.openflow.text.group import format_group, format_meter

SUMMARY: Final = 300
"""Characters, at most."""
_FORMATS: Final = {
    header.FLOW_MOD: ("flow-mod", format_flow),
    header.PACKET_OUT: ("packet-out", format_packet_out),
}
_FORMATS13: Final = {v13.GROUP_MOD: ("group-mod", format_group), v13.METER_MOD: ("meter-mod", format_meter)}


def summarise(raw: bytes) -> str:
    """A message as its sender would have typed it for ``ovs-ofctl``; its name and length where that cannot be."""
    if len(raw) < 8:
        return ""
    length = int.from_bytes(raw[2:4], "big")
    name, form = _FORMATS.get(raw[1]) or (_FORMATS13.get(raw[1]) if raw[0] == header.OF13 else None) or ("", None)
    if form is not None and len(raw) == length:
        try:
            text = f"{name} {form(raw)}"
        except Exception:  # it was refused for a reason, and that may well be its form
            pass
        else:
            return text if len(text) <= SUMMARY else text[: SUMMARY - 3] + "..."
    return f"{names.message_name(raw[0], raw[1])} of {length} bytes"
