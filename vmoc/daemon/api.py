"""The API of the running service: the bridge, given the book, the rack, and who may call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from google.longrunning import operations_pb2_grpc

from am_bridge import reasons
from am_bridge.auth import Callers, Role, RoleRule
from am_bridge.certificates import Certificates, ServerTlsFiles
from am_bridge.gate import Hooks
from am_bridge.paging import PageTokens
from am_bridge.server import MOST_MESSAGE, ApiServer, ListenError, Served
from am_bridge.services.events import EventService
from am_bridge.services.info import Identity, ServerService, Tally
from am_bridge.services.operations import Operations
from am_bridge.services.slices import SliceService
from am_bridge.services.slivers import SliverService
from am_bridge.services.switches import SwitchService
from am_bridge.status import ApiError, RetryAfter
from vmoc.config import GrpcRole, Settings
from vmoc.config.ownership import is_loopback
from vmoc.daemon.asking import (
    BusyError,
    NotKnownError,
    PageTokenError,
    RackTimeoutError,
    SwitchAwayError,
)
from vmoc.daemon.compute import Compute
from vmoc.daemon.rack import Rack
from vmoc.errors import VmocError
from vmoc.ledger import SliceBook
from vmoc.net import southbound
from vmoc.net.wire import format_peer
from vmoc.telemetry import metrics
from vmoc.telemetry.summary import summarise
from vmoc.v1 import events_pb2_grpc, server_pb2_grpc, slices_pb2_grpc, slivers_pb2_grpc, switches_pb2_grpc

__all__ = ["Api", "ListenError"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What of the service the API is made of. ``settings`` gives the present ones; ``warn`` is for any thread."""

    book: SliceBook
    rack: Rack
    settings: Callable[[], Settings]
    state: Callable[[], str]
    bug: Callable[[str, str], None]
    warn: Callable[[str], None]
    compute: Compute


class Api:
    """``start`` it when everything it reads is there. All methods block; call them off the loop, or before it runs."""

    def __init__(self, parts: Parts, listeners: list[str]) -> None:
        """``listeners``: where switches connect. Raises ``ListenError``."""
        settings = parts.settings()
        assert settings.grpc_listen is not None
        _refuse_strangers(settings)
        if _asks(settings) and not settings.grpc_roles:
            parts.warn("grpc.roles is empty: callers have certificates, but nobody may do anything")
        tokens = PageTokens()
        identity = Identity(
            version=metrics.version_of("vmoc"),
            boot_id=parts.rack.boot_id,
            start_time=time.time(),
            openflow_versions=["1.0" if one == 1 else "1.3" for one in sorted(settings.versions)],
            openflow_listeners=listeners,
            max_message_bytes=MOST_MESSAGE,
        )
        operations = Operations(parts.compute.processor, tokens)
        slivers = SliverService(parts.compute.processor, parts.book, tokens, operations)
        served = [
            Served(
                "vmoc.v1.SliceService",
                slices_pb2_grpc.add_SliceServiceServicer_to_server,
                SliceService(
                    parts.book,
                    parts.rack,
                    tokens,
                    lambda: parts.settings().limits,
                    slivers=parts.compute.processor.slivers,
                ),
            ),
            Served("vmoc.v1.SliverService", slivers_pb2_grpc.add_SliverServiceServicer_to_server, slivers),
            Served("google.longrunning.Operations", operations_pb2_grpc.add_OperationsServicer_to_server, operations),
            Served(
                "vmoc.v1.SwitchService",
                switches_pb2_grpc.add_SwitchServiceServicer_to_server,
                SwitchService(parts.book, parts.rack, tokens),
            ),
            Served(
                "vmoc.v1.EventService",
                events_pb2_grpc.add_EventServiceServicer_to_server,
                EventService(parts.book, parts.rack, summarise),
            ),
            Served(
                "vmoc.v1.ServerService",
                server_pb2_grpc.add_ServerServiceServicer_to_server,
                ServerService(identity, _Condition(parts), time.time),
            ),
        ]
        hooks = Hooks(parts.rack.audit, parts.bug, _translate)
        self._wanted = settings.grpc_listen
        self._server = ApiServer(
            format_peer(settings.grpc_listen), served, _callers(parts), hooks, _credentials(settings, parts.warn)
        )
        self.drain = self._server.drain
        self.stop = self._server.stop

    @property
    def address(self) -> str:
        """HOST:PORT, with the port it really has."""
        return format_peer((self._wanted[0], self._server.port))

    def start(self) -> None:
        """Listen and serve. Raises ``ListenError``, in the words of the other listeners."""
        # gRPC does not say why it cannot; whoever has the port is found out by trying.
        southbound.check_free(*self._wanted, "grpc.listen")
        self._server.start()


