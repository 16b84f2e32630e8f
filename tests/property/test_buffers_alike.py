"""With ``buffers: pool:N`` the same conversation leads to the same frames out of the switch as without.

One conversation is played twice: hosts send, the slice's controller answers
each packet-in by naming its buffer, or by giving the packet back whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulation import wire as of
from tests.emulation.frames import E
from tests.vmoc.mux.ends import V10, V13, SwitchEnd
from tests.vmoc.mux.playbook import Playbook, scene
from tests.vmoc.mux.tenants import piece
from vmoc.model import Policy, Presentation

PORTS = (1, 2, 3)
LOST = 4  # a port that is another slice's


class Sent(NamedTuple):
    """A host sends; ``size`` without the tag."""

    port: int
    host: int
    size: int


class Answer(NamedTuple):
    """What the controller makes of the next packet-in."""

    kind: str  # "ignore", "out", "empty", "flow", "modify"
    to: int
    host: int | None
    priority: int


sends = st.builds(Sent, st.sampled_from(PORTS), st.integers(1, 3), st.sampled_from((60, 127, 128, 400, 1500)))
answers = st.builds(
    Answer,
    st.sampled_from(("ignore", "out", "empty", "flow", "modify")),
    st.sampled_from((*PORTS, LOST)),
    st.none() | st.integers(1, 3),
    st.sampled_from((0, 1, 100)),
)


@dataclass
class Play:
    """One performance; ``transmitted`` is what left the switch."""

    book: Playbook
    switch: SwitchEnd
    pooled: bool

    def host_sends(self, sent: Sent) -> None:
        frame = E(100, src=f"02:00:00:00:00:{sent.host:02x}", size=sent.size, payload=bytes(range(200)))
        self.switch.does(lambda model: model.inject(sent.port, frame))

    def controller_answers(self, answer: Answer) -> bool:
        """Deal with the oldest packet-in, if there is one."""
        a = self.book.at("alice")
        messages = a.log("packet_in")
        if not messages:
            return False
        a.inbox.remove(messages[0])
        packet = of.parse_packet_in(messages[0])
        number = packet.buffer_id if self.pooled else of.NO_BUFFER
        assert self.pooled == (packet.buffer_id != of.NO_BUFFER)
        data = b"" if self.pooled else packet.data
        out = of.output(a.version, answer.to)
        if answer.kind in ("out", "empty"):
            actions = out if answer.kind == "out" else b""
            a.send(of.packet_out(a.version, data, actions, in_port=packet.in_port, buffer_id=number))
        elif answer.kind in ("flow", "modify"):
            fields: dict[str, int] = {} if answer.host is None else {"eth_src": 0x020000000000 | answer.host}
            command = "add" if answer.kind == "flow" else "modify"
            match = of.match(a.version, **fields)
            a.send(of.flow_mod(a.version, command, match, out, priority=answer.priority, buffer_id=number))
            if not self.pooled and answer.to != LOST:
                table = of.output(a.version, "table")
                a.send(of.packet_out(a.version, data, table, in_port=packet.in_port))
        return True


def rehearse(version: int, presentation: Presentation, buffers: str) -> Play:
    alice = piece("alice", 100, PORTS, presentation=presentation)
    book, switch = scene(version, alice, piece("bob", 200, (LOST,)), policy=Policy(buffers=buffers))
    if version == V13:
        book.at("alice").add("controller", priority=0)
    return Play(book, switch, buffers != "none")


@pytest.mark.parametrize("version", [V10, V13])
@pytest.mark.parametrize("presentation", list(Presentation))
@settings(max_examples=25, deadline=None)
@given(script=st.lists(st.tuples(sends, st.lists(answers, max_size=3)), min_size=1, max_size=8))
def test_the_same_frames_leave_the_switch(
    version: int, presentation: Presentation, script: list[tuple[Sent, list[Answer]]]
) -> None:
    plays = [rehearse(version, presentation, buffers) for buffers in ("none", "pool:64")]
    for sent, reactions in script:
        for play in plays:
            play.host_sends(sent)
        for answer in reactions:
            done = [play.controller_answers(answer) for play in plays]
            assert done[0] == done[1]
    plain, pooled = (play.switch.model for play in plays)
    assert pooled.transmitted == plain.transmitted
    assert [(e.match, e.priority, e.actions) for e in pooled.flows(100)] == [
        (e.match, e.priority, e.actions) for e in plain.flows(100)
    ]
    errors = [play.book.at("alice").errors() for play in plays]
    assert errors[0] == errors[1]
