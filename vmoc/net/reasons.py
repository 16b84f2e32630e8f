"""Why a connection could not be made or ended, in a few plain words. No exception text reaches the operator raw."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the peer",
    errno.ECONNABORTED: "connection aborted",
    errno.EPIPE: "connection closed by the peer",
    errno.ETIMEDOUT: "no answer from the peer",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
    errno.EADDRNOTAVAIL: "no local address or port available",
    errno.EMFILE: "too many open files; raise the limit (LimitNOFILE, ulimit -n)",
    errno.ENFILE: "the system has too many open files",
}

# OpenSSL's words for what went wrong, most specific first, and ours.
_BY_SSL_REASON: Final = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS",
    "HTTP_REQUEST": "the peer does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "the peer does not speak TLS",
    "RECORD_LAYER_FAILURE": "the peer does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the peer offers only TLS versions below 1.2",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer accepts no TLS version from 1.2 on",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer presented no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer demands a certificate and accepts none we have",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the CA that signed our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer rejected our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says our certificate is revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer rejected our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer rejected our certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "the peer could not verify our signature",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer refused the handshake",
    "NO_SHARED_CIPHER": "no common cipher",
    "UNEXPECTED_EOF_WHILE_READING": "the peer closed the connection without a TLS goodbye",
}


def why_lost(exc: BaseException | None) -> str:
    """Why an established connection ended; ``None`` is an orderly end."""
    if exc is None:
        return "closed by the peer"
    return why_failed(exc)


def why_failed(exc: BaseException) -> str:
    """Why an attempt failed."""
    if isinstance(exc, ssl.SSLError):
        return why_tls(exc)
    if isinstance(exc, socket.gaierror):
        return "host name not found"
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return "no answer from the peer"
    if isinstance(exc, ConnectionAbortedError) and "handshake" in str(exc):
        return "TLS: the handshake took too long"
    if isinstance(exc, OSError):
        if exc.errno in _BY_ERRNO:
            return _BY_ERRNO[exc.errno]
        if exc.errno is not None and exc.errno > 0:
            return os.strerror(exc.errno).lower()
    if isinstance(exc, ConnectionError):
        return "connection closed by the peer"
    return str(exc) or type(exc).__name__


def why_tls(exc: ssl.SSLError) -> str:
    """Why a TLS handshake or session failed."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"TLS: certificate verify failed: {exc.verify_message or 'unknown cause'}".rstrip(".")
    reason = (getattr(exc, "reason", None) or "").upper()
    known = _BY_SSL_REASON.get(reason)
    if known is None and isinstance(exc, ssl.SSLEOFError):
        known = "the peer closed the connection without a TLS goodbye"
    return f"TLS: {known or reason.replace('_', ' ').lower() or 'handshake failed'}"
