"""``pipeline: admission``: table 0 of a 1.3 switch lets a virtual datapath's packets in to its tables (vetting M).

There is one entry per virtual datapath and port, and one for packets of
packet-outs: {in_port, VLAN} of priority 100 leads to table 1, the slice's
table 0. What no entry admits is dropped. Where a VLAN may be shared the entry
also writes the datapath's slot into the upper metadata bits, which every flow
of the slice matches, and packet-outs without a port are not admitted.

Rules of this file:
- The cookie is the proxy's tag and, below it, the datapath's own, so that one
  DELETE switches a datapath off and touches no neighbour.
- Ports are granted last and revoked first: ``revoke`` before flows change,
  ``grant`` after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmoc.errors import Refused
from vmoc.model import Policy
from vmoc.mux.flows import PROXY_TAG, SERIAL_BITS, Own, port_of
from vmoc.mux.tablefeatures import TableRecord
from vmoc.openflow import v10, v13
from vmoc.openflow.header import OF10
from vmoc.openflow.v13 import actions as a13
from vmoc.openflow.v13 import flow as f13
from vmoc.openflow.v13 import oxm
from vmoc.policy.grant import SLOT_BITS, SLOT_SHIFT

if TYPE_CHECKING:
    from vmoc.mux.datapath import VirtualDatapath
    from vmoc.mux.switch import Switch

PRIORITY: Final = 100
FIRST_TABLE: Final = 1
OWNER_SHIFT: Final = 16
_EXACT: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How the tables of a switch are used. ``why_not`` says why that is less than the policy asks for."""

    first_table: int = 0
    sharing: bool = False
    why_not: str = ""

    @property
    def name(self) -> str:
        """As in the configuration."""
        return "admission" if self.first_table else "direct"


def decide(policy: Policy, version: int, n_tables: int, records: list[bytes] | None) -> Pipeline:
    """What a switch can do of what the policy asks for; ``records`` are its table features, None if it tells none."""
    if policy.pipeline != "admission":
        return Pipeline()
    if version == OF10:
        return Pipeline(why_not="it speaks OpenFlow 1.0")
    if n_tables <= FIRST_TABLE:
        return Pipeline(why_not="it has one table only")
    if records is None:
        return Pipeline(why_not="it does not tell what its tables can do")
    try:
        tables = {record[2]: TableRecord.parse(record) for record in records}
    except Refused as refused:
        return Pipeline(why_not=f"what it tells of its tables cannot be read: {refused.detail}")
    first = tables.get(0)
    if first is None or FIRST_TABLE not in tables:
        return Pipeline(why_not="it does not tell what tables 0 and 1 can do")
    missing = [
        what
        for what, there in (
            ("match in_port", oxm.IN_PORT in first.matchable),
            ("match vlan_vid", oxm.VLAN_VID in first.matchable),
            ("goto table 1", v13.GOTO_TABLE in first.instructions and FIRST_TABLE in first.next_tables),
        )
        if not there
    ]
    if missing:
        return Pipeline(why_not=f"its table 0 cannot {' or '.join(missing)}")
    if not policy.vlan_port_sharing:
        return Pipeline(FIRST_TABLE)
    if v13.WRITE_METADATA not in first.instructions or SLOT_BITS & ~first.metadata_write:
        return Pipeline(FIRST_TABLE, why_not="its table 0 cannot write metadata bits 63 to 52: no VLAN can be shared")
    second = tables[FIRST_TABLE]
    if oxm.METADATA not in second.matchable or SLOT_BITS & ~second.metadata_match:
        return Pipeline(FIRST_TABLE, why_not="its table 1 cannot match metadata bits 63 to 52: no VLAN can be shared")
    return Pipeline(FIRST_TABLE, sharing=True)


class Slots:
    """The slots of one switch. One is given again only after it was given back, and after all others."""

    MOST: Final = 0xFFF

    __slots__ = ("_last", "taken")

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self._last = 0

    def allocate(self) -> int:
        """A free slot, 1..4095; 0 when there is none."""
        for _ in range(self.MOST):
            self._last = self._last % self.MOST + 1
            if self._last not in self.taken:
                self.taken.add(self._last)
                return self._last
        return 0

    def reserve(self, slots: Iterable[int]) -> None:
        """Keep slots from being given out: what an earlier run of VMOC had, until a dump shows what is left of it."""
        self.taken.update(slots)
        self._last = max(self._last, *self.taken, 0)  # those are the last ones that are to be given again

    @property
    def full(self) -> bool:
        """Whether ``allocate`` would find none."""
        return len(self.taken) >= self.MOST


# -- entries -----------------------------------------------------------------------------------------


def proxy_cookie(datapath: VirtualDatapath, kind: Own) -> int:
    """The cookie of an entry of ours that is for one virtual datapath; in the direct pipeline it does not say which."""
    owner = datapath.tag if datapath.switch.pipeline.first_table else 0
    return PROXY_TAG | owner << OWNER_SHIFT | kind


