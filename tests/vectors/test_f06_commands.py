"""F.6 commands, cookies, quota."""

from __future__ import annotations

from tests.emulation import E
from tests.emulation import wire as of
from tests.vectors.lab import GUARDED, LOCAL, Lab, X, Y, guard_ports, guards_in
from tests.vectors.mock import is_guard

TAG_MASK = 0xFFFF << 48


def selects_nothing_of(lab: Lab, name: str) -> None:
    """The entries of a datapath are all still there; called after the other one's message."""
    assert [e for e in lab.switch.flows({"A": 100, "B": 200}[name]) if e.actions]


def test_v145(v10: Lab) -> None:
    """DELETE of everything is confined to the VLAN, and the guards it takes along come back before a barrier."""
    v10.added("A", v10.mod(v10.out(2)))
    v10.switch.mark()
    v10.A.send(v10.mod(command="delete"))
    v10.fence()
    since = [m for m in v10.switch.since() if m.name in ("flow_mod", "barrier_request")]
    first = of.parse_flow_mod(since[0])
    assert first.command == "delete"
    assert first.out_port == 0xFFFF
    v10.is_flow(first, b"", vlan_vid=100)
    barrier = [m.name for m in since].index("barrier_request")
    assert all(m.name == "barrier_request" or is_guard(m) for m in since[barrier:])  # the switch reported guards gone
    guards = guards_in(since[1:barrier])
    assert len(guards) == barrier - 1
    assert guard_ports(guards, 100) == {*GUARDED["A"], LOCAL[1]}
    assert {e.match["in_port"][0] for e in v10.switch.flows(100)} == {*GUARDED["A"], LOCAL[1]}


def test_v146(v13: Lab) -> None:
    """DELETE of everything carries its VLAN and its cookie tag."""
    tag = v13.tag("A")
    (mod,) = v13.sent("A", v13.mod(command="delete", table=0xFF))
    assert (mod.command, mod.table, mod.cookie, mod.cookie_mask) == ("delete", 0xFF, tag << 48, TAG_MASK)
    v13.is_flow(mod, b"", vlan_vid=0x1064)


def test_v147(v10: Lab) -> None:
    """DELETE in another VLAN is EPERM."""
    v10.refused("A", v10.mod(command="delete", match={"vlan_vid": 200}), 3, 2)


def test_v148(v10: Lab) -> None:
    """MODIFY becomes one strict modify per entry, with the entry's own identity and cookie."""
    entries = [
        v10.added("A", v10.mod(v10.out(2), match={"eth_dst": mac}, priority=priority))
        for mac, priority in ((X, 10), (Y, 20))
    ]
    mods = v10.sent("A", v10.mod(v10.out(3), "modify"))
    assert [m.command for m in mods] == ["modify_strict", "modify_strict"]
    for mod, entry in zip(sorted(mods, key=lambda m: m.priority), entries, strict=True):
        assert (mod.match_raw, mod.priority, mod.cookie) == (entry.match_raw, entry.priority, entry.cookie)
        v10.is_flow(mod, v10.out(3), vlan_vid=100, eth_dst=X if entry is entries[0] else Y)


def test_v150(v13: Lab) -> None:
    """1.3 MODIFY that selects nothing never adds."""
    mods = v13.sent("A", v13.mod(v13.out(3), "modify"))
    tag = v13.tag("A")
    for mod in mods:
        assert (mod.command, mod.cookie, mod.cookie_mask) == ("modify", tag << 48, TAG_MASK)
        v13.is_flow(mod, v13.out(3), vlan_vid=0x1064)


def test_v152(v13: Lab) -> None:
    """DELETE by another slice's physical cookie selects nothing of it."""
    theirs = v13.added("A", v13.mod(v13.out(2))).cookie
    v13.added("B", v13.mod(v13.out(2)))
    for mod in v13.sent("B", v13.mod(command="delete", table=0xFF, cookie=theirs, cookie_mask=2**64 - 1)):
        v13.is_flow(mod, None, vlan_vid=0x10C8)
    selects_nothing_of(v13, "A")
    selects_nothing_of(v13, "B")


def test_v153(v10: Lab) -> None:
    """DELETE by out_port is about what the controller wrote, not about expansions."""
    f1 = v10.added("A", v10.mod(v10.out(2), match={"eth_dst": X}))
    v10.added("A", v10.mod(v10.out("flood"), match={"eth_dst": Y}))
    (mod,) = v10.sent("A", v10.mod(command="delete", out_port=2))
    assert (mod.command, mod.match_raw, mod.priority) == ("delete_strict", f1.match_raw, 100)


def test_v155(v10: Lab) -> None:
    """DELETE by a port that is not its own selects nothing, without an error."""
    v10.added("A", v10.mod(v10.out(2)))
    v10.sent("A", v10.mod(command="delete", out_port=4))
    selects_nothing_of(v10, "A")


