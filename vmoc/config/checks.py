"""What the values must be to each other: what one section's reading can't tell."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from typing import Final

from vmoc.config import schema
from vmoc.config.document import Path
from vmoc.config.ownership import OwnAddress, clash, is_loopback, is_own
from vmoc.config.reader import Reader, reason
from vmoc.config.settings import IN_MEMORY
from vmoc.config.slices import SliceRead, to_slice
from vmoc.model import Endpoint, Limits, Origin, Slice, format_dpid
from vmoc.openflow.header import OF13
from vmoc.registry import LOCAL_PORT, Conflict, ConflictKind, Registry

MAX_CONTROLLERS: Final = 16


# -- the service itself ------------------------------------------------------------------------------------------------


def tls(reader: Reader, openflow: schema.OpenflowSection | None, grpc: schema.GrpcSection | None) -> None:
    """Certificates are complete and can be loaded; listeners that need them have them."""
    if openflow is not None:
        given = openflow.tls
        for index, one in enumerate(openflow.listen):
            if one.tls and (given is None or given.cert is None):
                missing = "openflow.tls" if given is None else "openflow.tls.cert and openflow.tls.key"
                reader.problem(("openflow", "listen", index, "tls"), f"on needs {missing}")
        if given is not None:
            path = ("openflow", "tls")
            if (given.cert is None) != (given.key is None):
                there, missing = ("key", "cert") if given.cert is None else ("cert", "key")
                reader.problem((*path, there), f"needs openflow.tls.{missing} too")
            _certificates(reader, path, given.cert, given.key, ("ca", given.ca))
    if grpc is not None and grpc.tls is not None:
        _certificates(reader, ("grpc", "tls"), grpc.tls.cert, grpc.tls.key, ("client_ca", grpc.tls.client_ca))


def callers(reader: Reader, grpc: schema.GrpcSection | None) -> None:
    """Who may call the management interface is known, or it is for this machine only."""
    if grpc is None:
        return
    for index, one in enumerate(grpc.roles):
        if (one.role == "am") != (one.manager is not None):
            what = "is required with role am" if one.manager is None else f"does not go with role {one.role}, only am"
            place = ("grpc", "roles", index)
            reader.problem((*place, "manager") if one.manager is not None else place, f"manager {what}")
    asked = grpc.tls is not None and grpc.tls.client_ca is not None
    if grpc.roles and not asked:
        reader.problem(("grpc", "roles"), "need grpc.tls.client_ca, which signs the certificates they are about")
    if grpc.listen is not None and not asked and not grpc.insecure and not is_loopback(grpc.listen[0]):
        text = (
            f"{grpc.listen[0]} can be reached from elsewhere, and whoever does would be an administrator: "
            "set grpc.tls with client_ca and grpc.roles, or grpc.insecure to on"
        )
        reader.problem(("grpc", "listen"), text)


def _certificates(reader: Reader, path: Path, cert: str | None, key: str | None, ca: tuple[str, str | None]) -> None:
    readable = True
    for name, file in (("cert", cert), ("key", key), ca):
        if file is None:
            continue
        try:
            with open(reader.folder / file, "rb") as opened:
                opened.read(1)
        except OSError as error:
            reader.problem((*path, name), f"{file} cannot be read: {reason(error)}")
            readable = False
    if not readable:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ca[1] is not None:
        try:
            context.load_verify_locations(reader.folder / ca[1])
        except (ssl.SSLError, OSError):
            reader.problem((*path, ca[0]), f"{ca[1]} holds no CA certificate in PEM form")
    if cert is not None and key is not None:
        try:
            # An encrypted key would make OpenSSL ask on the terminal.
            context.load_cert_chain(reader.folder / cert, reader.folder / key, password="")
        except (ssl.SSLError, OSError) as error:
            why = getattr(error, "reason", None)
            if why == "KEY_VALUES_MISMATCH":
                reader.problem((*path, "key"), f"{key} is not the key of {cert}")
            else:
                text = f"{cert} and {key} are not a certificate and its key, unencrypted, in PEM form"
                reader.problem((*path, "cert"), text)


def sharing(reader: Reader, policy: schema.PolicySection | None, openflow: schema.OpenflowSection | None) -> None:
    """A VLAN can be shared where switches let packets in by port: with 1.3 and ``pipeline: admission``."""
    if policy is None or not policy.vlan_port_sharing:
        return
    path = ("policy", "vlan_port_sharing")
    if policy.pipeline != "admission":
        reader.problem(path, f"on needs policy.pipeline admission, not {policy.pipeline}")
    if openflow is not None and OF13 not in openflow.versions:
        reader.problem(path, "on needs 1.3 among openflow.versions")


def timers(reader: Reader, section: schema.TimersSection | None) -> None:
    """The back-off does not start above its end."""
    if section is not None and section.reconnect_first > section.reconnect_max:
        given = "reconnect_max" if reader.get(("timers", "reconnect_max")) is not None else "reconnect_first"
        text = (
            f"reconnect_first ({section.reconnect_first:g}) must not exceed reconnect_max ({section.reconnect_max:g})"
        )
        reader.problem(("timers", given), text)


def state(reader: Reader, section: schema.StateSection | None) -> None:
    """The state file is not a directory."""
    if section is not None and section.path != IN_MEMORY and os.path.isdir(reader.folder / section.path):
        reader.problem(("state", "path"), f"{section.path} is a directory; name a file in it")


def listeners(
    reader: Reader,
    openflow: schema.OpenflowSection | None,
    grpc: schema.GrpcSection | None,
    metrics: schema.MetricsSection | None,
) -> list[OwnAddress]:
    """Our addresses, after noting those that can't be listened on together."""
    own: list[tuple[Path, OwnAddress]] = []
    if openflow is not None:
        for index, listener in enumerate(openflow.listen):
            path: Path = ("openflow", "listen", index)
            own.append((path, OwnAddress(listener.address, listener.port, f"openflow.listen[{index}]")))
    for name, section in (("grpc", grpc), ("metrics", metrics)):
        if section is not None and section.listen is not None:
            own.append(((name, "listen"), OwnAddress(*section.listen, f"{name}.listen")))
    for position, (path, one) in enumerate(own):
        taken = next((other for _, other in own[:position] if clash(one, other)), None)
        if taken is not None:
            reader.problem(path, f"{one.host} port {one.port} is taken by {taken.key} already")
    return [one for _, one in own]