def cookie_owner(switch: Switch, cookie: int) -> VirtualDatapath | None:
    """The virtual datapath that an entry of the proxy's with that cookie is for."""
    return switch.by_tag.get(cookie >> OWNER_SHIFT & 0xFFFF)


def is_admission(cookie: int) -> bool:
    """Whether the proxy gives that cookie to admission entries."""
    return cookie >> SERIAL_BITS == PROXY_TAG >> SERIAL_BITS and cookie & 0xFFFF == Own.ADMISSION


def identity(datapath: VirtualDatapath, port: int) -> bytes:
    """Table, priority and match of the entry for ``port``."""
    vlan = () if datapath.switch.native else ((oxm.VLAN_VID, oxm.VID_PRESENT | datapath.vlan, None),)
    return b"\x00" + PRIORITY.to_bytes(2, "big") + oxm.pack(((oxm.IN_PORT, port, None), *vlan))


def instructions(datapath: VirtualDatapath) -> bytes:
    """What the entries do."""
    wanted: list[a13.Instruction] = [(v13.GOTO_TABLE, FIRST_TABLE)]
    if datapath.slot:
        wanted.insert(0, (v13.WRITE_METADATA, datapath.slot << SLOT_SHIFT, SLOT_BITS))
    return a13.pack_instructions(wanted)


def entry(datapath: VirtualDatapath, port: int) -> bytes:
    """ADD the entry for ``port``."""
    return f13.flow_mod(
        0,
        identity(datapath, port)[3:],
        v10.ADD,
        cookie=proxy_cookie(datapath, Own.ADMISSION),
        priority=PRIORITY,
        flags=v13.SEND_FLOW_REM,
        instructions=instructions(datapath),
    )


def is_as_wanted(datapath: VirtualDatapath, found: f13.Entry) -> bool:
    """Whether an entry, known to be one of the datapath's ports' by its identity, is the datapath's and does it."""
    if found.cookie != proxy_cookie(datapath, Own.ADMISSION):
        return False
    at = f13.ENTRY_MATCH + len(found.match)
    try:
        does = a13.parse_instructions(found.raw, at, len(found.raw))
    except Refused:
        return False
    return a13.pack_instructions(sorted(does, reverse=True)) == instructions(datapath)


def is_known(switch: Switch, found: f13.Entry, identity_found: bytes) -> bool:
    """Whether an entry a switch reported is one that we want there."""
    datapath = cookie_owner(switch, found.cookie)
    return (
        datapath is not None
        and (port := port_of(4, identity_found[3:])) in datapath.admitted
        and identity(datapath, port) == identity_found
        and is_as_wanted(datapath, found)
    )


# -- letting in --------------------------------------------------------------------------------------


def open_up(datapath: VirtualDatapath, now: float) -> None:
    """The datapath's flows are as they shall be: let its packets in."""
    datapath.admits = True
    grant(datapath, now)


def grant(datapath: VirtualDatapath, now: float) -> None:
    """Let in what comes from ports that are the slice's now."""
    if datapath.admits:
        for port in sorted(datapath.admitted - datapath.let_in):
            datapath.switch.send_own(entry(datapath, port), now, datapath)
        datapath.let_in = datapath.let_in | datapath.admitted


def revoke(datapath: VirtualDatapath, now: float) -> None:
    """Let nothing in from ports that are the slice's no more."""
    for port in sorted(datapath.let_in - datapath.admitted):
        data = f13.flow_mod(
            0,
            identity(datapath, port)[3:],
            v10.DELETE_STRICT,
            cookie=proxy_cookie(datapath, Own.ADMISSION),
            cookie_mask=_EXACT,
            priority=PRIORITY,
        )
        datapath.switch.send_own(data, now, datapath)
    datapath.let_in = datapath.let_in & datapath.admitted


def switch_off(datapath: VirtualDatapath, now: float) -> None:
    """Let nothing in any more, before anything else is done."""
    switch = datapath.switch
    close(datapath)
    vlan = () if switch.native else ((oxm.VLAN_VID, oxm.VID_PRESENT | datapath.vlan, None),)
    cookie = proxy_cookie(datapath, Own.ADMISSION)
    switch.send_own(f13.flow_mod(0, oxm.pack(vlan), v10.DELETE, cookie=cookie, cookie_mask=_EXACT), now)
    switch.barrier(switch, None, b"", now)


def close(datapath: VirtualDatapath) -> None:
    """The switch is gone, or told: nothing is let in."""
    datapath.admits = False
    datapath.let_in = frozenset()


def put_back(switch: Switch, cookie: int, match: bytes, now: float) -> None:
    """An admission entry was removed: if not by us, it is still wanted."""
    datapath, port = cookie_owner(switch, cookie), port_of(4, match)
    if datapath is not None and port in datapath.let_in and match.startswith(identity(datapath, port)[3:]):
        switch.send_own(entry(datapath, port), now, datapath)
