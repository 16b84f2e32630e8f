"""kill -9 of the service in the middle of a create: afterwards nothing of it is left, and the next life says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from am_bridge.handlers.ansible import run_folder
from am_bridge.handlers.decode import encode
from am_bridge.handlers.handler import FailureKind
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.operations import OperationState
from am_bridge.handlers.processor import Processor
from am_bridge.handlers.spec import PublishedPort
from am_bridge.handlers.subtree import find_marked
from tests.ovs.handlers.backend import BackEnd

ROOT = Path(__file__).resolve().parents[3]
SERVICE = """
import json, sys
from pathlib import Path
from am_bridge.handlers.catalogue_file import read_catalogue
from am_bridge.handlers.journal import SqliteJournal
from am_bridge.handlers.processor import Processor
folder, document = Path(sys.argv[1]), json.loads(sys.argv[2])
processor = Processor(read_catalogue(folder / "handlers.yaml"), SqliteJournal(folder / "journal.db"))
processor.start()
print(processor.create(document).id, flush=True)
sys.stdin.read()
"""


def test_a_create_that_was_running_is_undone(backend: BackEnd) -> None:
    spec = backend.spec("crash")
    inside = backend.place("began")
    hang = f"(setsid sh -c \"trap '' TERM; sleep 300\" &); touch {inside}; sleep 300"
    spec = replace(spec, commands=(hang,), published_ports=(PublishedPort(22),))
    command = [sys.executable, "-c", SERVICE, str(backend.folder), json.dumps(encode(spec))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment) as service:
        assert service.stdout is not None
        name = service.stdout.readline().strip()
        deadline = time.monotonic() + 200
        while backend.read(spec, "began") is None:
            assert time.monotonic() < deadline and service.poll() is None
            time.sleep(0.01)
        service.kill()
    next_life = Processor(backend.catalogue, SqliteJournal(backend.folder / "journal.db"))
    next_life.start()
    ended = next_life.wait(name, 200)
    next_life.close()
    assert ended.state is OperationState.ABORTED
    assert ended.failure is not None and ended.failure.kind is FailureKind.RESTARTED
    assert next_life.slivers() == [] and backend.traces() == []
    assert find_marked(name) == [] and list(run_folder().glob(f"vmoc-run-{name}-*")) == []