def _refuse_strangers(settings: Settings) -> None:
    """Also what the configuration's checks refuse: without certificates everybody is an administrator."""
    listen = settings.grpc_listen
    assert listen is not None
    if not (_asks(settings) or settings.grpc_insecure or is_loopback(listen[0])):
        text = "set grpc.tls with client_ca and grpc.roles, or listen on 127.0.0.1"
        raise ListenError(f"cannot listen on {format_peer(listen)} for callers without certificates; {text}")


def _asks(settings: Settings) -> bool:
    """Whether callers must show a certificate."""
    return settings.grpc_tls is not None and settings.grpc_tls.client_ca is not None


def _callers(parts: Parts) -> Callers:
    if not _asks(parts.settings()):
        return Callers(None)
    made: tuple[Sequence[GrpcRole], list[RoleRule]] | None = None

    def rules() -> Sequence[RoleRule]:
        nonlocal made
        roles = parts.settings().grpc_roles
        if made is None or made[0] is not roles:  # a reload brought others
            made = roles, [RoleRule(one.name, Role(one.role), one.manager) for one in roles]
        return made[1]

    return Callers(rules)


def _credentials(settings: Settings, warn: Callable[[str], None]) -> grpc.ServerCredentials | None:
    files = settings.grpc_tls
    if files is None:
        return None
    try:
        return Certificates(ServerTlsFiles(files.cert, files.key, files.client_ca), warn).credentials()
    except OSError as error:
        raise ListenError(f"the certificates of grpc.tls cannot be used: {error}") from error


class _Condition:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def look(self, timeout: float) -> tuple[str, Tally]:
        parts, token = self._parts, ""
        switches = datapaths = ailing = 0
        while True:
            page = parts.rack.switches(token, 1000, timeout=timeout)
            switches += sum(one.connected for one in page.items)
            datapaths += sum(one.datapaths for one in page.items)
            ailing += sum(one.ailing for one in page.items)
            token = page.next
            if not token:
                break
        state = parts.state()
        return "degraded" if ailing and state == "ready" else state, Tally(
            slices=len(parts.book),
            segments=parts.book.segments,
            switches=switches,
            datapaths=datapaths,
            slivers=len(parts.compute.processor.slivers()),
            operations=len(parts.compute.processor.running()),
            controllers=parts.rack.connected_controllers(timeout=timeout),
        )


def _translate(error: VmocError) -> ApiError | None:
    """What the rack raises, as the API tells it."""
    text = str(error)
    match error:
        case RackTimeoutError():
            return ApiError(reasons.SWITCH_TIMEOUT, text, retry=RetryAfter(1.0))
        case NotKnownError():
            reason = reasons.SLICE_NOT_FOUND if "no slice" in text else reasons.SWITCH_NOT_FOUND
            return ApiError(reason, text)
        case SwitchAwayError():
            return ApiError(reasons.SWITCH_AWAY, text)
        case BusyError():
            return ApiError(reasons.TOO_MANY_CALLS, text, retry=RetryAfter(error.retry_after))
        case PageTokenError():
            return ApiError(reasons.PAGE_TOKEN_INVALID, violations=[("page_token", text)])
    return None
