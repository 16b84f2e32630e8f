"""The same hostile sequences on Open vSwitch and on the model: tables, frames and what the controllers hear.

Three hostile controllers (two tagged slices, one transparent) and a bystander;
messages of all kinds, a part of them damaged, from a fixed set of seeds.
``VMOC_REPLAY_SEEDS=100`` (or ``40-60``) plays others.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import wire as of
from tests.emulation.frames import vlan_of
from tests.ovs.lab import Lab
from tests.ovs.replay import alike, script
from tests.ovs.replay.broken import FAULTS
from tests.ovs.replay.model import Doubt, Model
from tests.ovs.replay.real import Rack, Real
from tests.ovs.replay.script import SLICES, Step

pytestmark = [pytest.mark.ovs, pytest.mark.slow]

PATIENCE = 3.0
"""Seconds for packets on their way."""
OVS_REFUSES = {
    (2, 0): "actions it does not have: copies of the TTL",
    (2, 5): "1.0: actions whose arguments it judges more strictly than the specification asks VMOC to",
    (4, 6): "a match on in_phy_port",
    (2, 10): "actions whose headers the match does not promise",
    (6, 0): "a group added again: the first was refused by Open vSwitch, VMOC did not know yet",
    (6, 1): "an indirect group without exactly one bucket",
    (6, 6): "a watched port in a group that does not watch",
    (12, 5): "flags of a meter",
    (12, 8): "bands it does not have",
    (12, 11): "more bands than it has room for, or none",
}
"""What only Open vSwitch refuses, or the pipelining of messages makes the refusal another; the model is told."""


def seeds() -> list[int]:
    """The seeds to play."""
    first, _, last = os.environ.get("VMOC_REPLAY_SEEDS", "0-7").rpartition("-")
    return list(range(int(first or 0), int(last) + 1))


VERSIONS = pytest.mark.parametrize("version", [of.V10, of.V13], ids=["1.0", "1.3"])
ENOUGH: dict[int, dict[str, float]] = {
    of.V10: {"flows": 8, "frame": 40, "packet_in": 15, "error": 20, "stats_reply": 4, "flow_removed": 0.4},
    of.V13: {"flows": 5, "frame": 25, "packet_in": 7, "error": 25, "stats_reply": 1.5, "all_groups": 0.6},
}
"""What there is to be in a script at least, on the average."""
CAUGHT = (("any_vlan", of.V10), ("any_output", of.V13), ("any_in_port", of.V10), ("no_guards", of.V13))
MOST = 4
"""Scripts in which a fault must show."""


class Differs(AssertionError):
    """Open vSwitch and the model are not alike."""


class Play:
    """One script on both."""

    def __init__(self, real: Real, model: Model) -> None:
        self.real = real
        self.model = model
        self.seen: Counter[str] = Counter()
        """How much there was of everything; of what is installed, when frames arrive."""

    def step(self, step: Step) -> None:
        """One step on both, and all that can be seen of it."""
        kind, *arguments = step
        self.injected = kind == "frames"
        self.doubts: dict[bytes, Doubt] = {}
        self.model.doubt()
        getattr(self, f"do_{kind}")(*arguments)
        self.compare()

    def do_say(self, batches: dict[str, list[str]]) -> None:
        raw = {name: [bytes.fromhex(one) for one in batch] for name, batch in batches.items()}
        self.real.say(raw)
        self.heard = self.real.hear()
        for name, messages in raw.items():
            errors: dict[int, list[tuple[int, int]]] = {}
            for _, xid, error in (one for one in self.heard[name].answers if one[0] == "error"):
                errors.setdefault(xid, []).append(error)
            self.model.say(name, messages, errors)

    def do_hang_up(self, name: str) -> None:
        self.both("hang_up", name)

    def do_break(self, name: str, last: str) -> None:
        self.both("hang_up", name, bytes.fromhex(last))

    def do_port(self, reason: str, number: int) -> None:
        self.both("port", reason, number)

    def do_frames(self) -> None:
        frames = [(port, data) for port, data in script.frames() if port in self.real.wires]
        self.real.inject(frames)
        for port, data in frames:
            self.doubts[alike.mark(data)] = self.model.inject(port, data)
        self.heard = self.real.hear()

    def both(self, what: str, *arguments: Any) -> None:
        getattr(self.real, what)(*arguments)
        getattr(self.model, what)(*arguments)
        self.heard = self.real.hear()

    # what must be alike

    def compare(self) -> None:
        """See the module."""
        told = self.model.hear()
        for name in SLICES:
            answers, expected = self.heard[name].answers, told[name].answers
            self.seen.update(kind for kind, _, _ in answers)
            if answers != expected:
                raise Differs(f"{name} heard {sorted(answers - expected)} instead of {sorted(expected - answers)}")
        self.tables()
        self.doubts[b""] = self.model.doubt()
        frames: list[tuple[int, bytes]] = []

        def frames_so_far() -> Counter[Any]:
            frames.extend(self.real.sent())
            return alike.sent(frames)

        left = alike.sent(self.model.sent())
        self.seen["frame"] += left.total()
        self.until("frames", frames_so_far, left)
        for port, data in frames:
            owners = [vlan for vlan, ports in SLICES.values() if port in ports]
            if vlan_of(data) not in owners:
                raise Differs(f"port {port} sent {data.hex()}")
        for name in SLICES:
            self.seen["packet_in"] += told[name].packets.total()
            self.seen["flow_removed"] += told[name].removed.total()
            self.until(f"packet-ins of {name}", partial(self.so_far, name, "packets"), told[name].packets)
            self.until(f"removed flows of {name}", partial(self.so_far, name, "removed"), told[name].removed)

    def so_far(self, name: str, what: str) -> Counter[Any]:
        """What a controller was told in this step."""
        for one, more in self.real.hear().items():
            self.heard[one].removed += more.removed
            self.heard[one].packets += more.packets
        found: Counter[Any] = getattr(self.heard[name], what)
        return found

    def until(self, what: str, so_far: Callable[[], Counter[Any]], expected: Counter[Any]) -> None:
        """What comes by itself comes soon, and nothing else; where there is doubt, not all of it need come."""
        end = time.monotonic() + PATIENCE
        while (lacking := self.lacking(so_far(), expected)) and time.monotonic() < end:
            time.sleep(0.005)
        found = so_far()
        if lacking or self.surplus(found, expected):
            raise Differs(f"{what}:\n{alike.difference(found, expected)}")

    def lacking(self, found: Counter[Any], expected: Counter[Any]) -> bool:
        return any(self.doubt(item) is Doubt.NONE for item in expected - found)

    def surplus(self, found: Counter[Any], expected: Counter[Any]) -> bool:
        return any(self.doubt(item) is not Doubt.ANYTHING for item in found - expected)

    def doubt(self, item: tuple[Any, ...]) -> Doubt:
        """About a frame or packet-in, which end in the frame, or a removed flow."""
        return self.doubts.get(alike.mark(item[-1]), Doubt.NONE) if isinstance(item[-1], bytes) else Doubt.NONE

    def tables(self) -> None:
        """Flows, groups and meters."""
        real, model = self.real.state(), self.model.state()
        for what in ("flows", "all_groups", "all_meters"):
            found, expected = getattr(real, what)(), getattr(model, what)()
            if self.injected:
                self.seen[what] += sum(number for item, number in expected.items() if "proxy" not in item)
            if found != expected:
                raise Differs(f"{what}:\n{alike.difference(found, expected)}")
        for tag, vlans in real.tags().items():
            if tag != alike.PROXY and len(vlans) != 1:
                raise Differs(f"cookies of tag {tag:#x} are in the VLANs {vlans}")


def play(real: Real, seed: int, keep: Path | None = None) -> tuple[str, Play]:
    """A seed's whole script: what differed, if anything did. The steps that led there are kept in a file."""
    version = real.version
    steps, one = script.write(seed, version), Play(real, Model(version))
    wrong = ""
    for number, step in enumerate(steps):
        try:
            one.step(step)
        except Differs as difference:
            wrong = f"seed {seed}, step {number}, {str(step)[:300]}: {difference}"
            if keep is not None:
                keep.write_text(json.dumps(steps[: number + 1]))
            break
    real.close()
    return wrong, one


