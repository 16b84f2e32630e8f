"""TLS contexts for both OpenFlow legs, and the one check OpenSSL does not make for us.

The same certificate, key and CA serve both legs. A switch must present a
certificate signed by ``ca``; so must a controller. The lowest version is TLS 1.2.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmoc.errors import VmocError


class TlsFilesError(VmocError):
    """The certificate files cannot be used; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Paths of PEM files: our certificate chain and its key (both or none), and the CA (or CAs) that sign everybody's.

    Without a certificate there are no TLS listeners, and controllers see an anonymous client.
    """

    cert: str | None
    key: str | None
    ca: str


def server_context(identity: Identity) -> ssl.SSLContext:
    """For ``tls: true`` listeners: a switch without a certificate of the CA is refused. Raises ``TlsFilesError``."""
    if identity.cert is None:
        raise TlsFilesError("a listener with tls: true needs openflow.tls.cert and openflow.tls.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, identity)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class ClientTls:
    """Contexts for ``ssl:`` controllers.

    A controller given by name must have that name in its certificate. One
    given by address needs that address there only if its certificate names
    any address at all: certificates made by ``ovs-pki`` name none.
    """

    def __init__(self, identity: Identity) -> None:
        """Raises ``TlsFilesError``."""
        self._named = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(self._named, identity)
        self._addressed = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(self._addressed, identity)
        self._addressed.check_hostname = False

    def context(self, host: str) -> ssl.SSLContext:
        """The context to use for a controller configured as ``host``."""
        return self._addressed if _address(host) else self._named


def wrong_address(host: str, certificate: dict[str, Any] | None) -> str | None:
    """Why a verified certificate (as ``SSLSocket.getpeercert`` gives it) does not fit an address, or None."""
    wanted = _address(host)
    if wanted is None or not certificate:
        return None
    named = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "IP Address"]
    if not named or any(_address(value) == wanted for value in named):
        return None
    return f"TLS: certificate verify failed: it is for {', '.join(named)}, not for {host}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0].strip())
    except ValueError:
        return None


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for what, path in (("certificate", identity.cert), ("key", identity.key), ("CA", identity.ca)):
        if path is None:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as exc:
            raise TlsFilesError(f"the TLS {what} file {path} cannot be read: {exc.strerror or exc}") from exc
    if identity.cert is not None:
        _load_own(context, identity.cert, identity.key)
    try:
        context.load_verify_locations(identity.ca)
    except (ssl.SSLError, OSError) as exc:
        raise TlsFilesError(f"the TLS CA file {identity.ca} holds no PEM certificate") from exc


def _load_own(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    try:
        # The password callback keeps OpenSSL from asking on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as exc:
        mismatch = getattr(exc, "reason", "") == "KEY_VALUES_MISMATCH"
        what = "does not belong to" if mismatch else "cannot be loaded with"
        raise TlsFilesError(
            f"the TLS key {key} {what} the certificate {cert}; both must be PEM, the key unencrypted"
        ) from exc
