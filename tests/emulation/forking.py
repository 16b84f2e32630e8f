"""The process that a nursery's children are forks of.

It has one thread, has imported the service and has run nothing of it. A child
gets the caller's arguments, environment, folder, output and network namespace,
and a session of its own; then it runs ``vmoc``'s ``main`` as the program would.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any, Final

IMPORTED: Final = (
    "uvloop",
    "vmoc.apps.multiplexer",
    "vmoc.cli.program",
    "vmoc.cli.run",
    "vmoc.config",
    "vmoc.daemon.api",
    "vmoc.daemon.compute",
    "vmoc.daemon.service",
    "vmoc.daemon.workers.crew",
    "vmoc.telemetry.logs",
)
MOST: Final = 1 << 17
"""Bytes of a request: mostly the environment."""
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1


def serve(end: socket.socket) -> None:
    """Fork until nobody asks any more, which ends the process; returns in each child, set up."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(end, 2 * MOST, 2)
        if not data:
            sys.exit()
        words = json.loads(data)
        if "reap" in words:
            answer = os.waitstatus_to_exitcode(os.waitpid(words["reap"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                end.close()
                _become(words, *descriptors)
                return
        for descriptor in descriptors:
            os.close(descriptor)
        end.send(str(answer).encode())


def _enter(network: int) -> None:
    """Have a network namespace; to stay in one needs no right."""
    if os.fstat(network).st_ino != os.stat("/proc/self/ns/net").st_ino:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(network, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def _become(words: dict[str, Any], output: int, network: int) -> None:
    """Be what was asked for."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _enter(network)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 1024)
    os.chdir(words["cwd"])
    os.environ.clear()
    os.environ.update(words["env"])
    sys.argv[:] = words["argv"]


def main(end: int, network: int) -> None:
    """Import, fork; in each child run ``vmoc``, and end with its exit code."""
    _enter(network)
    os.environ["GRPC_VERBOSITY"] = "NONE"  # as the program does before it imports that
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # its pages stay shared
    assert len(os.listdir("/proc/self/task")) == 1, "a fork would lose threads"
    serve(socket.socket(fileno=end))
    from vmoc.cli import main as vmoc

    sys.exit(vmoc())
