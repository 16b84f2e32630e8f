"""The shape of the configuration file: its sections, their keys, what each key takes and its default.

Defaults that belong to the model are taken from ``vmoc.model``, so that they
are written once. ``json_schema`` is what editors and ``vmoc config schema`` get.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vmoc.config import values as v
from vmoc.model import VLAN_MAX, VLAN_MIN, DpidScheme, Endpoint, FailMode, Limits, Policy, Presentation, Timers

_LIMITS: Final = asdict(Limits())
_POLICY: Final = asdict(Policy())
_TIMERS: Final = asdict(Timers())
_MOST: Final = 1_000_000_000
_AMOUNT: Final = v.whole(0, _MOST)
_VLAN: Final = v.whole(VLAN_MIN, VLAN_MAX)


def _not_empty(value: Any) -> Any:
    if value is None:
        raise v.OutOfShapeError("must be a list, not empty; leave the key out for all of them, or write [] for none")
    return value


_NOT_EMPTY: Final = BeforeValidator(_not_empty)


class Section(BaseModel):
    """A mapping with known keys. A key without a value counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, data: Any) -> Any:
        if isinstance(data, dict) and None in data.values():
            return {key: one for key, one in data.items() if one is not None or not cls._may_be_empty(key)}
        return data

    @classmethod
    def _may_be_empty(cls, key: str) -> bool:
        return key in cls.model_fields


class ListenerSection(Section):
    """An address where switches connect."""

    address: Annotated[str, v.HOST] = Field(default="0.0.0.0", description="IP address or name of this machine")
    port: Annotated[int, v.whole(0, 65535)] = Field(default=6653, description="TCP port; 0 takes a free one")
    vlan: Annotated[int, _VLAN] | None = Field(
        default=None, description="all traffic is untagged and belongs to this VLAN"
    )
    tls: Annotated[bool, v.on_off()] = Field(
        default=False, description="switches must use TLS, with a certificate of tls.ca"
    )


class OpenflowTlsSection(Section):
    """PEM files for both OpenFlow legs; names are relative to the configuration file."""

    cert: Annotated[str, v.FILE_NAME] | None = Field(default=None, description="our certificate chain")
    key: Annotated[str, v.FILE_NAME] | None = Field(default=None, description="the key of cert, not encrypted")
    ca: Annotated[str, v.FILE_NAME] = Field(description="CA certificates that verify switches and controllers")


class OpenflowSection(Section):
    """The switches' side."""

    listen: list[ListenerSection] = Field(default=[ListenerSection()], min_length=1)
    tls: OpenflowTlsSection | None = None
    versions: list[Annotated[int, v.VERSION]] = Field(
        default=[1, 4], min_length=1, json_schema_extra={"default": [1.0, 1.3]}
    )


class GrpcTlsSection(Section):
    """PEM files of the management interface."""

    cert: Annotated[str, v.FILE_NAME]
    key: Annotated[str, v.FILE_NAME]
    client_ca: Annotated[str, v.FILE_NAME] | None = Field(
        default=None, description="given: clients need its certificate"
    )


class GrpcRoleSection(Section):
    """What callers with certain certificates may do."""

    name: Annotated[str, v.CERTIFICATE_NAME] = Field(
        description="a certificate's common name or one of its alternative names; * and ? stand for any characters"
    )
    role: Annotated[str, v.choice("admin", "am", "viewer")]
    manager: Annotated[str, v.SLICE_NAME] | None = Field(
        default=None, description="role am: the manager whose slices it may change"
    )


class GrpcSection(Section):
    """The management interface."""

    listen: Annotated[tuple[str, int] | None, v.HOST_PORT] = Field(
        default=("127.0.0.1", 50051), json_schema_extra={"default": "127.0.0.1:50051"}
    )
    tls: GrpcTlsSection | None = None
    roles: list[GrpcRoleSection] = Field(default=[], description="the first that fits a certificate counts")
    insecure: Annotated[bool, v.on_off()] = Field(
        default=False, description="listen elsewhere than on loopback although callers need no certificate"
    )


class MetricsSection(Section):
    """Prometheus metrics."""

    listen: Annotated[tuple[str, int] | None, v.HOST_PORT] = Field(
        default=("127.0.0.1", 9310), json_schema_extra={"default": "127.0.0.1:9310"}
    )


