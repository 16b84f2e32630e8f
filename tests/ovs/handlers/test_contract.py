"""What every back-end must do, whatever it is made of."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import md5
from typing import Any

import pytest

from am_bridge.handlers.ansible import AnsibleHandler
from am_bridge.handlers.decode import encode
from am_bridge.handlers.difference import find_difference
from am_bridge.handlers.handler import FailureKind, HandlerError, HandlerResult, Run, SliverState, Stop
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.operations import Operation, OperationState
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.spec import Nic, PublishedPort, Route, SliverSpec, User, read_spec
from am_bridge.handlers.subtree import find_marked
from mininet_scenarios.processes import wait_until
from tests.ovs.handlers.backend import KEY, BackEnd

WAIT = 200.0


class Verbs:
    """The handler of the back-end, without a processor around it."""

    def __init__(self, backend: BackEnd) -> None:
        self.config = backend.catalogue.find(backend.spec("any").resource_type)
        self.host = backend.catalogue.host("")
        self.handler = backend.handler(self.config)

    def run(self, stop: Stop | None = None) -> Run:
        run = Run(uuid.uuid4().hex, 1, WAIT, self.host, stop or Stop(), lambda progress: None, grace=1.0)
        return replace(run, installation=SqliteJournal(":memory:").installation)

    def create(self, spec: SliverSpec) -> HandlerResult:
        return self.handler.create(self.run(), spec)

    def modify(self, old: SliverSpec, new: SliverSpec) -> HandlerResult:
        return self.handler.modify(self.run(), old, new, find_difference(old, new))

    def probe(self, spec: SliverSpec) -> HandlerResult:
        return self.handler.probe(self.run(), spec)

    def delete(self, spec: SliverSpec) -> HandlerResult:
        return self.handler.delete(self.run(), spec)

    def action(self, spec: SliverSpec, name: str, parameters: Mapping[str, Any] | None = None) -> HandlerResult:
        return self.handler.action(self.run(), spec, name, parameters or {})


@pytest.fixture
def verbs(backend: BackEnd) -> Verbs:
    return Verbs(backend)


def test_every_verb_is_idempotent(backend: BackEnd, verbs: Verbs) -> None:
    quick, through_ansible = verbs.handler, AnsibleHandler(verbs.config)
    verbs.handler = through_ansible
    spec = backend.spec("one", users=[{"name": "alice", "keys": [KEY]}])
    spec = replace(spec, commands=("true",), published_ports=(PublishedPort(22),))
    first = verbs.create(spec)
    assert first.state is SliverState.READY and first.changed and first.problems == ()
    assert first.interfaces[0].port > 0 and first.interfaces[0].dpid == "0x000000000000000a"
    assert first.logins[0].port in range(3100, 3200)
    traces = backend.traces()
    verbs.handler = quick
    second = verbs.create(spec)
    assert not second.changed and replace(second, changed=True) == first
    probed = verbs.probe(spec)
    assert not probed.changed and probed.interfaces == first.interfaces and probed.state is SliverState.READY
    assert backend.traces() == traces
    verbs.handler = through_ansible
    gone = verbs.delete(spec)
    assert gone.state is SliverState.ABSENT and gone.changed and gone.leftovers == ()
    assert backend.traces() == []
    verbs.handler = quick
    assert not verbs.delete(spec).changed and verbs.probe(spec).state is SliverState.ABSENT


def test_slivers_talk_inside_their_vlan_only_and_change(backend: BackEnd, verbs: Verbs) -> None:
    a, b, c = (backend.spec(name) for name in "abc")
    b = replace(b, routes=(Route("10.9.0.0/16", a.interfaces[0].addresses[0].split("/")[0]),))
    a = replace(a, interfaces=(replace(a.interfaces[0], mac="02:aa:00:00:00:01", mtu=1400),))
    c = replace(c, interfaces=(replace(c.interfaces[0], vlan=102),))
    with ThreadPoolExecutor() as pool:
        assert {made.state for made in pool.map(verbs.create, (a, b, c))} == {SliverState.READY}
    target = a.interfaces[0].addresses[0].split("/")[0]
    assert ping(verbs, b, target, 5) > 0 and ping(verbs, c, target, 2) == 0
    assert "10.9.0.0/16 via" in backend.execute(b, "ip", "route")
    link = backend.execute(a, "ip", "link", "show", "eth1")
    assert "02:aa:00:00:00:01" in link and "mtu 1400" in link
    # A transfer larger than a segment: checksums that nobody filled in would hang it.
    inside, size = backend.place("payload"), 2 << 20
    backend.execute(a, "sh", "-c", f"yes vmoc | head -c {size} >{inside} && chmod 644 {inside}")
    backend.execute(a, "busybox", "httpd", "-p", "8000", "-h", inside.rpartition("/")[0])
    fetch = f"printf 'GET /payload HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 20 {target} 8000 | busybox tail -c {size}"
    want = md5((b"vmoc\n" * size)[:size]).hexdigest()
    assert backend.execute(b, "sh", "-c", f"{fetch} | md5sum").split()[0] == want
    wanted = replace(c, interfaces=(replace(c.interfaces[0], vlan=101), Nic("eth2", 103, addresses=("10.3.0.1/24",))))
    degraded = verbs.probe(wanted)
    assert degraded.state is SliverState.DEGRADED and len(degraded.problems) == 2
    assert verbs.modify(c, wanted).state is SliverState.READY
    # What it asked for in vain from the other VLAN may still be given up: that fails one ping, not all.
    wait_until(lambda: ping(verbs, c, target, 3) > 0, "the card's new VLAN")
    verbs.modify(wanted, a_card_less := replace(wanted, interfaces=wanted.interfaces[:1]))
    assert "eth2" not in backend.execute(c, "ip", "link")
    for spec in (a, b, a_card_less):
        verbs.delete(spec)


def ping(verbs: Verbs, spec: SliverSpec, target: str, count: int) -> int:
    """How many of ``count`` are answered."""
    told = verbs.action(spec, "ping", {"address": target, "count": count}).facts["ping"]
    assert (told["address"], told["sent"]) == (target, count)
    return int(told["received"])


def test_actions_published_ports_and_a_delete_that_is_interrupted(backend: BackEnd, verbs: Verbs) -> None:
    spec = replace(backend.spec("act"), users=(User("alice", (KEY,)),), routes=(Route("default", "10.0.1.254"),))
    spec = replace(spec, commands=("sleep 300 </dev/null >/dev/null 2>&1 &",))
    spec = replace(spec, published_ports=(PublishedPort(22, backend.host_port), PublishedPort(8080)))
    made = verbs.create(spec)
    assert made.facts["published_ports"]["22"] == backend.host_port
    assert backend.count(verbs.action(spec, "cpuinfo").facts["cpuinfo"]) == 1
    assert verbs.action(spec, "stop").state is SliverState.STOPPED
    started = verbs.action(spec, "start")
    assert started.state is SliverState.READY
    assert "default via 10.0.1.254" in backend.execute(spec, "ip", "route")
    assert verbs.action(spec, "add_keys", {"user": "alice", "keys": [KEY + " two {{ 1+1 }} $(id)"]}).changed
    with pytest.raises(HandlerError, match="no such user"):
        verbs.action(spec, "remove_keys", {"user": "../../root", "keys": [KEY]})
    with backend.serve(spec, 22), socket.create_connection(("127.0.0.1", backend.host_port), timeout=10) as connection:
        assert connection.recv(10).strip() == b"hi"
    stop = Stop()
    threading.Timer(0.2, stop.set, [FailureKind.STOPPED]).start()
    with contextlib.suppress(HandlerError):  # it may have been quicker
        verbs.handler.delete(verbs.run(stop), spec)
    assert verbs.delete(spec).leftovers == () and backend.traces() == []


def test_hostile_texts_stay_texts(backend: BackEnd, verbs: Verbs) -> None:
    verbs.handler = AnsibleHandler(verbs.config)
    trap = backend.folder / "trap"
    evil = [
        "{{ lookup('pipe', 'touch TRAP') }}",
        "{% for x in [1] %}{{ lookup('pipe', 'touch TRAP') }}{% endfor %}",
        "'\"; touch TRAP; `touch TRAP` $(touch TRAP)",
        "- !!python/object/apply:os.system [touch TRAP]",
        "ünï 漢字 \U0001f600",
    ]
    comments = [text.replace("TRAP", str(trap)) for text in evil]
    base = backend.spec("evil")
    inside = backend.place("out")
    printed = ["\x1b[2J\x1b]0;x\x07\r\u2028", "x" * 65000, *comments]
    commands = [f"cat >> {inside} <<'THE END OF IT'\n{text}\nTHE END OF IT"[:65536] for text in printed]
    document = encode(base)
    document |= {"users": [{"name": "alice", "keys": [f"{KEY} {text}" for text in comments]}], "commands": commands}
    spec = read_spec(document)
    assert verbs.create(spec).state is SliverState.READY
    assert not trap.exists()
    assert (backend.read(spec, "out") or b"").decode() == "".join(text + "\n" for text in printed)
    assert backend.keys(spec, "alice") == "".join(f"{KEY} {text}\n" for text in comments)
    verbs.delete(spec)
    assert not trap.exists()


def test_a_failing_command_fails_the_create_and_undoes_it(backend: BackEnd, quick: Processor) -> None:
    processor = quick
    spec = replace(backend.spec("bad"), commands=("echo why >&2; exit 3",), published_ports=(PublishedPort(80),))
    ended = processor.wait(processor.create(encode(spec)).id, WAIT)
    assert ended.state is OperationState.FAILED and ended.failure is not None
    assert (ended.failure.kind, ended.failure.rc) == (FailureKind.TASK, 3)
    assert ended.failure.message.startswith("command 1 ended with 3: ") and ended.failure.host == "here"
    assert "why" in ended.failure.message
    assert processor.slivers() == [] and backend.traces() == []


def test_a_cancelled_create_leaves_nothing(backend: BackEnd, processor: Processor) -> None:
    spec = backend.spec("hang")
    inside = backend.place("began")
    hang = f"trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 300\" &); touch {inside}; sleep 300"
    created = processor.create(encode(replace(spec, commands=(hang,))))
    deadline = time.monotonic() + WAIT
    while backend.read(spec, "began") is None:
        assert time.monotonic() < deadline and not processor.operation(created.id).over
        time.sleep(0.01)
    processor.cancel(created.id)
    ended = processor.wait(created.id, WAIT)
    assert ended.state is OperationState.CANCELLED
    assert processor.slivers() == [] and backend.traces() == [] and find_marked(created.id) == []


def test_many_at_once(backend: BackEnd, quick: Processor) -> None:
    processor = quick
    specs = [replace(backend.spec(f"p{n}"), published_ports=(PublishedPort(22),)) for n in range(2)]

    def all_done(operations: list[Operation]) -> bool:
        return all(processor.wait(one.id, WAIT).state is OperationState.SUCCEEDED for one in operations)

    assert all_done([processor.create(encode(spec)) for spec in specs])
    results = [processor.sliver(spec.key).result for spec in specs]
    assert len({one.logins[0].port for one in results if one is not None}) == 2
    assert all_done([processor.delete(spec.key) for spec in specs])
