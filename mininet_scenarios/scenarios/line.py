"""Eight switches in a row, the longest way a frame goes."""

from mininet_scenarios.network import Drawing
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

RED, BLUE = 101, 102
DRAWING = Drawing(
    {f"s{n}": n for n in range(1, 9)},
    {"r1": ("s1", RED), "r2": ("s8", RED), "b1": ("s1", BLUE), "b2": ("s4", BLUE)},
    [(f"s{n}", f"s{n + 1}") for n in range(1, 8)],
)


def tell(story: Story) -> None:
    """End to end, with nothing lost once the way is known."""
    with Stage(story, DRAWING, [segment("red", RED, own=True), segment("blue", BLUE)]) as stage:
        stage.start_controller()
        stage.wait_for_control(RED)
        stage.wait_for_control(BLUE)
        stage.all_reach_all("End to end over eight switches, by a controller of its own", RED)
        stage.all_reach_all("Half the way, by the default one", BLUE)
        stage.none_lost("A ping that goes on loses nothing", stage.steady("r1", "r2"))