class StateSection(Section):
    """Durable state."""

    path: Annotated[str, v.FILE_NAME] = Field(default="/var/lib/vmoc/vmoc.db", description="a file, or :memory:")


class DefaultControllerSection(Section):
    """Who controls segments that name no controller; the mode alone may stand for the mapping."""

    mode: Annotated[str, v.choice("builtin", "none", "url")] = "builtin"
    url: Annotated[Endpoint, v.CONTROLLER] | None = Field(
        default=None, description="tcp:HOST:PORT or ssl:HOST:PORT, mode url"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, data: Any) -> Any:
        return {"mode": data} if isinstance(data, str) else data


class PolicySection(Section):
    """Options of the isolation policy."""

    qinq: Annotated[bool, v.on_off()] = _POLICY["qinq"]
    mpls: Annotated[bool, v.on_off()] = _POLICY["mpls"]
    pcp: Annotated[str, v.choice("pass", "reject")] = _POLICY["pcp"]
    buffers: Annotated[str, v.buffers()] = _POLICY["buffers"]
    port_counters: Annotated[str, v.choice("auto", "real", "hidden")] = _POLICY["port_counters"]
    pipeline: Annotated[str, v.choice("direct", "admission")] = _POLICY["pipeline"]
    flush_on_connect: Annotated[bool, v.on_off()] = _POLICY["flush_on_connect"]
    vlan_port_sharing: Annotated[bool, v.on_off()] = _POLICY["vlan_port_sharing"]
    foreign_flows: Annotated[str, v.choice("delete", "keep")] = _POLICY["foreign_flows"]
    on_restart: Annotated[str, v.choice("journal", "flush")] = _POLICY["on_restart"]
    max_tables: Annotated[int, v.whole(1, 254)] = _POLICY["max_tables"]
    max_buckets: Annotated[int, v.whole(1, 1000)] = _POLICY["max_buckets"]
    chain_depth: Annotated[int, v.whole(1, 32)] = _POLICY["chain_depth"]
    max_dup_outputs: Annotated[int, v.whole(1, 1000)] = _POLICY["max_dup_outputs"]
    error_rate: Annotated[int, _AMOUNT] = _POLICY["error_rate"]


class LimitsSection(Section):
    """What one virtual datapath may use; rates per second, 0 is unlimited."""

    max_flows: Annotated[int, _AMOUNT] = _LIMITS["max_flows"]
    max_groups: Annotated[int, _AMOUNT] = _LIMITS["max_groups"]
    max_meters: Annotated[int, _AMOUNT] = _LIMITS["max_meters"]
    flow_mod_rate: Annotated[int, _AMOUNT] = _LIMITS["flow_mod_rate"]
    packet_out_rate: Annotated[int, _AMOUNT] = _LIMITS["packet_out_rate"]
    packet_in_rate: Annotated[int, _AMOUNT] = _LIMITS["packet_in_rate"]
    stats_rate: Annotated[int, _AMOUNT] = _LIMITS["stats_rate"]
    barrier_rate: Annotated[int, _AMOUNT] = _LIMITS["barrier_rate"]


class TimersSection(Section):
    """Timers of the OpenFlow connections, in seconds (``echo_misses`` is a number of echoes)."""

    echo_interval: Annotated[float, v.seconds(0.1, 3600)] = _TIMERS["echo_interval"]
    echo_misses: Annotated[int, v.whole(1, 100)] = _TIMERS["echo_misses"]
    handshake: Annotated[float, v.seconds(0.1, 3600)] = _TIMERS["handshake"]
    reconnect_first: Annotated[float, v.seconds(0.01, 3600)] = _TIMERS["reconnect_first"]
    reconnect_max: Annotated[float, v.seconds(0.01, 3600)] = _TIMERS["reconnect_max"]
    request: Annotated[float, v.seconds(0.1, 3600)] = _TIMERS["request"]
    duplicate_probe: Annotated[float, v.seconds(0.01, 3600)] = _TIMERS["duplicate_probe"]
    standalone_after: Annotated[float, v.seconds(0, 3600)] = _TIMERS["standalone_after"]
    audit: Annotated[float, v.seconds(0, 86400)] = _TIMERS["audit"]


