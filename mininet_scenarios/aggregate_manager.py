"""An aggregate manager: a JSON file says which slices there shall be, and it keeps VMOC so.

``python -m mininet_scenarios.aggregate_manager FILE [ADDRESS]``, where FILE is ``{"exp-1": {"vlan": 101, "controller":
"127.0.0.1:6640"}, ...}``. It may be started before VMOC and after it, and killed at any time. What happens is one JSON
object a line on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from am_bridge.channel import DEFAULT_ADDRESS
from am_bridge.client import (
    ClientError,
    Connected,
    Done,
    Drifted,
    Endpoint,
    Event,
    Failed,
    Report,
    Segment,
    Slice,
    Trouble,
    VmocClient,
)

MANAGER = "example"
LOOK = 0.1
"""Seconds between two looks at the file."""


def read(file: Path) -> dict[str, Slice]:
    """What shall be, by id."""
    return {
        name: Slice(name, (Segment(one["vlan"], (_endpoint(one["controller"]),)),), manager=MANAGER)
        for name, one in json.loads(file.read_text()).items()
    }


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint("tcp", host, int(port))


def say(what: str, **more: object) -> None:
    """One line of output."""
    print(json.dumps({"what": what} | more), flush=True)


def report(happened: Report) -> None:
    """What the client tells of its work."""
    match happened:
        case Done(slice_id, None):
            say("removed", slice=slice_id)
        case Done(slice_id):
            say("made", slice=slice_id)
        case Failed(slice_id, error):
            say("refused", slice=slice_id, reason=error.reason)
        case Drifted(slice_id, kind):
            say("drifted", slice=slice_id, kind=str(kind))
        case Connected(_, restarted):
            say("connected", restarted=restarted)
        case Trouble(error):
            say("trouble", error=error.message)


async def tell_events(vmoc: VmocClient) -> None:
    """News of controllers: an AM would show its experimenters theirs."""
    with contextlib.suppress(ClientError):
        async for event in vmoc.events(kinds=("controller-connection",)):
            if isinstance(event, Event):
                say(event.name, slice=event.slice_id)


async def keep(file: Path, address: str) -> None:
    """For ever."""
    known = read(file)
    async with VmocClient(address, manager=MANAGER, desired=known.values(), on_report=report, longest_wait=1.0) as vmoc:
        events = asyncio.create_task(tell_events(vmoc))
        await vmoc.settled()
        say("settled")
        while not events.cancelled():
            await asyncio.sleep(LOOK)
            wanted = read(file)
            for name in known.keys() - wanted.keys():
                vmoc.remove(name)
            for name, one in wanted.items():
                if known.get(name) != one:
                    vmoc.put(one)
            known = wanted


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(keep(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else DEFAULT_ADDRESS))
