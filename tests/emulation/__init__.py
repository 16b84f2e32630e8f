"""OpenFlow peers for tests: a switch, a controller and a running VMOC, over real sockets.

Written from the OpenFlow 1.0.1 and 1.3.5 texts with ``struct`` only. Nothing
here imports ``vmoc.openflow``, so that what VMOC puts on the wire is read by
a second, independent pair of eyes.
"""

from tests.emulation.controller import Connection, EmulatedController
from tests.emulation.frames import E, frame_fields
from tests.emulation.process import VmocProcess, free_port
from tests.emulation.switch import EmulatedSwitch
from tests.emulation.waiting import wait_until

__all__ = [
    "Connection",
    "E",
    "EmulatedController",
    "EmulatedSwitch",
    "VmocProcess",
    "frame_fields",
    "free_port",
    "wait_until",
]
