"""F.3 flow-mod match."""

from __future__ import annotations

from tests.emulation import wire as of
from tests.vectors.lab import Lab, X

HX04 = bytes.fromhex(
    "040e005800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff0000000000010010"
    "80000c0210c880000c021064000400180000000000000010000000020000000000000000"
)
HX05 = bytes.fromhex(
    "040e005800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000001000c"
    "80000d040000000000000000000400180000000000000010000000020000000000000000"
)
HX18 = bytes.fromhex(
    "040e005800002001000000000000001100000000000000000000000000000064ffffffffffffffffffffffff000000000000000a"
    "80000c021064000000000000000400180000000000000010000000020000000000000000"
)


def test_v031(v10: Lab) -> None:
    """All wildcards become exactly VLAN 100."""
    mod = v10.added("A", v10.mod(v10.out(2)))
    v10.is_flow(mod, v10.out(2), vlan_vid=100)
    assert mod.flags == 1


def test_v032(v10: Lab) -> None:
    """Its own VLAN with a priority code point passes."""
    mod = v10.added("A", v10.mod(v10.out(2), match={"vlan_vid": 100, "vlan_pcp": 5}))
    v10.is_flow(mod, v10.out(2), vlan_vid=100, vlan_pcp=5)


def test_v033(v10: Lab) -> None:
    """Another VLAN is EPERM."""
    v10.refused("A", v10.mod(v10.out(2), match={"vlan_vid": 200}), 3, 2)


def test_v034(v10: Lab) -> None:
    """Untagged is EPERM in a tagged datapath."""
    v10.refused("A", v10.mod(v10.out(2), match={"vlan_vid": 0xFFFF}), 3, 2)


def test_v036(v10: Lab) -> None:
    """VLAN 0x1064, which Open vSwitch would take for 100, is EPERM."""
    v10.refused("A", v10.mod(v10.out(2), match={"vlan_vid": 0x1064}), 3, 2)


def test_v038(v10: Lab) -> None:
    """VLAN 0 is EPERM."""
    v10.refused("A", v10.mod(v10.out(2), match={"vlan_vid": 0}), 3, 2)


def test_v039(v10: Lab) -> None:
    """An exact match of a transparent datapath: PCP wildcarded, and still of priority 65535."""
    fields: dict[str, of.Value] = {
        "in_port": 1, "eth_src": X, "eth_dst": "02:00:00:00:00:02", "eth_type": 0x800, "nw_tos": 0, "ip_proto": 17,
        "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "tp_src": 1000, "tp_dst": 2000,
    }  # fmt: skip
    raw = v10.mod(v10.out(2), match=fields | {"vlan_vid": 0xFFFF, "vlan_pcp": 0}, priority=5)
    mod = v10.added("T", raw)
    v10.is_flow(mod, v10.out(2), vlan_vid=300, **fields)
    assert mod.priority == 65535


def test_v041(v10: Lab) -> None:
    """Transparent: all wildcards become its VLAN."""
    v10.is_flow(v10.added("T", v10.mod(v10.out(2))), v10.out(2), vlan_vid=300)


def test_v043(v10: Lab) -> None:
    """Transparent: any VLAN is EPERM."""
    v10.refused("U", v10.mod(v10.out(4), match={"vlan_vid": 200}), 3, 2)


def test_v044(v10: Lab) -> None:
    """A port that is not its own is EPERM."""
    v10.refused("A", v10.mod(v10.out(2), match={"in_port": 4}), 3, 2)


def test_v046(v13: Lab) -> None:
    """1.3: the empty match becomes exactly its VLAN."""
    mod = v13.added("A", v13.mod(v13.out(2)))
    v13.is_flow(mod, v13.out(2), vlan_vid=0x1064)


def test_v047(v13: Lab) -> None:
    """Any tag becomes exactly its VLAN."""
    mod = v13.added("A", v13.mod(v13.out(2), match={"vlan_vid": (0x1000, 0x1000)}))
    v13.is_flow(mod, v13.out(2), vlan_vid=0x1064)


