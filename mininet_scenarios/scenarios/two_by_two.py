"""Two edge switches under one at the top; one slice with a controller of its own, one with the default."""

from mininet_scenarios.network import Drawing
from mininet_scenarios.processes import wait_until
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

RED, BLUE = 101, 102
DRAWING = Drawing(
    {"top": 1, "left": 2, "right": 3},
    {"r1": ("left", RED), "r2": ("right", RED), "b1": ("left", BLUE), "b2": ("right", BLUE)},
    [("top", "left"), ("top", "right")],
)


def tell(story: Story) -> None:
    """Both slices span three switches; one that is in nobody's slice gets nowhere."""
    with Stage(story, DRAWING, [segment("red", RED, own=True), segment("blue", BLUE)]) as stage:
        stage.start_controller()
        stage.wait_for_control(RED)
        stage.wait_for_control(BLUE)
        stage.all_reach_all("Red, with its own controller, across three switches", RED)
        stage.all_reach_all("Blue, with the default controller, across the same three", BLUE)
        stage.reload(segment("red", RED, own=True))
        wait_until(lambda: not any(stage.network.flows(BLUE).values()), "blue's flows to go", timeout=15)
        stage.nobody_reaches("Blue is taken out: nobody there reaches anybody", [("b1", "b2"), ("b2", "b1")])
        stage.all_reach_all("Red has noticed nothing", RED)
