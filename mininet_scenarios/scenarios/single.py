"""One switch, two slices, and the default controller for both."""

from mininet_scenarios.network import Drawing
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

RED, BLUE = 101, 102
DRAWING = Drawing({"s1": 1}, {"r1": ("s1", RED), "r2": ("s1", RED), "b1": ("s1", BLUE), "b2": ("s1", BLUE)})


def tell(story: Story) -> None:
    """Hosts of a slice on one compute node reach each other there; what VMOC sees stays apart."""
    with Stage(story, DRAWING, [segment("red", RED), segment("blue", BLUE)]) as stage:
        stage.wait_for_control(RED)
        stage.all_reach_all("Every host of red reaches every other", RED)
        stage.all_reach_all("So do those of blue, at the same addresses", BLUE)
        stage.reload(segment("blue", BLUE))
        stage.all_reach_all("Blue goes on when red is gone", BLUE)
