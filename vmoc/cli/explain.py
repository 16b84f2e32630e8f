"""``vmoc explain``: what the policy would do with a message, rule by rule, without sending it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from vmoc.cli.rendering import Line, show
from vmoc.config import Settings, load
from vmoc.model import Attachment, Segment, Slice, format_dpid, parse_dpid
from vmoc.openflow import names, v10, v13
from vmoc.openflow.features import LOCAL, LOCAL10
from vmoc.openflow.header import OF10, OF13
from vmoc.openflow.text.flow import parse_flow, parse_packet_out
from vmoc.openflow.text.group import parse_group, parse_meter
from vmoc.openflow.text.values import TextError, port, port_text
from vmoc.policy.advice import PAGE, advice_of
from vmoc.policy.explain import Explanation, NotExplained, assumed_grant, explain, named_ports
from vmoc.policy.grant import Grant

ALLOWED: Final = 0
REFUSED: Final = 1
_VERSIONS: Final = {"1.0": OF10, "1.3": OF13}
_LISTED: Final = 10
"""Alternatives that a usage error names; the rest is counted."""
_LONGEST: Final = 1 << 20
_ASSUMED_TABLES: Final = 254


class Dpid(click.ParamType[int]):
    """A datapath id, as in the configuration."""

    name = "dpid"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_dpid(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Ids(click.ParamType[tuple[int, ...]]):
    """Numbers, comma-separated."""

    name = "ids"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isascii() and word.isdigit() and int(word) < 1 << 32 for word in words):
            self.fail(f"{value!r} is not a list of numbers like 1,2,3", param, ctx)
        return tuple(int(word) for word in words)


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged: the message, and under which grant."""

    owner: Slice
    dpid: int
    message: bytes
    grant: Grant
    explanation: Explanation
    notes: tuple[str, ...]


