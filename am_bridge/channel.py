"""The caller's end of a connection to the API: channels."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
LARGEST_MESSAGE: Final = 64 << 20
"""Bytes; a page of slices with thousands of segments each is larger than the library's 4 MiB."""

_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    # A call may find the server restarting: try again soon, not after the library's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # What goes through a proxy is not a management network; the environment must not decide that.
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class TlsFilesError(ValueError):
    """A certificate, key or authority that cannot be read, or a key without its certificate."""


@dataclass(frozen=True, slots=True)
class ClientTlsFiles:
    """PEM files: the authority that signed the server's certificate, and the caller's own certificate and key."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """The name in the server's certificate, where it is not the one in the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises ``TlsFilesError``."""
        if (self.cert is None) != (self.key is None):
            raise TlsFilesError("a client certificate and its key go together; give both or neither")
        try:
            ca, key, cert = (None if path is None else path.read_bytes() for path in (self.ca, self.key, self.cert))
        except OSError as error:
            raise TlsFilesError(f"{error.filename} cannot be read: {error.strerror}") from error
        self._try()
        return grpc.ssl_channel_credentials(ca, key, cert)

    def _try(self) -> None:
        """The library takes whatever it is given, and later says no more than that nobody can be reached."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca)
        except ssl.SSLError as error:
            raise TlsFilesError(f"{self.ca} holds no certificate in PEM form") from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password="")
            except ssl.SSLError as error:
                raise TlsFilesError(
                    f"{self.cert} and {self.key} are not a certificate and its key, unencrypted, in PEM form"
                ) from error

    def options(self) -> list[tuple[str, Any]]:
        """Channel options that go with the files."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []


def open_channel(address: str, tls: ClientTlsFiles | None = None) -> grpc.Channel:
    """A channel for blocking calls. Connects at the first call. Raises ``TlsFilesError``."""
    if tls is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    return grpc.secure_channel(address, tls.credentials(), options=[*_OPTIONS, *tls.options()])


def open_async_channel(address: str, tls: ClientTlsFiles | None = None) -> grpc.aio.Channel:
    """A channel for calls from a running event loop. Raises ``TlsFilesError``."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=[*_OPTIONS, *tls.options()])
