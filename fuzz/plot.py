"""Episodes: made from a seed, played, and made smaller."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from fuzz import grammar
from fuzz.grammar import Speaker, mark_of
from fuzz.mutate import mutate
from fuzz.watch import Hang
from fuzz.world import Operation, Slow, World

NAMES: Final = ("alice", "bob", "tina", "uma")
VLANS: Final = (100, 200, 300, 400, 500)
STEPS: Final = 120
_TRIES: Final = 3
"""How often a slow call is measured before it counts."""


@dataclass
class Episode:
    """A setting and what happens in it."""

    setting: dict[str, Any]
    operations: list[Operation] = field(default_factory=list)

    def save(self, path: Path, failure: str = "") -> None:
        """Write it as JSON."""
        lines = ",\n  ".join(json.dumps(operation) for operation in self.operations)
        head = json.dumps({"failure": failure[:2000], "setting": self.setting})
        path.write_text(f'{head[:-1]}, "operations": [\n  {lines}\n]}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Episode:
        """Read what ``save`` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(found["setting"], found["operations"])


@dataclass
class Result:
    """How an episode went."""

    failure: str = ""
    step: int = -1
    calls: int = 0
    slowest: float = 0.0
    weight: int = 0
    kind: str = ""


# -- making one ------------------------------------------------------------------------------------