def test_v157(v13: Lab) -> None:
    """1.3 MODIFY by cookie is about the controller's own cookies."""
    for mac, cookie in ((X, 0x11), (Y, 0x12)):
        v13.added("A", v13.mod(v13.out(2), match={"eth_dst": mac}, cookie=cookie))
    mods = v13.sent("A", v13.mod(v13.out(3), "modify", cookie=0x11, cookie_mask=2**64 - 1))
    (mod,) = mods
    v13.is_flow(mod, v13.out(3), eth_dst=X, vlan_vid=0x1064)
    shown = {e.cookie: e for e in v13.flow_stats("A")}
    v13.is_flow(shown[0x11], v13.out(3), eth_dst=X)
    v13.is_flow(shown[0x12], v13.out(2), eth_dst=Y)


def test_v159(v10: Lab) -> None:
    """DELETE takes no notice of a buffer and of actions, and sends none."""
    raw = v10.mod(v10.out(4) + of.set_vlan(1, 200), "delete", buffer_id=0)
    (mod,) = v10.sent("A", raw)
    assert mod.buffer_id == of.NO_BUFFER
    v10.is_flow(mod, b"", vlan_vid=100)


def test_v160(v10: Lab) -> None:
    """A buffer id is BUFFER_UNKNOWN."""
    v10.refused("A", v10.mod(v10.out(2), buffer_id=5), 1, 8)


def test_v162(v10: Lab) -> None:
    """Emergency flows: there is no room; with a timeout they are wrong."""
    v10.refused("A", v10.mod(v10.out(2), flags=4), 3, 0)
    v10.refused("A", v10.mod(v10.out(2), flags=4, idle=1), 3, 3)


def test_v163(v13: Lab) -> None:
    """Unknown flags are BAD_FLAGS."""
    v13.refused("A", v13.mod(v13.out(2), flags=0x20), 5, 7)


def test_v165(v: Lab) -> None:
    """An unknown command is BAD_COMMAND."""
    v.refused("A", v.mod(v.out(2), 5), *((3, 4) if v.version == of.V10 else (5, 6)))


def test_v166(v: Lab) -> None:
    """The same match in two slices does not overlap."""
    for name, vid in (("A", 100), ("B", 200)):
        mod = v.added(name, v.mod(v.out(2), match={"eth_dst": X}, flags=2))
        v.is_flow(mod, v.out(2), eth_dst=X, vlan_vid=vid if v.version == of.V10 else 0x1000 | vid)
        assert mod.flags & 2


def many(lab: Lab, count: int) -> list[bytes]:
    """ADDs that differ in dl_dst."""
    return [lab.mod(lab.out(2), match={"eth_dst": f"02:00:00:00:01:{i:02x}"}) for i in range(count)]


def test_v167(v10: Lab) -> None:
    """The eleventh flow is ALL_TABLES_FULL."""
    raws = many(v10, 11)
    assert len(v10.sent("A", *raws)) == 10
    v10.error("A", raws[10], 3, 0)


def test_v168(v13: Lab) -> None:
    """At the quota, replacing an entry is free."""
    raws = many(v13, 10)
    assert len(v13.sent("A", *raws)) == 10
    v13.added("A", v13.mod(v13.out(3), match={"eth_dst": "02:00:00:00:01:05"}))
    v13.refused("A", v13.mod(v13.out(3), match={"eth_dst": X}), 5, 1)


def test_v171(v13: Lab) -> None:
    """A controller sees its own 64-bit cookie in statistics, packet-ins and flow-removed."""
    cookie = 0xDEADBEEFCAFEF00D
    mod = v13.added("A", v13.mod(v13.out("controller"), cookie=cookie, flags=1))
    assert [e.cookie for e in v13.flow_stats("A")] == [cookie]
    v13.switch.packet_in(1, E(100), reason=1, cookie=mod.cookie)
    (seen,) = v13.packet_ins("A")
    assert seen.cookie == cookie
    (entry,) = [e for e in v13.switch.flows(100) if e.cookie == mod.cookie]
    v13.switch.expire(entry)
    removed = of.parse_flow_removed(v13.A.expect("flow_removed"))
    assert (removed.cookie, removed.match) == (cookie, {})


def test_v173(v10: Lab) -> None:
    """FLOW_REMOVED that was not asked for is not passed on."""
    mod = v10.added("A", v10.mod(v10.out(2), idle=5, hard=10))
    assert (mod.idle, mod.hard, mod.flags) == (5, 10, 1)
    (entry,) = [e for e in v10.switch.flows(100) if e.actions]
    v10.switch.expire(entry)
    v10.fence()
    v10.A.expect_nothing()
