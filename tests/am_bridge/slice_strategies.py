"""Slices for property tests: of the model, and messages near the edge of what is allowed and beyond."""

from __future__ import annotations

from hypothesis import strategies as st

from vmoc.model import (
    Attachment,
    DpidScheme,
    Endpoint,
    FailMode,
    Limits,
    Origin,
    Presentation,
    Segment,
    Slice,
)
from vmoc.registry import LOCAL_PORT
from vmoc.v1 import resources_pb2 as pb

NAMES = st.text("aZ09._:+-", min_size=1, max_size=128)
TEXTS = st.text(st.characters(categories=["L", "N", "P"]), max_size=20)
PORTS = st.integers(1, 0xFFFFFEFF) | st.just(LOCAL_PORT)
RATES = st.integers(0, 2**31 - 1)
ENDPOINTS = st.builds(
    Endpoint, st.sampled_from(["tcp", "ssl"]), st.sampled_from(["10.0.0.1", "::1", "c.example"]), st.integers(1, 65535)
)


@st.composite
def attachments(draw: st.DrawFn) -> Attachment:
    dpid = draw(st.integers(0, 2**64 - 1))
    ports = draw(st.none() | st.frozensets(PORTS, max_size=4))
    ids = st.frozensets(st.integers(0, 0xFFFFFFFE), max_size=3)
    if ports == frozenset():
        return Attachment(dpid, ports)
    queue_ports = PORTS if ports is None else st.sampled_from(sorted(ports))
    return Attachment(dpid, ports, draw(st.dictionaries(queue_ports, ids, max_size=3)))


SEGMENTS = st.builds(
    Segment,
    vlan=st.integers(1, 4094),
    controllers=st.lists(ENDPOINTS, unique=True, max_size=3).map(tuple),
    presentation=st.sampled_from(Presentation),
    dpid=st.sampled_from(DpidScheme),
    attachments=st.none() | st.lists(attachments(), unique_by=lambda one: one.dpid, max_size=3).map(tuple),
    fail_mode=st.sampled_from(FailMode),
)
SLICES = st.builds(
    Slice,
    id=NAMES,
    segments=st.lists(SEGMENTS, unique_by=lambda one: one.vlan, max_size=4).map(tuple),
    limits=st.builds(Limits, RATES, RATES, RATES, RATES, RATES, RATES, RATES, RATES),
    labels=st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=4),
    manager=st.just("") | NAMES,
    origin=st.just(Origin.API),
    enabled=st.booleans(),
    owner=TEXTS,
    # A float of this size tells 2**-22 seconds apart, which nanoseconds do as well.
    expire_time=st.none() | st.floats(1e9, 253_402_300_799.0),
)

# -- anything the wire can carry ---------------------------------------------------------------------------------------

_WORDS = st.integers(0, 5000) | st.integers(0, 2**32 - 1)
_ENUMS = st.integers(-1, 5)
_ANY_TEXT = st.text(max_size=8) | NAMES | st.sampled_from(["tcp:h:1", "ssl:[::1]:6653", "tcp:h:0", "0x1", "00:01", ""])
_RANGES = st.builds(pb.VlanRange, first=_WORDS, last=_WORDS)
_QUEUES = st.builds(pb.PortQueues, port=_WORDS, queue_ids=st.lists(_WORDS, max_size=3))
_ATTACHMENTS = st.builds(
    pb.Attachment,
    dpid=_ANY_TEXT,
    ports=st.lists(_WORDS, max_size=3),
    queues=st.lists(_QUEUES, max_size=2),
    no_ports=st.booleans(),
)
_SEGMENTS = st.builds(
    pb.Segment,
    vlan_id=_WORDS,
    controllers=st.lists(_ANY_TEXT, max_size=3),
    presentation=_ENUMS,  # type: ignore[arg-type]  # enums are open
    dpid_scheme=_ENUMS,  # type: ignore[arg-type]
    attachments=st.lists(_ATTACHMENTS, max_size=3),
    fail_mode=_ENUMS,  # type: ignore[arg-type]
    vlan_choice=st.none() | st.builds(pb.VlanChoice, ranges=st.lists(_RANGES, max_size=3), pool=_ANY_TEXT),
    unattached=st.booleans(),
)
MESSAGES = st.builds(
    pb.Slice,
    slice_id=_ANY_TEXT,
    manager=_ANY_TEXT,
    owner=st.text(max_size=300),
    labels=st.dictionaries(st.text(max_size=70), st.text(max_size=300), max_size=3),
    segments=st.lists(_SEGMENTS, max_size=3),
    limits=st.none() | st.builds(pb.Limits, max_flows=st.none() | st.integers(-(2**31), 2**31 - 1)),
    admin_state=_ENUMS,  # type: ignore[arg-type]
)
