"""Match translation: from what the controller means to what the switch may hold.

Every physical match carries the exact VID of the slice, whatever form the
controller chose: absent, exact, masked. (On a native switch it carries none:
at most it says "untagged", if the controller did.) The VLAN is judged on
value and mask together, because a set wildcard bit or an empty mask makes a
specific-looking value mean "any". Masks of all ones and of none are written
the one way a switch reports them, so that one entry has one identity.
"""

from __future__ import annotations

from typing import Final

from vmoc import errors
from vmoc.errors import Refused
from vmoc.openflow import v13
from vmoc.openflow.v10 import match as m10
from vmoc.openflow.v13 import oxm
from vmoc.policy.grant import SLOT_BITS, SLOT_SHIFT, Grant

_WILDCARDS_AT: Final = 8 * (m10.LENGTH - 4)
_VLAN_AT: Final = 8 * (m10.LENGTH - 20)
_ALL_METADATA: Final = (1 << 64) - 1


def narrow10(grant: Grant, match: int) -> int:
    """The physical, canonical 1.0 match; ``FOREIGN_VLAN`` or ``FOREIGN_IN_PORT``."""
    wild = m10.wildcards_of(match)
    vlan = None if wild & m10.W_DL_VLAN else m10.vlan_of(match)
    if vlan is not None and vlan != (m10.VLAN_NONE if grant.hides_tag else grant.vlan):
        raise Refused(errors.FOREIGN_VLAN, f"match names dl_vlan {vlan:#06x}, the slice has {_own(grant)}")
    if not wild & m10.W_IN_PORT and not grant.may_enter(m10.in_port_of(match)):
        raise Refused(errors.FOREIGN_IN_PORT, f"match names in_port {m10.in_port_of(match)}")
    if grant.hides_tag:
        # Controllers copy pcp 0 from untagged frames; kept, it would miss every frame of another priority.
        wild |= m10.W_DL_VLAN_PCP
    if not grant.native:
        wild &= ~m10.W_DL_VLAN
        match = match & ~m10.F_DL_VLAN | grant.vlan << _VLAN_AT
    return m10.canonical(match & ~m10.F_WILDCARDS | wild << _WILDCARDS_AT)


def is_exact10(match: int) -> bool:
    """Whether no field is wildcarded: such an entry has priority 65535 on the switch."""
    return m10.wildcards_of(match) & m10.W_ALL == 0


def narrow13(grant: Grant, match: oxm.Match) -> oxm.Match:
    """The physical 1.3 match; ``MATCH_PREREQ``, ``FOREIGN_VLAN``, ``FOREIGN_IN_PORT`` or ``METADATA_MATCH``."""
    check_prerequisites13(grant, match)
    physical: list[oxm.Oxm] = []
    if grant.slot:
        match = _in_slot(grant, match)
    for number, value, mask in match:
        if number == oxm.VLAN_VID:
            if not _names_own_vlan(grant, value, mask):
                raise Refused(errors.FOREIGN_VLAN, f"match names vlan_vid {_text(value, mask)}, not {_own(grant)}")
            if not grant.native:
                continue
        elif number == oxm.IN_PORT:
            if not grant.may_enter(value) and value != v13.CONTROLLER:
                raise Refused(errors.FOREIGN_IN_PORT, f"match names in_port {value}")
        elif number == oxm.IN_PHY_PORT and value not in grant.ports:
            raise Refused(errors.FOREIGN_IN_PORT, f"match names in_phy_port {value}")
        if mask is not None:
            full = (1 << oxm.FIELDS[number].bits) - 1
            mask &= full
            if number == oxm.VLAN_VID and mask & oxm.VID_PRESENT:
                mask = full  # "no tag" already: the other bits say nothing
            if not mask:
                continue
            mask = None if mask == full else mask
        physical.append((number, value, mask))
    if not grant.native:
        physical.append((oxm.VLAN_VID, oxm.VID_PRESENT | grant.vlan, None))
    return tuple(sorted(physical, key=lambda field: field[0]))


def everything13(grant: Grant) -> bytes:
    """The physical 1.3 match, packed, of all that is the slice's."""
    return oxm.pack(narrow13(grant, ()))


def _in_slot(grant: Grant, match: oxm.Match) -> oxm.Match:
    """The match with the slot in the upper metadata bits, which a slice may neither ask for nor leave open."""
    value, mask = next(((value, mask) for number, value, mask in match if number == oxm.METADATA), (0, 0))
    if mask is None:
        mask = _ALL_METADATA  # of a metadata that is narrower here: its upper bits are always 0
    if value & SLOT_BITS or (mask & SLOT_BITS and mask != _ALL_METADATA):
        raise Refused(errors.METADATA_MATCH, f"match names metadata {_text(value, mask)}")
    others = tuple(field for field in match if field[0] != oxm.METADATA)
    return (*others, (oxm.METADATA, grant.slot << SLOT_SHIFT | value, mask | SLOT_BITS))


def check_prerequisites13(grant: Grant, match: oxm.Match) -> None:
    """Raise ``MATCH_PREREQ`` for a field without the one it needs; where no tag is seen, none has a priority."""
    if grant.hides_tag and any(number == oxm.VLAN_PCP for number, _, _ in match):
        raise Refused(errors.MATCH_PREREQ, "vlan_pcp in an untagged network")
    oxm.check_prerequisites(match)


def _names_own_vlan(grant: Grant, value: int, mask: int | None) -> bool:
    if grant.hides_tag:
        return value == 0
    own = oxm.VID_PRESENT | grant.vlan
    return (own if mask is None else own & mask) == value


def _own(grant: Grant) -> str:
    return "untagged frames" if grant.hides_tag else f"VLAN {grant.vlan}"


def _text(value: int, mask: int | None) -> str:
    return f"{value:#06x}" if mask is None else f"{value:#06x}/{mask:#06x}"