class Writer:
    """Writes an episode."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.versions = [random.choice((1, 4)) for _ in range(3)]
        self.vlans = dict(zip(NAMES, VLANS, strict=False))
        self.tap = random.random() < 0.3
        self.hostile = random.random() < 0.5
        policy = {
            "qinq": random.random() < 0.3,
            "mpls": random.random() < 0.3,
            "pcp": random.choice(("pass", "pass", "reject")),
            "buffers": random.choice(("none", "none", "pool:4")),
            "port_counters": random.choice(("auto", "hidden", "real")),
            "foreign_flows": random.choice(("delete", "delete", "keep")),
            "max_tables": random.choice((254, 254, 2)),
            "pipeline": random.choice(("direct", "direct", "admission")),
        }
        policy["vlan_port_sharing"] = policy["pipeline"] == "admission" and random.random() < 0.6
        self.sharing: bool = policy["vlan_port_sharing"]
        self.journal = random.random() < 0.4
        self.setting = {
            "seed": seed,
            "journal": self.journal,
            "hostile": self.hostile,
            "policy": policy,
            "tap": self.tap,
            "audit": random.choice((60.0, 60.0, 0, 2.0)),
            "slices": self.slices(),
        }

    def slices(self) -> list[dict[str, Any]]:
        random = self.random
        if random.random() < 0.3 or len(set(self.vlans.values())) < len(self.vlans):  # VLANs change hands
            self.vlans = dict(zip(NAMES, random.sample(VLANS, 4), strict=True))
        names = [name for name in NAMES if random.random() < 0.9] or ["alice"]
        made = []
        for name in names:
            spec: dict[str, Any] = {"name": name, "vlan": self.vlans[name]}
            if random.random() < 0.75:
                spec["dpids"] = random.choice(([0xAA], [0xAA, 0xBB], [0xAA, 0xBB, 0xCC]))
                if random.random() < 0.85:
                    spec["ports"] = sorted(
                        random.sample((1, 2, 3, 4, 5, 6, 7, 0xFFFFFFFE), random.choice((1, 3, 3, 5)))
                    )
            if name in ("tina", "uma") or random.random() < 0.1:
                spec["presentation"] = "transparent"
            if random.random() < 0.3:
                spec["controllers"] = 2
            if random.random() < 0.1:
                spec["default"] = True
            if random.random() < 0.05:
                spec["enabled"] = False
            spec["fail_mode"] = random.choice(("secure", "secure", "flush", "standalone"))
            if random.random() < 0.3:
                spec["limits"] = [random.choice((0, 3, 1000)), random.choice((0, 2)), random.choice((0, 1)),
                                  random.choice((0, 5, 500)), random.choice((0, 5)), random.choice((0, 5, 1000)),
                                  random.choice((0, 5)), random.choice((0, 5))]  # fmt: skip
            made.append(spec)
        if self.sharing and len(made) > 1 and random.random() < 0.8:
            self._share(*random.sample(made, 2))
        self.specs = {spec["name"]: spec for spec in made}
        return made

    def _share(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        """Two slices have one VLAN, with different ports."""
        ports = self.random.sample((1, 2, 3, 4, 5, 6), 6)
        for spec, own in ((one, ports[:3]), (other, ports[3 : self.random.choice((4, 6))])):
            spec["vlan"] = self.vlans[spec["name"]] = one["vlan"]
            spec["ports"] = sorted(own)
            spec.pop("default", None)
            spec.setdefault("dpids", [0xAA])

    def speaker(self, owner: str, version: int) -> Speaker:
        by = Speaker(self.random, version, mark_of(owner), self.vlans.get(owner, 100))
        spec = self.specs.get(owner)
        if spec is not None:
            by.politeness = 0.5
            by.hidden = spec.get("presentation") == "transparent"
            by.ports = [port for port in spec.get("ports", grammar.PORTS) if port < 7] or grammar.PORTS
        return by

    def _hexed(self, by: Speaker, side: list[tuple[int, grammar.Maker]], damage: float) -> str:
        made = grammar.make(by, side)
        if self.random.random() < damage:
            made = mutate(made, self.random, grammar.make(by, side) if self.random.random() < 0.3 else b"")
        return made.hex()

    def north(self) -> Operation:
        random, owner = self.random, self.random.choice(NAMES)
        which = random.randrange(4)
        version = self.versions[0] if random.random() < 0.9 else random.choice((1, 4))
        by = self.speaker(owner, version)
        side = grammar.CONTROLLER[version]
        many = random.choice((1, 1, 1, 2, 5, 20))
        damage = random.choice((0.0, 0.2, 0.5, 0.9))
        data = "".join(self._hexed(by, side, damage) for _ in range(many))
        repeat = 1 if random.random() < 0.95 else random.choice((3, 40, 1000))
        repeat = max(1, min(repeat, 65536 // max(1, len(data) // 2)))
        return ["north", owner, which, data, repeat, random.choice((0, 0, 0, 1, 7, 100))]

    def south(self) -> Operation:
        random = self.random
        which = random.randrange(3)
        by = self.speaker("none", self.versions[0] if random.random() < 0.8 else random.choice((1, 4)))
        by.own = random.choice(VLANS)
        many = random.choice((1, 1, 3))
        damage = random.choice((0.0, 0.0, 0.3, 0.8))
        data = "".join(self._hexed(by, grammar.SWITCH, damage) for _ in range(many))
        repeat = 1 if random.random() < 0.95 else random.choice((3, 100))
        repeat = max(1, min(repeat, 65536 // max(1, len(data) // 2)))
        return ["south", which, data, random.choice((-1, 0, 0, 0, 1, 5)), repeat]

    def frame(self) -> Operation:
        random = self.random
        vlan = random.choice((*VLANS, 999, 1, None))
        return [
            "frame",
            random.randrange(3),
            random.choice(grammar.PORTS),
            vlan or 0,
            grammar.frame(random, vlan).hex(),
        ]

    def operator(self) -> Operation:
        by = self.speaker("none", self.versions[0])
        return ["operator", self.random.randrange(3), self._hexed(by, grammar.CONTROLLER[by.version], 0.4)]

    def operation(self) -> Operation:
        """What happens next."""
        random = self.random
        draw = random.random()
        if draw < 0.55:
            return self.north()
        if draw < 0.62:
            return self.frame()
        if draw < 0.70:
            return ["advance", random.choice((0.001, 0.05, 0.3, 1.1, 1.1, 6.0, 16.0, 35.0, 70.0))]
        if draw < 0.73:
            return ["adopt", self.slices()]
        if draw < 0.76:
            reason = random.choice(("add", "modify", "delete", "add"))
            return ["port", random.randrange(3), reason, random.choice((1, 2, 3, 6, 7, 8)), random.choice((0, 1)), 0]
        if draw < 0.78:
            return ["hang_up", random.choice(("south", "north")), random.choice(NAMES), random.randrange(4)]
        if draw < 0.81:
            return self.connect(random.randrange(3))
        if draw < 0.83:
            return ["expire", random.randrange(3), random.randrange(8)]
        if draw < 0.86:
            side = random.choice(("south", "north"))
            return ["congest", side, random.choice(NAMES), random.randrange(4), random.random() < 0.5]
        if draw < 0.87:
            return ["dial", random.choice((True, True, None, False))]
        if draw < 0.88:
            return ["greet", random.random() < 0.8]
        if self.journal and draw < 0.885:
            return ["restart", random.choice(("", "", "before", "after"))]
        if draw < 0.89:
            return ["jump", random.choice((0.5, 20.0, 200.0, 1e6))]
        if self.tap and draw < 0.93:
            return self.operator()
        if not self.hostile:
            return self.north()
        if draw < 0.96:
            return self.south()
        if draw < 0.98:
            return ["garble", random.randrange(3), random.getrandbits(32), random.choice((1, 3, 30))]
        return ["mute", random.randrange(3), random.random() < 0.5]

    def connect(self, which: int) -> Operation:
        garbles = self.random.choice((0, 0, 1, 5)) if self.hostile else 0
        return ["connect", which, self.versions[which], self.random.getrandbits(32), garbles]

    def episode(self, steps: int) -> Episode:
        """A whole one."""
        operations = [self.connect(0)]
        if self.random.random() < 0.3:
            operations.append(self.connect(self.random.choice((1, 2))))
        operations += [self.operation() for _ in range(steps)]
        # In the end everybody is well again: what is left over must be right.
        operations += [["recover"], ["advance", 40.0], ["advance", 70.0]]
        if self.random.random() < 0.2:
            operations.append(["drain"])
        return Episode(self.setting, operations)


def write(seed: int, steps: int = STEPS) -> Episode:
    """The episode of a seed."""
    return Writer(seed).episode(steps)


# -- playing it ------------------------------------------------------------------------------------


def play(episode: Episode) -> Result:
    """Play it; a call that was too slow is believed only when it is so each time."""
    result = _play(episode)
    for _ in range(_TRIES - 1):
        if result.kind != "Slow":
            break
        gc.collect()
        result = _play(episode)
    return result


def _play(episode: Episode) -> Result:
    world: World | None = None
    step = -1
    try:
        world = World(episode.setting)
        for step, operation in enumerate(episode.operations):
            world.step = step
            world.play(operation)
            world.inspect()
            if step % 100 == 99:
                world.weigh()
        heavy = world.weigh()
        return Result("", step, world.calls, world.slowest, heavy)
    except Slow as slow:
        return Result(str(slow), slow.at, world.calls if world else 0, slow.seconds, 0, "Slow")
    except (Exception, Hang) as problem:
        where = _where(problem)
        text = f"{type(problem).__name__}: {problem} ({where})"
        return Result(text, step, world.calls if world else 0, 0.0, 0, f"{type(problem).__name__} {where}")


def _where(problem: BaseException) -> str:
    """The last lines of ours it passed through."""
    places = []
    trace = problem.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/vmoc/" in name or "/fuzz/" in name:
            places.append(f"{name.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-4:]))


# -- making it smaller -----------------------------------------------------------------------------


def shrink(episode: Episode, result: Result, budget: int = 300) -> Episode:
    """Leave out what does not matter for the same kind of failure, in at most ``budget`` plays."""
    best = Episode(episode.setting, episode.operations[: result.step + 1])
    size = max(len(best.operations) // 2, 1)
    while budget > 0:
        at, shorter = 0, False
        while at < len(best.operations) and budget > 0:
            candidate = Episode(best.setting, best.operations[:at] + best.operations[at + size :])
            budget -= 1
            if _play(candidate).kind == result.kind:
                best, shorter = candidate, True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = max(size // 2, 1)
    return best