@click.command("explain")
@click.option(
    "-c",
    "--config",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="The configuration that has the slice.",
)
@click.option("--slice", "name", required=True, metavar="ID", help="The slice whose controller would send FLOW.")
@click.option("--dpid", type=Dpid(), required=True, metavar="DPID", help="The switch's own datapath id.")
@click.option("--vlan", type=click.IntRange(1, 4094), metavar="N", help="Which segment, if several are on the switch.")
@click.option(
    "--openflow", type=click.Choice(list(_VERSIONS)), help="The switch's version; else the configuration's highest."
)
@click.option("--ports", metavar="LIST", help="The ports the switch has, LOCAL by name; else see above.")
@click.option(
    "--tables", type=click.IntRange(1, 255), default=_ASSUMED_TABLES, show_default=True, help="Tables it has (1.3)."
)
@click.option("--groups", type=Ids(), default=(), metavar="LIST", help="Groups that the slice has already (1.3).")
@click.option("--meters", type=Ids(), default=(), metavar="LIST", help="Meters that the slice has already (1.3).")
@click.option("--native", is_flag=True, help="The switch is on the listener of this VLAN: its frames are untagged.")
@click.option("--packet-out", "kind", flag_value="packet-out", help="FLOW is in_port=PORT,packet=HEX,actions=...")
@click.option("--group", "kind", flag_value="group", help="FLOW is group_id=N,type=TYPE,bucket=... (1.3).")
@click.option("--meter", "kind", flag_value="meter", help="FLOW is meter=N,kbps,band=type=drop,rate=N (1.3).")
@click.option("--hex", "as_hex", is_flag=True, help="FLOW is a whole OpenFlow message in hexadecimal.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@click.argument("flow")
def command(
    file: Path,
    name: str,
    dpid: int,
    vlan: int | None,
    openflow: str | None,
    ports: str | None,
    tables: int,
    groups: tuple[int, ...],
    meters: tuple[int, ...],
    native: bool,
    kind: str | None,
    as_hex: bool,
    output: str,
    flow: str,
) -> int:
    """Say what the policy would do with a flow-mod, rule by rule.

    FLOW is a flow as ovs-ofctl writes it, with add, modify, modify_strict,
    delete or delete_strict in front if it is not to be added; - reads it
    from standard input. Nothing is sent anywhere.

    Where the configuration lists the slice's ports, all of them are taken to
    exist; where it says "all ports", the slice is taken to have the ports
    that FLOW names, and no other. --ports says which the switch has.

    Exits 0 when the message is allowed, 1 when it is refused.
    """
    if as_hex and kind is not None:
        raise click.UsageError(f"--hex says itself what it is: leave out --{kind}")
    settings = load(file)
    owner = _slice(settings, name, file)
    segment, attachment = _segment(owner, dpid, vlan)
    version = _VERSIONS[openflow] if openflow else max(settings.versions)
    text = _read(flow)
    if as_hex:
        message = _from_hex(text)
        if openflow is None and message[0] in _VERSIONS.values():
            version = message[0]
    else:
        message = _from_text(text, kind or "flow", version)
    known = _ports(ports, version)
    grant = assumed_grant(
        segment,
        attachment,
        version,
        ports=named_ports(message) if known is None else known,
        complete=known is not None,
        native=native,
        tables=tables,
        groups=groups,
        meters=meters,
        policy=settings.policy,
    )
    try:
        explanation = explain(grant, message)
    except NotExplained as error:
        raise click.UsageError(str(error)) from None
    notes = explanation.notes
    if version not in settings.versions:
        notes += (f"this configuration offers no OpenFlow {names.version_name(version)}",)
    if known is None and attachment.ports is None and explanation.message != "METER_MOD":
        notes += ("the slice is taken to have the ports the message names, and no other; --ports says which there are",)
    case = Case(owner, dpid, message, grant, explanation, notes)
    if output == "table":
        show(list(_lines(case)))
    else:
        click.echo(_dump(_document(case), output))
    return ALLOWED if explanation.allowed else REFUSED


def _slice(settings: Settings, name: str, file: Path) -> Slice:
    found = next((one for one in settings.slices if one.id == name), None)
    if found is None:
        others = _listed(one.id for one in settings.slices)
        raise click.UsageError(f"{file} has no slice {name!r}; it has {others or 'none at all'}")
    return found


def _segment(owner: Slice, dpid: int, vlan: int | None) -> tuple[Segment, Attachment]:
    if vlan is not None and all(segment.vlan != vlan for segment in owner.segments):
        vlans = _listed(str(segment.vlan) for segment in owner.segments)
        raise click.UsageError(f"Slice {owner.id} has no VLAN {vlan}; it has {vlans or 'none at all'}")
    segments = [segment for segment in owner.segments if vlan in (None, segment.vlan)]
    found = [(segment, attachment) for segment in segments if (attachment := segment.attachment(dpid)) is not None]
    if not found:
        dpids = sorted({attachment.dpid for segment in segments for attachment in segment.attachments or ()})
        where = _listed(format_dpid(each) for each in dpids)
        of = f"VLAN {vlan} of slice {owner.id}" if vlan is not None else f"Slice {owner.id}"
        raise click.UsageError(f"{of} is not attached to {format_dpid(dpid)}, but to {where or 'no switch at all'}")
    if len(found) > 1:
        vlans = _listed(str(segment.vlan) for segment, _ in found)
        raise click.UsageError(
            f"Slice {owner.id} has several VLANs on {format_dpid(dpid)}; say with --vlan which of {vlans}"
        )
    return found[0]


def _listed(names_: Iterable[str]) -> str:
    every = list(names_)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more


def _read(flow: str) -> str:
    if flow == "-":
        flow = sys.stdin.buffer.read(_LONGEST).decode("utf-8", "replace")
    lines = [line.strip() for line in flow.splitlines() if line.strip()]
    if not lines:
        raise click.UsageError("There is nothing to explain: FLOW is empty")
    return "\n".join(lines)


def _from_hex(text: str) -> bytes:
    digits = "".join(text.split()).removeprefix("0x")
    try:
        message = bytes.fromhex(digits)
    except ValueError:
        raise click.UsageError("FLOW is not hexadecimal: --hex wants an even number of hex digits") from None
    if not message:
        raise click.UsageError("There is nothing to explain: FLOW is empty")
    return message


def _from_text(text: str, kind: str, version: int) -> bytes:
    if "\n" in text:
        raise click.UsageError("Explain one message at a time: FLOW has several lines")
    if kind in ("group", "meter") and version == OF10:
        raise click.UsageError(f"OpenFlow 1.0 has no {kind}s: say --openflow 1.3")
    try:
        if kind == "flow":
            return parse_flow(text, version)
        if kind == "packet-out":
            return parse_packet_out(text, version)
        return parse_group(text) if kind == "group" else parse_meter(text)
    except TextError as error:
        raise click.UsageError(str(error)) from None


def _ports(text: str | None, version: int) -> frozenset[int] | None:
    if text is None:
        return None
    local, limit = (LOCAL10, v10.MAX) if version == OF10 else (LOCAL, v13.MAX)
    try:
        found = frozenset(port(word.strip(), version, "--ports") for word in text.split(",") if word.strip())
    except TextError as error:
        raise click.UsageError(str(error)) from None
    for number in sorted(found):
        if number != local and not 0 < number < limit:
            raise click.UsageError(f"--ports: {port_text(number, version)} is not a port a switch has")
    return found


# -- what it says ----------------------------------------------------------------------------------


def _lines(case: Case) -> Iterator[Line]:
    grant, told = case.grant, case.explanation
    yield Line("title", f"{told.message} of {case.owner.id} on {format_dpid(case.dpid)}", _setting(grant))
    for finding in told.findings:
        yield Line("passed" if finding.passed else "failed", finding.rule, finding.text)
    if told.reason is None:
        yield Line("allowed", "allowed", "")
        yield Line("fact", "sent", told.text)
        yield Line("fact", "hex", told.physical.hex())
    else:
        yield Line("refused", "refused", told.reason.code)
        yield Line("fact", "error", told.error_name)
        yield Line("fact", "meaning", told.reason.summary)
        yield Line("fact", "advice", advice_of(told.reason))
        yield Line("fact", "see", _page(told.reason.code))
    for note in case.notes:
        yield Line("fact", "note", note)


def _setting(grant: Grant) -> str:
    view = "untagged instance" if grant.native else "transparent" if grant.hides_tag else "tagged"
    ports = ", ".join(port_text(number, grant.version) for number in sorted(grant.ports))
    version = names.version_name(grant.version)
    return f"VLAN {grant.vlan}, {view}, OpenFlow {version}, ports {ports or 'none'}"


def _page(code: str) -> str:
    return f"{PAGE}#{code}"


def _document(case: Case) -> dict[str, Any]:
    """The answer as plain values; names and meanings are stable."""
    grant, told = case.grant, case.explanation
    document: dict[str, Any] = {
        "slice": case.owner.id,
        "dpid": format_dpid(case.dpid),
        "vlan": grant.vlan,
        "openflow": names.version_name(grant.version),
        "presentation": "transparent" if grant.hides_tag else "tagged",
        "native": grant.native,
        "ports": sorted(grant.ports),
        "message": {"type": told.message, "hex": case.message.hex()},
        "allowed": told.allowed,
        "rules": [{"rule": each.rule, "passed": each.passed, "found": each.text} for each in told.findings],
        "sent": None,
        "refusal": None,
        "notes": list(case.notes),
    }
    if told.reason is None or told.error is None:
        document["sent"] = {"text": told.text, "hex": told.physical.hex()}
    else:
        document["refusal"] = {
            "reason": told.reason.code,
            "meaning": told.reason.summary,
            "detail": told.detail,
            "error": {"type": told.error[0], "code": told.error[1], "name": told.error_name},
            "advice": advice_of(told.reason),
            "page": _page(told.reason.code),
        }
    return document


def _dump(document: dict[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(document, indent=2)
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, width=1000)
    return text.rstrip("\n")
