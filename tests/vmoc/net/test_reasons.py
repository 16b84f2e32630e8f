"""Plain words for what exceptions mean."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from vmoc.net.reasons import why_failed, why_lost


def _ssl(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] (_ssl.c:1)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (None, "closed by the peer"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "connection reset by the peer"),
        (OSError(errno.EMFILE, "x"), "too many open files; raise the limit (LimitNOFILE, ulimit -n)"),
        (OSError(errno.EPERM, "x"), "operation not permitted"),
        (OSError(0, "host name not found"), "[Errno 0] host name not found"),
        (socket.gaierror(-2, "Name or service not known"), "host name not found"),
        (TimeoutError(), "no answer from the peer"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "no answer from the peer"),
        (ConnectionResetError(), "connection closed by the peer"),
        (ConnectionAbortedError("SSL handshake is taking longer than 10 seconds"), "TLS: the handshake took too long"),
        (ValueError(), "ValueError"),
        (_ssl("TLSV1_ALERT_UNKNOWN_CA"), "TLS: the peer does not trust the CA that signed our certificate"),
        (_ssl("SOMETHING_NEW"), "TLS: something new"),
        (_ssl(""), "TLS: handshake failed"),
        (_ssl("", ssl.SSLEOFError), "TLS: the peer closed the connection without a TLS goodbye"),
    ],
)
def test_words(exc: Exception | None, words: str) -> None:
    assert why_lost(exc) == words
    if exc is not None:
        assert why_failed(exc) == words


def test_a_failed_verification_says_what_openssl_found() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    assert why_failed(error) == "TLS: certificate verify failed: certificate has expired"