def default_controller(reader: Reader, section: schema.DefaultControllerSection | None) -> None:
    """The mode and the URL belong together."""
    if section is None:
        return
    if section.mode == "url" and section.url is None:
        reader.problem(("default_controller", "url"), "is required with mode url")
    elif section.mode != "url" and section.url is not None:
        reader.problem(("default_controller", "url"), f"needs mode url, not {section.mode}")


# -- slices ------------------------------------------------------------------------------------------------------------


def controller(
    openflow: schema.OpenflowSection | None, own: list[OwnAddress]
) -> Callable[[Reader, Path, Endpoint], None]:
    """A check for one controller's address: not ourselves, and verifiable when it is ``ssl:``."""

    def check(reader: Reader, path: Path, endpoint: Endpoint) -> None:
        ours = next((one for one in own if is_own(one, endpoint.host, endpoint.port)), None)
        if ours is not None:
            reader.problem(path, f"{endpoint} is VMOC itself ({ours.key}); name the slice's own controller")
        if endpoint.scheme == "ssl" and openflow is not None and openflow.tls is None:
            reader.problem(path, "ssl: needs openflow.tls with the ca that verifies the controller")

    return check


def segments(reader: Reader, slices: Iterable[SliceRead], check: Callable[[Reader, Path, Endpoint], None]) -> None:
    """Inside each segment: controllers, attachments, ports and queues."""
    for one in slices:
        for position, segment in one.segments.items():
            path: Path = ("slices", one.index, "segments", position)
            count = len(segment.controllers)
            if count > MAX_CONTROLLERS:
                text = f"lists {count} controllers; at most {MAX_CONTROLLERS} are allowed"
                reader.problem((*path, "controllers"), text)
            seen: set[Endpoint] = set()
            for index, endpoint in enumerate(segment.controllers):
                if endpoint in seen:
                    reader.problem((*path, "controllers", index), f"lists {endpoint} twice")
                seen.add(endpoint)
                check(reader, (*path, "controllers", index), endpoint)
            _attachments(reader, (*path, "attachments"), segment.attachments or ())


