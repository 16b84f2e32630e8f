"""F.11 barrier, xid, order."""

from __future__ import annotations

from collections.abc import Callable

from tests.emulation import wire as of
from tests.vectors.lab import LIMITS, Lab


def test_v277(v: Lab) -> None:
    """BARRIER_REPLY comes when the switch has replied, and not before."""
    switch, a = v.switch, v.A
    switch.mark()
    switch.hold.add("barrier_reply")
    a.send(v.mod(v.out(2)) + v.message("barrier_request", xid=5))
    switch.wait_held("barrier_reply")
    v.fence()
    assert a.unseen() == []
    names = [m.name for m in switch.since() if m.name in ("flow_mod", "barrier_request")]
    assert names[:2] == ["flow_mod", "barrier_request"]
    switch.release()
    assert a.expect("barrier_reply").xid == 5


def test_v278(v: Lab) -> None:
    """The same xid of two controllers: each gets its own answers."""
    connections = {"A": v.A, "B": v.B}
    for name in connections:
        v.added(name, v.mod(v.out(3), match={"in_port": 3}, cookie=ord(name)))
    v.switch.mark()
    for connection in connections.values():
        connection.send(v.message("barrier_request", xid=0x1234))
    for connection in connections.values():
        assert connection.expect("barrier_reply").xid == 0x1234
    for connection in connections.values():
        connection.send(v.stats("flow", of.flow_stats_body(v.version), xid=0x1234))
    for name, connection in connections.items():
        reply = connection.expect("stats_reply")
        assert reply.xid == 0x1234
        assert [e.cookie for e in of.parse_flow_stats(v.version, v.stats_body(reply))] == [ord(name)]
    v.fence()
    for kind in ("barrier_request", "stats_request"):
        xids = [m.xid for m in v.switch.since() if m.name == kind]
        assert len(xids) == len({*xids}) >= 2


def test_v279(v13: Lab) -> None:
    """The error of an earlier message comes before the barrier's reply."""
    bad, good = v13.mod(v13.out(4)), v13.mod(v13.out(2))
    sent = v13.send("A", bad, good, v13.message("barrier_request", xid=0x99))
    assert [m.name for m in sent] == ["flow_mod"]
    since = [m.name for m in v13.switch.since() if m.name in ("flow_mod", "barrier_request")]
    assert since[:2] == ["flow_mod", "barrier_request"]
    assert [m.name for m in v13.A.unseen()] == ["error", "barrier_reply"]
    v13.error("A", bad, 2, 4)
    assert v13.A.expect("barrier_reply").xid == 0x99


def test_v282(v13: Lab) -> None:
    """Even xids 0 and 0xffffffff are answered as they are, and never used towards the switch."""
    v13.switch.mark()
    for xid in (0, 0xFFFFFFFF):
        v13.A.send(v13.message("barrier_request", xid=xid) + v13.stats("flow", of.flow_stats_body(4), xid=xid))
    v13.fence()
    for xid in (0, 0xFFFFFFFF):
        for name in ("barrier_reply", "stats_reply"):
            v13.A.expect(name, lambda m, xid=xid: m.xid == xid)
    used = [m.xid for m in v13.switch.since() if m.name in ("barrier_request", "stats_request")]
    assert len(used) == len({*used}) >= 4
    assert not {0, 0xFFFFFFFF} & {*used}


def test_v284(private: Callable[..., Lab]) -> None:
    """A thousand barriers of one slice do not hold up another's one."""
    rate = 50
    lab = private(of.V10, limits=LIMITS | {"barrier_rate": rate})
    switch, a, b = lab.switch, lab.A, lab.B
    switch.mark()
    a.send(b"".join(lab.message("barrier_request", xid=xid) for xid in range(1, 1001)))
    switch.wait_for(lambda: any(m.name == "barrier_request" for m in switch.since()), "barrier")
    b.send(lab.message("barrier_request", xid=0x777))
    answered = b.expect("barrier_reply")
    assert answered.xid == 0x777
    # The mock answers at once: the last of the barriers that came before B's answer may be B's.
    theirs = max(m.at for m in switch.since() if m.name == "barrier_request" and m.at <= answered.at)
    assert answered.at - theirs < 0.2
    a.wait_for(lambda: len(a.unseen("barrier_reply")) > rate + 10, "more than a second's worth of replies")
    times = [m.at for m in switch.since() if m.name == "barrier_request"]
    span = times[-1] - times[0]
    assert len(times) <= rate + span * rate + 2  # one second's worth saved up, then the rate; one is B's
    replies = [m.xid for m in a.unseen("barrier_reply")]
    assert replies == list(range(1, len(replies) + 1))
    a.forget()
    lab.closed.add("A")
    lab.controllers["A"].stop("reset")
