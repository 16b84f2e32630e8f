"""The data plane of the emulated switch: where a frame goes, according to the flow table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.emulation.actions import split_actions
from tests.emulation.frames import frame_fields, retag, untag
from tests.emulation.layout import PORTS, V10
from tests.emulation.table import Entry, FlowTable


@dataclass
class Outcome:
    """``sent``: (port, frame) in order; ``punts``: (in_port, frame, reason, table, cookie) for the controllers."""

    sent: list[tuple[int, bytes]] = field(default_factory=list)
    punts: list[tuple[int, bytes, int, int, int]] = field(default_factory=list)
    metadata: list[int] = field(default_factory=list)
    """Of each of the ``punts``."""


class Pipeline:
    """``ports`` answers the physical port numbers at the time of asking; ``buckets`` those of a group."""

    def __init__(
        self,
        version: int,
        table: FlowTable,
        ports: Callable[[], list[int]],
        buckets: Callable[[int], list[bytes]],
    ) -> None:
        self.version = version
        self.table = table
        self._ports = ports
        self._buckets = buckets
        self._metadata = 0

    def receive(self, in_port: int, frame: bytes) -> Outcome:
        """A frame arrives at a port."""
        outcome = Outcome()
        self._walk(in_port, frame, outcome)
        return outcome

    def packet_out(self, in_port: int, frame: bytes, actions: bytes) -> Outcome:
        """A controller sends a frame."""
        outcome = Outcome()
        self._metadata = 0
        self._act(in_port, frame, actions, outcome, 0, 0xFFFFFFFFFFFFFFFF, from_controller=True)
        return outcome

    def _walk(self, in_port: int, frame: bytes, outcome: Outcome) -> None:
        table: int | None = 0
        written: dict[int, bytes] = {}
        cookie = self._metadata = 0
        while table is not None:
            entry = self.table.look_up(table, frame_fields(frame, in_port) | {"metadata": self._metadata})
            if entry is None:
                if self.version == V10:  # 1.3 drops a miss, 1.0 sends it to the controller
                    outcome.punts.append((in_port, frame, 0, 0, 0))
                    outcome.metadata.append(0)
                break
            entry.packets += 1
            entry.bytes += len(frame)
            cookie = entry.cookie
            if self.version == V10:
                self._act(in_port, frame, entry.actions, outcome, 0, cookie)
                return
            frame, table = self._instructions(in_port, frame, entry, outcome, written)
            for value, mask in entry.metadata_writes():
                self._metadata = self._metadata & ~mask | value & mask
        if written:
            ordered = sorted(written.items(), key=lambda item: (item[0] in (0, 22), item[0]))
            self._act(in_port, frame, b"".join(body for _, body in ordered), outcome, 0, cookie)

    def _instructions(
        self, in_port: int, frame: bytes, entry: Entry, outcome: Outcome, written: dict[int, bytes]
    ) -> tuple[bytes, int | None]:
        following = None
        for kind, body in sorted(split_actions(entry.actions), key=lambda item: {4: 0, 5: 1, 3: 2}.get(item[0], 3)):
            if kind == 4:
                miss = entry.priority == 0 and not entry.match
                frame = self._act(in_port, frame, body[8:], outcome, entry.table, entry.cookie, miss=miss)
            elif kind == 5:
                written.clear()
            elif kind == 3:
                written.update(dict(split_actions(body[8:])))
            elif kind == 1:
                following = body[4]
        return frame, following

    def _act(
        self,
        in_port: int,
        frame: bytes,
        actions: bytes,
        outcome: Outcome,
        table: int,
        cookie: int,
        *,
        miss: bool = False,
        from_controller: bool = False,
    ) -> bytes:
        reserved = PORTS[self.version]
        for kind, body in split_actions(actions):
            if kind == 22 and self.version != V10:
                for bucket in self._buckets(int.from_bytes(body[4:8], "big")):
                    self._act(in_port, frame, bucket, outcome, table, cookie)
            elif kind not in (0, 11) or (kind == 11 and self.version != V10):
                frame = self._edit(kind, body, frame)
            else:
                port = int.from_bytes(body[4:6] if self.version == V10 else body[4:8], "big")
                if port == reserved["controller"]:
                    outcome.punts.append((in_port, frame, 0 if miss else 1, table, cookie))
                    outcome.metadata.append(self._metadata)
                elif port == reserved["table"] and from_controller:
                    self._walk(in_port, frame, outcome)
                else:
                    outcome.sent += [(out, frame) for out in self._expand(port, in_port)]
        return frame

    def _expand(self, port: int, in_port: int) -> list[int]:
        reserved = PORTS[self.version]
        if port == reserved["in_port"]:
            return [in_port]
        if port in (reserved["flood"], reserved["all"], reserved["normal"]):
            return [out for out in self._ports() if out != in_port]
        return [port] if port != in_port and (port in self._ports() or port == reserved["local"]) else []

    def _edit(self, kind: int, body: bytes, frame: bytes) -> bytes:
        if self.version == V10:
            if kind == 1:
                return retag(frame, vid=int.from_bytes(body[4:6], "big"))
            if kind == 2:
                return retag(frame, pcp=body[4])
            if kind == 4:
                return frame[:6] + body[4:10] + frame[12:]
            if kind == 5:
                return body[4:10] + frame[6:]
            return untag(frame) if kind == 3 else frame
        if kind == 17:
            return frame[:12] + body[4:6] + b"\0\0" + frame[12:]
        if kind == 18:
            return untag(frame)
        if kind == 25 and body[4:6] == b"\x80\x00":
            number, value = body[6] >> 1, body[8 : 8 + body[7]]
            if number == 6:
                return retag(frame, vid=int.from_bytes(value, "big"))
            if number == 7:
                return retag(frame, pcp=value[0])
            if number == 3:
                return value + frame[6:]
            if number == 4:
                return frame[:6] + value + frame[12:]
        return frame
