"""The server's certificates, taken from their files anew whenever those have changed.

Each connection is given what the files hold then; files that cannot be used (someone is writing them, a key is not its
certificate's) leave what there was, and are tried again with the next connection.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc


@dataclass(frozen=True, slots=True)
class ServerTlsFiles:
    """PEM files. With ``client_ca`` callers must show a certificate that it signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class Certificates:
    """``report`` gets a sentence, from whatever thread, when files cannot be used."""

    def __init__(self, files: ServerTlsFiles, report: Callable[[str], None]) -> None:
        self._files = files
        self._report = report
        self._lock = threading.Lock()
        self._stamp: tuple[object, ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """For a server. Raises ``OSError`` (``ssl.SSLError`` is one) if the files cannot be used."""
        self._stamp = self._look()
        first = self._read()
        renew = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._renew)  # the stubs forget its None
        return grpc.dynamic_ssl_server_credentials(first, renew, self._files.client_ca is not None)

    def _renew(self) -> grpc.ServerCertificateConfiguration | None:
        """For each connection, on a thread of gRPC's; None: as it was."""
        with self._lock:
            try:
                stamp = self._look()
                if stamp == self._stamp:
                    return None
                fresh = self._read()
            except OSError as error:
                self._report(f"the certificates of the API cannot be used, those from before stay: {error}")
                return None
            self._stamp = stamp
            return fresh

    def _look(self) -> tuple[object, ...]:
        found = (path.stat() for path in self._paths())
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    def _paths(self) -> list[Path]:
        files = self._files
        return [path for path in (files.cert, files.key, files.client_ca) if path is not None]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = self._files
        # gRPC takes anything, and then no connection succeeds: OpenSSL says beforehand.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key, password="")
        ca = None
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            ca = files.client_ca.read_bytes()
        pair = (files.key.read_bytes(), files.cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=ca)
