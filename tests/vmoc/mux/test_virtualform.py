"""What a controller meant, read from its own flow-mod."""

from __future__ import annotations

import pytest

from tests.emulation import wire as of
from tests.vmoc.mux.ends import V10, V13
from vmoc.mux import virtualform
from vmoc.openflow.v13 import actions as a13

BOTH = pytest.mark.parametrize("version", [V10, V13])


def made(version: int, actions: bytes = b"", **more: int) -> bytes:
    fields = {name: more.pop(name) for name in ("in_port", "eth_dst") if name in more}
    return of.flow_mod(version, "add", of.match(version, **fields), actions, **more)


@BOTH
def test_the_plain_fields(version: int) -> None:
    data = made(version, in_port=3, cookie=0xC00C1E, priority=77, flags=1)
    assert virtualform.virtual_priority(version, data) == 77
    assert virtualform.virtual_cookie(version, data) == 0xC00C1E
    assert virtualform.virtual_flags(version, data) == 1


@BOTH
def test_the_ports_it_names(version: int) -> None:
    actions = of.output(version, 2) + of.output(version, 5)
    assert virtualform.ports_named(version, made(version, actions, in_port=3)) == {2, 3, 5}
    assert virtualform.ports_named(version, made(version, actions)) == {2, 5}
    assert virtualform.outputs(version, made(version, actions, in_port=3)) == ({2, 5}, set())


@BOTH
def test_whether_it_leads_to_a_port(version: int) -> None:
    data = made(version, of.output(version, 2), in_port=3)
    assert virtualform.outputs_to(version, data, None, None)
    assert virtualform.outputs_to(version, data, 2, None)
    assert not virtualform.outputs_to(version, data, 3, None)


def test_whether_it_leads_to_a_group() -> None:
    data = made(V13, of.output(V13, 2) + a13.pack([(a13.GROUP, 9)]))
    assert virtualform.outputs(V13, data) == ({2}, {9})
    assert virtualform.outputs_to(V13, data, 2, 9)
    assert not virtualform.outputs_to(V13, data, 3, 9)
    assert not virtualform.outputs_to(V13, data, 2, 8)


@BOTH
def test_its_body_without_some_ports(version: int) -> None:
    body, less = (
        virtualform.virtual_body(version, made(version, b"".join(of.output(version, port) for port in ports)))
        for ports in ((2, 5, 7), (5,))
    )
    assert virtualform.without_outputs(version, body, {2, 7}) == less
    assert virtualform.without_outputs(version, body, {9}) == body


def test_a_table_miss_is_of_priority_0_and_matches_everything() -> None:
    assert virtualform.is_table_miss(made(V13, priority=0))
    assert not virtualform.is_table_miss(made(V13, priority=1))
    assert not virtualform.is_table_miss(made(V13, priority=0, in_port=1))