def reserved(reader: Reader, section: schema.VlansSection | None, slices: Iterable[SliceRead]) -> None:
    """No slice has a VLAN that is kept from everybody."""
    kept = frozenset().union(*section.reserved) if section is not None else frozenset()
    for one in slices:
        for position, segment in one.segments.items():
            if segment.vlan in kept:
                path = ("slices", one.index, "segments", position, "vlan")
                reader.problem(path, f"VLAN {segment.vlan} is reserved by vlans.reserved; use another one")


def _attachments(reader: Reader, path: Path, attachments: Iterable[schema.AttachmentSection]) -> None:
    switches: set[int] = set()
    for index, attachment in enumerate(attachments):
        here = (*path, index)
        if attachment.dpid in switches:
            text = f"lists {format_dpid(attachment.dpid)} twice; put all its ports into one attachment"
            reader.problem((*here, "dpid"), text)
        switches.add(attachment.dpid)
        if attachment.ports is None:
            continue
        ports: set[int] = set()
        for position, port in enumerate(attachment.ports):
            if port in ports:
                reader.problem((*here, "ports", position), f"lists port {_port(port)} twice")
            ports.add(port)
        for port in attachment.queues.keys() - ports:
            name = _port(port)
            keys = reader.get((*here, "queues"))
            key = next((key for key in keys if key.upper() == name), name) if isinstance(keys, dict) else name
            reader.problem((*here, "queues", key), f"port {name} is not in ports", at_key=True)


def _port(port: int) -> str:
    return "LOCAL" if port == LOCAL_PORT else str(port)


def ownership(reader: Reader, slices: Iterable[SliceRead], *, sharing: bool) -> None:
    """Ids are unique, a slice has a VLAN once, a VLAN on a switch has one owner, a controller sees a DPID once."""
    ids: dict[str, SliceRead] = {}
    candidates: list[Slice] = []
    for one in slices:
        if one.section is None:
            continue
        name = one.section.id
        if name in ids:
            line = reader.line(("slices", ids[name].index, "id"))
            reader.problem(("slices", one.index, "id"), f"{name!r} is the id of the slice at line {line} already")
            continue
        ids[name] = one
        vlans: dict[int, int] = {}
        for position, segment in one.segments.items():
            path: Path = ("slices", one.index, "segments", position, "vlan")
            if segment.vlan in vlans:
                line = reader.line((*path[:3], vlans[segment.vlan], "vlan"))
                text = f"the slice has VLAN {segment.vlan} at line {line} already; put all attachments into one segment"
                reader.problem(path, text)
            vlans.setdefault(segment.vlan, position)
        candidates.append(to_slice(one, one.section, Limits()))
    conflicts = Registry().plan(candidates, origin=Origin.FILE, sharing=sharing).conflicts
    # A segment may clash with the same other one on many switches: one sentence for all.
    grouped: dict[tuple[object, ...], list[Conflict]] = {}
    for conflict in conflicts:
        pair = (conflict.kind, conflict.slice, conflict.vlan, conflict.other_slice, conflict.other_vlan)
        grouped.setdefault(pair, []).append(conflict)
    for group in grouped.values():
        _clash(reader, ids, group)


def _clash(reader: Reader, ids: dict[str, SliceRead], group: list[Conflict]) -> None:
    first = group[0]
    path = _segment_path(ids[first.slice], first.vlan)
    other = _segment_path(ids[first.other_slice], first.other_vlan)
    line = reader.line((*other, "vlan"))
    if first.dpid is None:
        where = "on every switch"
    else:
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        where = f"on switch {format_dpid(first.dpid)}{more}"
    owner = f"slice {first.other_slice!r} (line {line})"
    if first.kind is ConflictKind.VLAN:
        reader.problem((*path, "vlan"), f"VLAN {first.vlan} {where} belongs to {owner} already")
    else:
        text = f"a controller would see the same DPID {where} from VLAN {first.other_vlan} of {owner} too; "
        given = reader.get((*path, "dpid")) is not None
        reader.problem((*path, "dpid") if given else path, text + "use 'dpid: vlan' or another controller")


def _segment_path(one: SliceRead, vlan: int | None) -> Path:
    position = next(position for position, segment in one.segments.items() if segment.vlan == vlan)
    return ("slices", one.index, "segments", position)
