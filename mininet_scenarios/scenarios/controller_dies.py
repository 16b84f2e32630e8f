"""A controller is killed and comes back; then VMOC itself is."""

from mininet_scenarios.network import Drawing
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

RED, BLUE = 101, 102
DRAWING = Drawing(
    {"s1": 1, "s2": 2},
    {"r1": ("s1", RED), "r2": ("s2", RED), "b1": ("s1", BLUE), "b2": ("s2", BLUE)},
    [("s1", "s2")],
)


def tell(story: Story) -> None:
    """Only the slice whose controller died is without one, and only until it is back."""
    with Stage(story, DRAWING, [segment("red", RED, own=True), segment("blue", BLUE)]) as stage:
        controller = stage.start_controller()
        stage.wait_for_control(RED)
        stage.wait_for_control(BLUE)
        stage.all_reach_all("Red works", RED)
        ping = stage.steady("b1", "b2")
        controller.kill()
        story.tell("kill -9 for red's controller.")
        stage.none_lost("Blue lost no ping", ping)
        stage.start_controller()
        stage.wait_for_control(RED)
        stage.all_reach_all("Red works again with its controller", RED)
        stage.vmoc.kill()
        story.tell("kill -9 for VMOC.")
        stage.vmoc.start()
        stage.ovs.wait_connected(*DRAWING.switches)
        stage.wait_for_control(RED)
        stage.wait_for_control(BLUE)
        stage.all_reach_all("Red works again after VMOC's restart", RED)
        stage.all_reach_all("So does blue", BLUE)
