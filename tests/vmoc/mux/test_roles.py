from __future__ import annotations

import struct

import pytest

from vmoc.mux.roles import AsyncMasks, Role, is_stale


def test_default_masks_are_open_vswitchs():
    assert AsyncMasks().pack() == struct.pack("!6I", 3, 0, 7, 7, 15, 0)


def test_load_is_the_inverse_of_pack():
    masks = AsyncMasks()
    body = struct.pack("!6I", 1, 2, 3, 4, 5, 6)
    masks.load(body)
    assert masks.pack() == body


@pytest.mark.parametrize("role", [Role.EQUAL, Role.MASTER])
def test_equal_and_master_use_the_first_mask(role: Role):
    masks = AsyncMasks()
    assert masks.wants(masks.packet_in, role, 1)
    assert not masks.wants(masks.packet_in, role, 2)
    assert masks.all_packet_ins(role)


def test_a_slave_uses_the_second():
    masks = AsyncMasks()
    assert not masks.wants(masks.packet_in, Role.SLAVE, 0)
    assert masks.wants(masks.port_status, Role.SLAVE, 2)
    assert not masks.wants(masks.flow_removed, Role.SLAVE, 0)
    assert not masks.all_packet_ins(Role.SLAVE)


@pytest.mark.parametrize("mask", [0, 1, 2])
def test_one_reason_missing_is_not_all(mask: int):
    masks = AsyncMasks()
    masks.load(struct.pack("!6I", mask, 3, 0, 0, 0, 0))
    assert not masks.all_packet_ins(Role.EQUAL)
    assert masks.all_packet_ins(Role.SLAVE)


@pytest.mark.parametrize(
    ("generation", "cached", "stale"),
    [
        (0, None, False),
        (5, 5, False),
        (6, 5, False),
        (4, 5, True),
        (0, (1 << 64) - 1, False),
        ((1 << 64) - 1, 0, True),
        (1 << 63, 0, True),
        ((1 << 63) - 1, 0, False),
    ],
)
def test_generations_wrap(generation: int, cached: int | None, stale: bool):
    assert is_stale(generation, cached) is stale
