"""What measurements of the API stand on: a client, figures and what they are meant to be, and their table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from rich.table import Table

from am_bridge.channel import open_channel
from am_bridge.convert import slice_message
from bench import report, tools
from tests.emulation.process import VmocProcess
from vmoc.model import Slice
from vmoc.v1 import resources_pb2, server_pb2, server_pb2_grpc, slices_pb2, slices_pb2_grpc


@dataclass(frozen=True)
class Figure:
    """One line of the table; ``most`` and ``least`` are what it is meant to be."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def held(self) -> bool | None:
        """Whether it is as it is meant to be; None if nothing is."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value < self.most) and (self.least is None or self.value >= self.least)


class Caller:
    """The client: blocking calls on one channel."""

    def __init__(self, vmoc: VmocProcess) -> None:
        self.address: str = vmoc.config["grpc"]["listen"]
        self._channel = open_channel(self.address)
        self._slices: Any = slices_pb2_grpc.SliceServiceStub(self._channel)
        self._server: Any = server_pb2_grpc.ServerServiceStub(self._channel)
        self._asked = 0

    def close(self) -> None:
        self._channel.close()

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the server says that it is at work."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                info = self._server.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=1)
            except grpc.RpcError:
                time.sleep(0.02)
                continue
            if info.state in (server_pb2.SERVER_STATE_READY, server_pb2.SERVER_STATE_DEGRADED):
                return
            time.sleep(0.02)
        raise tools.ToolError("VMOC did not answer over gRPC.")

    def batch(self, slices: Sequence[Slice]) -> float:
        """Seconds that registering them took, all in one call."""
        begun = time.perf_counter()
        self._asked += 1
        request = slices_pb2.BatchRegisterSlicesRequest(
            slices=[slice_message(one) for one in slices], request_id=f"bench-{self._asked}"
        )
        self._slices.BatchRegisterSlices(request, timeout=120)
        return time.perf_counter() - begun

    def one(self, one: Slice) -> None:
        """Register one."""
        self._asked += 1
        request = slices_pb2.RegisterSliceRequest(slice=slice_message(one), request_id=f"bench-{self._asked}")
        self._slices.RegisterSlice(request, timeout=30)

    def datapaths(self) -> int:
        """How many virtual datapaths there are."""
        info = self._server.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=30)
        return int(info.counts.virtual_datapath_count)

    def count(self) -> int:
        """How many slices there are, page by page."""
        request, found = slices_pb2.ListSlicesRequest(page_size=1000, origin=resources_pb2.SLICE_ORIGIN_API), 0
        while True:
            page = self._slices.ListSlices(request, timeout=60)
            found += len(page.slices)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


def table(figures: Sequence[Figure]) -> Table:
    """For people."""
    shown = Table(title="An aggregate manager's calls to a running VMOC, over gRPC", title_justify="left")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    shown.add_column("meant", justify="right")
    shown.add_column("held")
    for one in figures:
        meant = "" if one.most is None else f"< {one.most:g}"
        meant = meant if one.least is None else f">= {one.least:g}"
        held = {None: "", True: "yes", False: "NO"}[one.held]
        value = report.number(one.value, 0 if one.value >= 100 else 2)
        shown.add_row(one.what, f"{value} {one.unit}".strip(), f"{meant} {one.unit}".strip() if meant else "", held)
    return shown
