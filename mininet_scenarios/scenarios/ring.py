"""Four switches in a ring: broadcasts must not circle, and a broken cable must not part the slice."""

from mininet_scenarios.network import Drawing
from mininet_scenarios.pings import counted
from mininet_scenarios.processes import wait_until
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

GREEN = 103
DRAWING = Drawing(
    {f"s{n}": n for n in range(1, 5)},
    {f"g{n}": (f"s{n}", GREEN) for n in range(1, 5)},
    [("s1", "s2"), ("s2", "s3"), ("s3", "s4"), ("s4", "s1")],
)


def tell(story: Story) -> None:
    """The default controller ends copies at once and opens the ring; the open place closes when a cable breaks."""
    with Stage(story, DRAWING, [segment("green", GREEN)]) as stage:
        network = stage.network
        stage.wait_for_control(GREEN)
        pairs = network.neighbours(GREEN)
        wait_until(lambda: _all(stage, pairs), "every host to reach every other", timeout=30)
        wait_until(lambda: "blocked by the spanning tree: [" in stage.vmoc.output(), "a port to be blocked", timeout=15)
        wait_until(lambda: _all(stage, pairs), "every host to reach every other again", timeout=30)
        stage.all_reach_all("Every host reaches every other around the ring", GREEN)
        before = _carried(stage)
        ping = stage.steady("g1", "g3")
        stage.none_lost("A ping to the other side loses nothing", ping)
        carried = _carried(stage) - before
        story.check("Nothing storms", f"{carried} frames over the ring's cables meanwhile", carried < 2000)
        used = next(cable for cable in DRAWING.cables if _is_used(stage, cable))
        network.cut(*used)
        story.tell(f"The cable between {used[0]} and {used[1]} is pulled.")
        wait_until(lambda: _all(stage, pairs), "the other way to be taken", timeout=30)
        stage.all_reach_all("With a cable pulled every host still reaches every other", GREEN)
        network.mend(*used)
        wait_until(lambda: _all(stage, pairs), "the ring to be as before", timeout=30)
        stage.all_reach_all("And when it is put in again", GREEN)


def _all(stage: Stage, pairs: list[tuple[str, str]]) -> bool:
    answered, sent = counted(stage.network.ping(pairs, count=1, wait=1.0))
    return answered == sent


def _carried(stage: Stage) -> int:
    """Packets that all ports of the ring have sent."""
    total = 0
    for switch in DRAWING.switches:
        for line in stage.ovs.ofctl("dump-ports", switch).splitlines():
            if "tx pkts=" in line:
                total += int(line.split("tx pkts=")[1].split(",")[0])
    return total


def _is_used(stage: Stage, cable: tuple[str, str]) -> bool:
    """Whether flows of both ends send to the cable's ports."""
    ports = {cable: (at, port) for cable, *(at, port) in _ends()}
    at, port = ports[cable]
    return any(f"output:{port}" in flow for flow in stage.network.flows(GREEN)[at])


def _ends() -> list[tuple[tuple[str, str], str, int]]:
    found = []
    last = dict.fromkeys(DRAWING.switches, 1)
    for cable in DRAWING.cables:
        for end in cable:
            last[end] += 1
        found.append((cable, cable[0], last[cable[0]]))
    return found
