"""One slice's hosts send as many new flows as they can; the other slice pings on."""

import sys

from mininet_scenarios.network import Drawing
from mininet_scenarios.processes import Process
from mininet_scenarios.scenarios.stage import Stage, segment
from mininet_scenarios.story import Story

LOUD, QUIET = 101, 102
DRAWING = Drawing(
    {"s1": 1, "s2": 2},
    {"l1": ("s1", LOUD), "l2": ("s2", LOUD), "q1": ("s1", QUIET), "q2": ("s2", QUIET)},
    [("s1", "s2")],
)
FLOOD = """
import itertools, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
for number in itertools.count():
    wire.send(b"\\xff" * 6 + b"\\x06" + number.to_bytes(5, "big") + b"\\x88\\xb5" + bytes(46))
"""


def tell(story: Story) -> None:
    """Every frame of the loud slice is from a new station and goes to its controller."""
    slices = [segment("loud", LOUD, packet_in_rate=500), segment("quiet", QUIET)]
    with Stage(story, DRAWING, slices) as stage:
        stage.wait_for_control(LOUD)
        stage.wait_for_control(QUIET)
        stage.all_reach_all("The quiet slice works", QUIET)
        device = stage.network.net["l1"].defaultIntf().name
        noise = Process(
            "noise", stage.network.command("l1", sys.executable, "-c", FLOOD, device), log=stage.ovs.directory / "noise"
        )
        story.tell("The loud slice's host sends frames from ever new addresses, without a pause.")
        ping = stage.steady("q1", "q2")
        stage.none_lost("The quiet slice's ping loses nothing", ping)
        stage.all_reach_all("And its hosts find each other anew", QUIET)
        alive = noise.alive
        noise.stop()
        story.check("The noise went on all the time", "yes" if alive else noise.output()[-200:], alive)