def test_v048(v13: Lab) -> None:
    """A masked VLAN that its own is part of becomes exactly its own."""
    mod = v13.added("A", v13.mod(v13.out(2), match={"vlan_vid": (0x1004, 0x1004)}))
    v13.is_flow(mod, v13.out(2), vlan_vid=0x1064)


def test_v050(v13: Lab) -> None:
    """HX05: vlan_vid 0/0, the classic bypass, becomes exactly its VLAN."""
    v13.is_flow(v13.added("A", HX05), v13.out(2), vlan_vid=0x1064)


def test_v051(v13: Lab) -> None:
    """HX04: vlan_vid twice is DUP_FIELD."""
    v13.refused("A", HX04, 4, 10)


def test_v053(v13: Lab) -> None:
    """vlan_vid without PRESENT is EPERM."""
    v13.refused("A", v13.mod(v13.out(2), match={"vlan_vid": 0x0064}), 5, 4)


def test_v054(v13: Lab) -> None:
    """Untagged is EPERM in a tagged datapath."""
    v13.refused("A", v13.mod(v13.out(2), match={"vlan_vid": 0}), 5, 4)


def test_v055(v13: Lab) -> None:
    """vlan_vid above 0x1fff is BAD_VALUE."""
    v13.refused("A", v13.mod(v13.out(2), match={"vlan_vid": 0x2064}), 4, 7)


def test_v057(v13: Lab) -> None:
    """vlan_pcp needs vlan_vid."""
    v13.refused("A", v13.mod(v13.out(2), match={"vlan_pcp": 3}), 4, 9)


def test_v058(v13: Lab) -> None:
    """Transparent: untagged becomes its VLAN."""
    mod = v13.added("T", v13.mod(v13.out(2), match={"vlan_vid": 0}))
    v13.is_flow(mod, v13.out(2), vlan_vid=0x112C)


def test_v060(v13: Lab) -> None:
    """Transparent: any tag is EPERM."""
    v13.refused("T", v13.mod(v13.out(2), match={"vlan_vid": (0x1000, 0x1000)}), 5, 4)


def test_v061(v13: Lab) -> None:
    """Transparent: even its own VLAN is EPERM."""
    v13.refused("T", v13.mod(v13.out(2), match={"vlan_vid": 0x112C}), 5, 4)


def test_v063(v13: Lab) -> None:
    """1.3: a port that is not its own is EPERM."""
    v13.refused("A", v13.mod(v13.out(2), match={"in_port": 5}), 5, 4)


def test_v065(v13: Lab) -> None:
    """The VLAN is added in every table, metadata and priority stay."""
    raw = v13.mod(v13.out(3), match={"metadata": (5, 0xFF)}, table=1, priority=7)
    mod = v13.added("A", raw)
    v13.is_flow(mod, v13.out(3), metadata=(5, 0xFF), vlan_vid=0x1064)
    assert (mod.table, mod.priority) == (1, 7)


def test_v066(v13: Lab) -> None:
    """A table-miss entry gets the VLAN, and CONTROLLER the whole packet."""
    mod = v13.added("A", v13.mod(of.output(4, "controller", 128), table=3, priority=0))
    v13.is_flow(mod, of.output(4, "controller", 0xFFFF), vlan_vid=0x1064)
    assert (mod.table, mod.priority) == (3, 0)


def test_v068(v13: Lab) -> None:
    """HX18: match type 0 is BAD_TYPE."""
    v13.refused("A", HX18, 4, 0)


def test_v069(v13: Lab) -> None:
    """Priority 65535 without in_port goes below the guards, and is shown as it was asked for."""
    first = v13.added("A", v13.mod(v13.out("controller"), priority=65535))
    second = v13.added("A", v13.mod(v13.out("controller"), match={"in_port": 1}, priority=65535))
    assert (first.priority, second.priority) == (65534, 65535)
    assert [e.priority for e in v13.flow_stats("A")] == [65535, 65535]