@pytest.mark.timeout(3600)
@VERSIONS
def test_open_vswitch_does_as_the_model(lab: Lab, version: int) -> None:
    rack = Rack(lab, version, len(seeds()))
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    refused: set[tuple[int, int]] = set()
    for seed in seeds():
        difference, played = play(rack.bridge(), seed, lab.directory / f"steps-{seed}.json")
        wrong += [difference] if difference else []
        seen += played.seen
        refused |= played.model.switch.refused.keys()
    assert not wrong, "\n\n".join(wrong)
    assert refused <= OVS_REFUSES.keys(), refused - OVS_REFUSES.keys()
    lacking = {what: seen[what] for what, least in ENOUGH[version].items() if seen[what] < least * len(seeds())}
    assert not lacking, f"too little happened: {lacking}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("fault", "version"), CAUGHT, ids=[fault for fault, _ in CAUGHT])
def test_a_vmoc_that_forgets_a_check_is_found_out(lab: Lab, fault: str, version: int) -> None:
    lab.program = ["env", "VMOC_PURE=1", sys.executable, "-m", "tests.ovs.replay.broken", fault]
    rack = Rack(lab, version, MOST)
    assert any(play(rack.bridge(), seed)[0] for seed in range(MOST))


def test_every_fault_is_tried() -> None:
    assert {fault for fault, _ in CAUGHT} == set(FAULTS)
