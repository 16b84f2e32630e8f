"""TLS contexts: what they demand, and what is wrong with the files in one sentence."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.vmoc.net.stage import Authority
from vmoc.net.tls import ClientTls, Identity, TlsFilesError, server_context, wrong_address


def test_contexts_demand_certificates_and_tls_1_2(authority: Authority) -> None:
    identity = authority.issue("vmoc")
    client = ClientTls(identity)
    for context in (server_context(identity), client.context("controller.example"), client.context("192.0.2.1")):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client.context("controller.example").check_hostname
    assert not client.context("192.0.2.1").check_hostname
    assert not client.context("fe80::1%eth0").check_hostname


@pytest.mark.parametrize("which", ["cert", "key", "ca"])
def test_a_missing_file_is_named(authority: Authority, which: str) -> None:
    good = authority.issue("vmoc")
    files = {"cert": good.cert, "key": good.key, "ca": good.ca} | {which: "/nonexistent/file.pem"}
    with pytest.raises(TlsFilesError, match=r"/nonexistent/file.pem cannot be read: No such file"):
        server_context(Identity(**files))


def test_a_key_of_another_certificate(authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    with pytest.raises(TlsFilesError, match="does not belong to"):
        server_context(Identity(one.cert, two.key, one.ca))


def test_with_a_ca_alone_we_dial_but_do_not_listen(authority: Authority) -> None:
    identity = Identity(None, None, str(authority.path))
    assert ClientTls(identity).context("controller.example").verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(TlsFilesError, match=r"needs openflow.tls.cert and openflow.tls.key"):
        server_context(identity)


def test_an_encrypted_key_does_not_ask_on_the_terminal(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("vmoc")
    key = serialization.load_pem_private_key(Path(good.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    with pytest.raises(TlsFilesError, match="unencrypted"):
        ClientTls(Identity(good.cert, str(locked), good.ca))


def test_a_ca_file_without_certificates(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("vmoc")
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing here\n")
    with pytest.raises(TlsFilesError, match="holds no PEM certificate"):
        server_context(Identity(good.cert, good.key, str(empty)))


@pytest.mark.parametrize(
    ("host", "names", "wrong"),
    [
        ("192.0.2.1", [("IP Address", "192.0.2.1")], False),
        ("192.0.2.1", [("IP Address", "192.0.2.2"), ("IP Address", "192.0.2.1")], False),
        ("2001:db8::1", [("IP Address", "2001:DB8:0:0:0:0:0:1\n")], False),
        ("192.0.2.1", [("IP Address", "192.0.2.2")], True),
        ("192.0.2.1", [("DNS", "controller.example")], False),
        ("192.0.2.1", [], False),
        ("controller.example", [("IP Address", "192.0.2.2")], False),
    ],
)
def test_addresses_count_only_where_the_certificate_names_any(
    host: str, names: list[tuple[str, str]], wrong: bool
) -> None:
    assert (wrong_address(host, {"subjectAltName": tuple(names)}) is not None) is wrong


def test_a_plain_connection_has_no_certificate_to_fit() -> None:
    assert wrong_address("192.0.2.1", None) is None
