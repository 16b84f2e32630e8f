"""A VLAN goes from one slice to another: nothing of the first one is left for the second."""

import contextlib

from mininet_scenarios.network import Drawing
from mininet_scenarios.processes import WaitedTooLongError, wait_until
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

SHARED, OTHER = 101, 102
DRAWING = Drawing(
    {"s1": 1, "s2": 2},
    {"h1": ("s1", SHARED), "h2": ("s2", SHARED), "o1": ("s1", OTHER), "o2": ("s2", OTHER)},
    [("s1", "s2")],
)


def tell(story: Story) -> None:
    """The old slice's flows are gone from every switch before the new one's controller sees it."""
    other = segment("other", OTHER)
    with Stage(story, DRAWING, [segment("old", SHARED, own=True), other]) as stage:
        old = stage.start_controller()
        stage.wait_for_control(SHARED)
        stage.wait_for_control(OTHER)
        stage.all_reach_all("The old slice works", SHARED)
        left = sum(map(len, stage.network.flows(SHARED).values()))
        story.check("It has flows on the switches", f"{left} flows", left > 0)
        ping = stage.steady("o1", "o2")
        stage.reload(other)
        with contextlib.suppress(WaitedTooLongError):
            wait_until(lambda: not any(stage.network.flows(SHARED).values()), "the old slice's flows to go", timeout=15)
        left = sum(map(len, stage.network.flows(SHARED).values()))
        story.check("When it is removed none of them stays", f"{left} flows", left == 0)
        old.stop()
        stage.reload(segment("new", SHARED), other)
        stage.wait_for_control(SHARED)
        stage.all_reach_all("The new slice works in the same VLAN", SHARED)
        stage.none_lost("A slice beside it lost no ping", ping)
