"""What the property tests draw from: matches, actions, instructions and whole messages, well formed."""

from __future__ import annotations

from hypothesis import strategies as st

from vmoc.openflow import v13
from vmoc.openflow.v10 import actions as a10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import oxm


def unsigned(bits: int) -> st.SearchStrategy[int]:
    """A whole number of that many bits."""
    return st.integers(0, (1 << bits) - 1)


u8, u16, u32, u64 = unsigned(8), unsigned(16), unsigned(32), unsigned(64)
macs = st.binary(min_size=6, max_size=6)

actions10 = st.lists(
    st.one_of(
        st.tuples(st.just(a10.OUTPUT), u16, u16),
        st.tuples(st.sampled_from((a10.SET_VLAN_VID, a10.SET_TP_SRC, a10.SET_TP_DST)), u16),
        st.tuples(st.sampled_from((a10.SET_VLAN_PCP, a10.SET_NW_TOS)), u8),
        st.tuples(st.just(a10.STRIP_VLAN)),
        st.tuples(st.sampled_from((a10.SET_DL_SRC, a10.SET_DL_DST)), macs),
        st.tuples(st.sampled_from((a10.SET_NW_SRC, a10.SET_NW_DST)), u32),
        st.tuples(st.just(a10.ENQUEUE), u16, u32),
    ),
    max_size=8,
)


@st.composite
def set_fields(draw: st.DrawFn) -> a13.Action:
    """A SET_FIELD of any field, also with a value the policy would refuse."""
    number = draw(st.sampled_from(sorted(oxm.FIELDS)))
    return a13.SET_FIELD, number, draw(unsigned(8 * oxm.FIELDS[number].size))


_BARE = (a13.COPY_TTL_OUT, a13.COPY_TTL_IN, a13.DEC_MPLS_TTL, a13.POP_VLAN, a13.DEC_NW_TTL, a13.POP_PBB)
_ETHERTYPE = (a13.PUSH_VLAN, a13.PUSH_MPLS, a13.POP_MPLS, a13.PUSH_PBB)
actions13 = st.lists(
    st.one_of(
        st.tuples(st.just(a13.OUTPUT), u32, u16),
        st.tuples(st.sampled_from(_BARE)),
        st.tuples(st.sampled_from((a13.SET_MPLS_TTL, a13.SET_NW_TTL)), u8),
        st.tuples(st.sampled_from(_ETHERTYPE), u16),
        st.tuples(st.sampled_from((a13.SET_QUEUE, a13.GROUP)), u32),
        set_fields(),
    ),
    max_size=8,
)
instructions = st.lists(
    st.one_of(
        st.tuples(st.just(v13.GOTO_TABLE), u8),
        st.tuples(st.just(v13.WRITE_METADATA), u64, u64),
        st.tuples(st.sampled_from((v13.WRITE_ACTIONS, v13.APPLY_ACTIONS)), actions13),
        st.tuples(st.just(v13.CLEAR_ACTIONS)),
        st.tuples(st.just(v13.METER), u32),
    ),
    unique_by=lambda instruction: instruction[0],
    max_size=6,
)


@st.composite
def oxms(draw: st.DrawFn, number: int) -> oxm.Oxm:
    """One field in canonical form, or with an empty mask."""
    field = oxm.FIELDS[number]
    value = draw(unsigned(field.bits))
    if not field.maskable or draw(st.booleans()):
        return number, value, None
    mask = draw(st.integers(0, field.full - 1))
    return number, value & mask, mask


@st.composite
def matches(draw: st.DrawFn) -> oxm.Match:
    """A canonical match of any fields (prerequisites are another matter)."""
    numbers = draw(st.sets(st.sampled_from(sorted(oxm.FIELDS)), max_size=8))
    return tuple(draw(oxms(number)) for number in sorted(numbers))