class VlansSection(Section):
    """Which VLANs may be given away; each item is a VLAN or a range like 100-199."""

    reserved: list[Annotated[frozenset[int], v.VLANS]] = Field(
        default=[], description="VLANs that no slice may have", json_schema_extra={"default": []}
    )
    pool: list[Annotated[frozenset[int], v.VLANS]] = Field(
        default=[frozenset(range(2, VLAN_MAX + 1))],
        description="what VMOC chooses from when a request names no VLAN; reserved ones are left out",
        json_schema_extra={"default": [f"2-{VLAN_MAX}"]},
    )


class HandlersSection(Section):
    """Compute and network handlers."""

    config: Annotated[str, v.FILE_NAME] | None = None


class AttachmentSection(Section):
    """A segment's ports on one switch."""

    dpid: Annotated[int, v.DPID] = Field(description="0x and up to 16 hex digits")
    ports: Annotated[list[Annotated[int, v.PORT]] | None, _NOT_EMPTY] = Field(
        default=None, description="left out: all of them, now and later"
    )
    queues: dict[Annotated[int, v.QUEUE_PORT], list[Annotated[int, v.QUEUE]]] = Field(
        default={}, description="queue ids granted, per port"
    )

    @classmethod
    def _may_be_empty(cls, key: str) -> bool:
        # Nothing under "ports:" must not silently grant all of them.
        return key in cls.model_fields and key != "ports"


class SegmentSection(Section):
    """One VLAN of a slice."""

    vlan: Annotated[int, _VLAN]
    controllers: list[Annotated[Endpoint, v.CONTROLLER]] = Field(
        default=[], description="empty: the default controller"
    )
    presentation: Annotated[str, v.choice(*Presentation)] = Presentation.TAGGED.value
    dpid: Annotated[str, v.choice(*DpidScheme)] = DpidScheme.VLAN.value
    attachments: Annotated[list[AttachmentSection] | None, _NOT_EMPTY] = Field(
        default=None, description="left out: every switch, every port"
    )
    fail_mode: Annotated[str, v.choice(*FailMode)] = FailMode.SECURE.value

    @classmethod
    def _may_be_empty(cls, key: str) -> bool:
        return key in cls.model_fields and key != "attachments"


class SliceLimitsSection(Section):
    """What differs for a slice from the limits section."""

    max_flows: Annotated[int, _AMOUNT] | None = None
    max_groups: Annotated[int, _AMOUNT] | None = None
    max_meters: Annotated[int, _AMOUNT] | None = None
    flow_mod_rate: Annotated[int, _AMOUNT] | None = None
    packet_out_rate: Annotated[int, _AMOUNT] | None = None
    packet_in_rate: Annotated[int, _AMOUNT] | None = None
    stats_rate: Annotated[int, _AMOUNT] | None = None
    barrier_rate: Annotated[int, _AMOUNT] | None = None


class SliceSection(Section):
    """One experimenter's share."""

    id: Annotated[str, v.SLICE_NAME]
    labels: dict[str, Annotated[str, v.TEXT]] = {}
    limits: SliceLimitsSection = SliceLimitsSection()
    segments: list[SegmentSection] = []


class Document(Section):
    """Configuration of VMOC."""

    openflow: OpenflowSection = OpenflowSection()
    grpc: GrpcSection = GrpcSection()
    metrics: MetricsSection = MetricsSection()
    state: StateSection = StateSection()
    default_controller: DefaultControllerSection = DefaultControllerSection()
    policy: PolicySection = PolicySection()
    limits: LimitsSection = LimitsSection()
    timers: TimersSection = TimersSection()
    vlans: VlansSection = VlansSection()
    handlers: HandlersSection = HandlersSection()
    slices: list[SliceSection] = []


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file."""
    schema = Document.model_json_schema()
    words = schema["$defs"]["DefaultControllerSection"]["properties"]["mode"]["enum"]
    schema["properties"]["default_controller"] = {
        "anyOf": [{"$ref": "#/$defs/DefaultControllerSection"}, {"enum": [word for word in words if word != "url"]}],
        "default": {"mode": "builtin"},
    }
    for name in ("openflow", "grpc", "metrics", "state", "policy", "limits", "timers", "vlans", "handlers"):
        schema["properties"][name].pop("default", None)  # the keys inside carry theirs
    for section, name in (("AttachmentSection", "ports"), ("SegmentSection", "attachments")):
        known = schema["$defs"][section]["properties"]
        known[name] = known[name]["anyOf"][0] | {"description": known[name]["description"]}  # null is refused
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "VMOC configuration"
    return schema
