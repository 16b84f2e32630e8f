"""What every measurement through a running VMOC stands on: its slices, its process, and load in the background."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import tools
from tests.emulation.process import VmocProcess, family

VLANS: Final = ("101", "102")
LIMITS: Final = (
    "max_flows",
    "max_groups",
    "max_meters",
    "flow_mod_rate",
    "packet_out_rate",
    "packet_in_rate",
    "stats_rate",
    "barrier_rate",
)
UNLIMITED: Final = dict.fromkeys(LIMITS, 0)


def a_slice(
    name: str,
    vlans: Iterable[int],
    port: int,
    *,
    limits: Mapping[str, int] = UNLIMITED,
    dpids: Sequence[int] = (),
    presentation: str = "tagged",
) -> dict[str, Any]:
    """A slice of the configuration, its one controller on this machine; on every switch, or on those of ``dpids``."""
    common: dict[str, Any] = {"controllers": [f"tcp:127.0.0.1:{port}"], "presentation": presentation}
    if dpids:
        common["attachments"] = [{"dpid": dpid} for dpid in dpids]
    return {"id": name, "limits": dict(limits), "segments": [{"vlan": vlan} | common for vlan in vlans]}


def two_slices(ports: Sequence[int], dpids: Sequence[int] = ()) -> list[dict[str, Any]]:
    """One of each of ``VLANS``."""
    return [a_slice(f"bench-{vlan}", [int(vlan)], port, dpids=dpids) for vlan, port in zip(VLANS, ports, strict=True)]


@contextlib.contextmanager
def running(
    slices: Sequence[Mapping[str, Any]],
    version: str,
    *,
    folder: Path | None = None,
    options: Sequence[str] = (),
    **configuration: Any,
) -> Iterator[VmocProcess]:
    """``vmoc run`` with its state in ``folder``, or in one that is gone afterwards. Raises ``ToolError``."""
    with tempfile.TemporaryDirectory(prefix="vmoc-bench-") as name:
        place = folder or Path(name)
        config = {"slices": list(slices), "state": {"path": str(place / "state.db")}} | configuration
        vmoc = VmocProcess(place, config, options=tuple(options))
        vmoc.config["openflow"]["versions"] = [float(version)]
        try:
            vmoc.start(60)
            vmoc.wait_log("VMOC has started", 30)
            yield vmoc
        except AssertionError as error:
            raise tools.ToolError(str(error)) from None
        finally:
            vmoc.stop()


def place(pids: Iterable[int], cpu: int) -> None:
    """Put every thread that they have now on that CPU."""
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):  # threads come and go
                os.sched_setaffinity(int(task), {cpu})


class Background:
    """Paced packet-ins of ``VLANS`` while something else happens."""

    def __init__(
        self,
        vmoc: VmocProcess,
        controllers: tools.Controllers,
        *,
        seconds: float,
        rate: float,
        version: str = "1.3",
        switches: int = 1,
    ) -> None:
        self._report: dict[str, Any] = {}
        self._failed: tools.ToolError | None = None
        self._arguments: dict[str, Any] = {
            "version": version,
            "count": switches,
            "seconds": seconds,
            "runs": 1,
            "rate": rate,
            "measured": family(vmoc.pid),
            "load": [controllers.pid],
        }
        self._port = vmoc.port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._report = tools.switches(self._port, **self._arguments)
        except tools.ToolError as error:
            self._failed = error

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def wait(self) -> dict[str, Any]:
        """The figures of its one run, ``cross`` from its first packet-in on. Raises ``ToolError``."""
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        run: dict[str, Any] = self._report["runs"][0]
        return run | {"cross": run["cross"] + self._report["early_cross"]}
