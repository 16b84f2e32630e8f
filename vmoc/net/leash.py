"""Runs a program that ends when its parent does, even a parent killed outright.

``python -m vmoc.net.leash MODULE:FUNCTION [ARGUMENT...]`` calls FUNCTION with
``sys.argv`` set. The parent holds the other end of our standard input; when
that pipe closes, this process and its process group are killed. (A death
signal from the kernel would follow the parent's *thread*, and Linux only.)
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading


def watch(descriptor: int) -> None:
    """Block until ``descriptor`` is at its end, then kill this process, and its group if it leads one."""
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Take the arguments described above."""
    if len(sys.argv) < 2 or ":" not in sys.argv[1]:
        sys.exit("usage: python -m vmoc.net.leash MODULE:FUNCTION [ARGUMENT...]")
    module, _, function = sys.argv[1].partition(":")
    held = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=watch, args=(held,), name="leash", daemon=True).start()
    sys.argv = ["vmoc", *sys.argv[2:]]
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    main()
