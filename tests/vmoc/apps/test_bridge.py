from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tests.emulation.waiting import wait_until
from tests.vmoc.apps.raw_switch import message, packet_in
from vmoc.apps.bridge import Bridge, Key
from vmoc.mux.effects import OperatorInput, SwitchAppeared, SwitchVanished

ONE, TWO = (1, 0), (2, 0)
PACKET = packet_in(4, 1, b"")
BARRIER = message(4, 21)


class Loop:
    """Runs what is called soon when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.delivered: list[tuple[Key, bytes]] = []
        self.batches = 0

    def call_soon(self, call: Callable[[], None]) -> None:
        self.due.append(call)

    def deliver(self, batch: Sequence[tuple[Key, bytes]]) -> None:
        self.batches += 1
        self.delivered += batch

    def turn(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


def appeared(key: Key) -> SwitchAppeared:
    return SwitchAppeared(key, 4, b"", (), "peer")


def received(bridge: Bridge) -> list[object]:
    found: list[object] = []
    while (effect := bridge.receive(0)) is not None:
        found.append(effect)
    return found


def test_effects_keep_their_order() -> None:
    bridge = Bridge(lambda _: None, lambda _: None)
    effects = [appeared(ONE), OperatorInput(ONE, PACKET), OperatorInput(ONE, BARRIER), SwitchVanished(TWO)]
    for effect in effects:
        bridge.sink(effect)
    assert received(bridge) == effects
    assert bridge.counters.up == 4


def test_packet_ins_are_dropped_first() -> None:
    bridge = Bridge(lambda _: None, lambda _: None, packet_ins=2, others=2)
    for _ in range(4):
        bridge.sink(OperatorInput(ONE, PACKET))
    for _ in range(3):
        bridge.sink(OperatorInput(ONE, BARRIER))
    bridge.sink(appeared(TWO))
    kinds = [effect.message[1] for effect in received(bridge) if isinstance(effect, OperatorInput)]
    assert kinds == [10, 10, 21, 21]
    assert (bridge.counters.dropped_packet_ins, bridge.counters.dropped_inputs) == (2, 1)
    bridge.sink(OperatorInput(ONE, PACKET))
    assert received(bridge) == [OperatorInput(ONE, PACKET)]


def test_packet_ins_nobody_wants_are_not_queued() -> None:
    bridge = Bridge(lambda _: None, lambda _: None)
    bridge.packet_ins_wanted = False
    bridge.sink(OperatorInput(ONE, PACKET))
    bridge.sink(OperatorInput(ONE, BARRIER))
    assert received(bridge) == [OperatorInput(ONE, BARRIER)]
    assert bridge.counters.unwanted_packet_ins == 1 and bridge.counters.dropped_packet_ins == 0


def test_a_flapping_switch_does_not_fill_the_queue() -> None:
    bridge = Bridge(lambda _: None, lambda _: None, packet_ins=1)
    for _ in range(50):
        bridge.sink(appeared(ONE))
        bridge.sink(OperatorInput(ONE, PACKET))
        bridge.sink(SwitchVanished(ONE))
    bridge.sink(appeared(ONE))
    bridge.sink(OperatorInput(ONE, PACKET))
    assert received(bridge) == [SwitchVanished(ONE), appeared(ONE), OperatorInput(ONE, PACKET)]
    assert bridge.counters.dropped_packet_ins == 0


def test_messages_reach_the_core_in_one_batch_per_turn() -> None:
    loop = Loop()
    bridge = Bridge(loop.deliver, loop.call_soon)
    assert bridge.send(ONE, b"a") and bridge.send(TWO, b"b")
    assert loop.delivered == [] and len(loop.due) == 1
    loop.turn()
    assert loop.delivered == [(ONE, b"a"), (TWO, b"b")] and loop.batches == 1
    bridge.send(ONE, b"c")
    loop.turn()
    assert loop.delivered[-1] == (ONE, b"c")


def test_a_sender_waits_for_room() -> None:
    loop = Loop()
    bridge = Bridge(loop.deliver, loop.call_soon, outbox=2)
    done = threading.Event()

    def send() -> None:
        for number in range(4):
            bridge.send(ONE, bytes([number]))
        done.set()

    threading.Thread(target=send, daemon=True).start()
    wait_until(lambda: bridge.counters.down == 2, "the outbox to be full")
    assert not done.is_set()

    def turn() -> bool:
        loop.turn()
        return done.is_set()

    wait_until(turn, "the sender to end")
    loop.turn()
    assert loop.delivered == [(ONE, bytes([number])) for number in range(4)]


def test_closing_releases_everybody() -> None:
    bridge = Bridge(lambda _: None, lambda _: None, outbox=1)
    bridge.send(ONE, b"full")
    answers: list[object] = []
    sender = threading.Thread(target=lambda: answers.append(bridge.send(ONE, b"more")), daemon=True)
    reader = threading.Thread(target=lambda: answers.append(bridge.receive()), daemon=True)
    sender.start()
    reader.start()
    bridge.close()
    sender.join(5)
    reader.join(5)
    assert len(answers) == 2 and set(answers) == {False, None}
    bridge.sink(appeared(ONE))
    assert bridge.receive() is None and bridge.closed


def test_a_closed_loop_closes_the_bridge() -> None:
    def call_soon(_: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    bridge = Bridge(lambda _: None, call_soon)
    assert bridge.send(ONE, b"a") is False
    assert bridge.closed
