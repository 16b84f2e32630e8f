"""What values must be to each other: owners of VLANs, DPIDs shown twice, certificates, our own addresses."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from vmoc.config import ConfigError, load
from vmoc.config.ownership import OwnAddress, clash, is_own
from vmoc.model import Attachment


def problems(folder: Path, text: str) -> list[tuple[int, str, str]]:
    """(line, key, text) of everything wrong."""
    file = folder / "vmoc.yaml"
    file.write_text(textwrap.dedent(text).lstrip("\n"))
    try:
        load(file)
    except ConfigError as error:
        return [(one.line, one.key, one.text) for one in error.problems]
    return []


def slices(*segments: str) -> str:
    """One slice per line of segment, the first at line 2, each on a line of its own."""
    return "slices:\n" + "\n".join(f"  - {{id: s{n}, segments: [{one}]}}" for n, one in enumerate(segments))


VLAN = "slices[1].segments[0].vlan"
DPID = "slices[1].segments[0].dpid"


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("{vlan: 7}", "{vlan: 7}", "VLAN 7 on every switch belongs to slice 's0' (line 2) already"),
        (
            "{vlan: 7}",
            "{vlan: 7, attachments: [{dpid: 1}]}",
            "VLAN 7 on switch 0x0000000000000001 belongs to slice 's0' (line 2) already",
        ),
        (
            "{vlan: 7, attachments: [{dpid: 1, ports: [1]}]}",
            "{vlan: 7}",
            "VLAN 7 on switch 0x0000000000000001 belongs to slice 's0' (line 2) already",
        ),
        (
            "{vlan: 7, attachments: [{dpid: 1, ports: [1]}]}",
            "{vlan: 7, attachments: [{dpid: 1, ports: [2]}]}",
            "VLAN 7 on switch 0x0000000000000001 belongs to slice 's0' (line 2) already",
        ),
        (
            "{vlan: 7, attachments: [{dpid: 1}, {dpid: 2}, {dpid: 3}]}",
            "{vlan: 7, attachments: [{dpid: 3}, {dpid: 2}, {dpid: 4}]}",
            "VLAN 7 on switch 0x0000000000000003 and 1 more belongs to slice 's0' (line 2) already",
        ),
        ("{vlan: 7}", "{vlan: 8}", None),
        ("{vlan: 7, attachments: [{dpid: 1}]}", "{vlan: 7, attachments: [{dpid: 2}]}", None),
        ("{vlan: 7}", "{vlan: 7, attachments: []}", None),
    ],
)
def test_a_vlan_on_a_switch_has_one_owner(tmp_path: Path, first: str, second: str, said: str | None) -> None:
    expected = [] if said is None else [(3, VLAN, said)]
    assert problems(tmp_path, slices(first, second)) == expected


def test_each_clash_is_told(tmp_path: Path) -> None:
    text = slices("{vlan: 7}, {vlan: 8}", "{vlan: 7}, {vlan: 9}, {vlan: 8}", "{vlan: 9, attachments: [{dpid: 5}]}")
    assert [(line, key) for line, key, _ in problems(tmp_path, text)] == [
        (3, "slices[1].segments[0].vlan"),
        (3, "slices[1].segments[2].vlan"),
        (4, "slices[2].segments[0].vlan"),
    ]


PHYSICAL = "{{vlan: {vlan}, controllers: [{controllers}], dpid: physical{more}}}"


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        # the same controller, the same switch
        (("1", "tcp:c:1", ""), ("2", "tcp:c:1", ""), DPID),
        (("1", "tcp:c:1, tcp:d:1", ""), ("2", "tcp:e:1, tcp:d:1", ""), DPID),
        (("1", "tcp:c:1", ", attachments: [{dpid: 1}]"), ("2", "tcp:c:1", ", attachments: [{dpid: 1}]"), DPID),
        (("1", "tcp:c:1", ""), ("2", "tcp:c:1", ", attachments: [{dpid: 1}]"), DPID),
        (("1", "tcp:c:1", ", attachments: [{dpid: 1}]"), ("2", "tcp:c:1", ""), DPID),
        (("1", "", ""), ("2", "", ""), DPID),  # the default controller
        # another controller, or another switch
        (("1", "tcp:c:1", ""), ("2", "tcp:c:2", ""), None),
        (("1", "tcp:c:1", ", attachments: [{dpid: 1}]"), ("2", "tcp:c:1", ", attachments: [{dpid: 2}]"), None),
    ],
)
def test_no_controller_is_shown_a_dpid_twice(
    tmp_path: Path, first: tuple[str, str, str], second: tuple[str, str, str], key: str | None
) -> None:
    one, other = (PHYSICAL.format(vlan=v, controllers=c, more=more) for v, c, more in (first, second))
    found = problems(tmp_path, slices(one, other))
    assert [(line, where) for line, where, _ in found] == ([] if key is None else [(3, key)])
    if key is not None:
        assert found[0][2].startswith("a controller would see the same DPID on ")
        assert "from VLAN 1 of slice 's0' (line 2) too; use 'dpid: vlan' or another controller" in found[0][2]


def test_a_dpid_is_not_shown_twice_inside_one_slice_either(tmp_path: Path) -> None:
    one, other = (PHYSICAL.format(vlan=v, controllers="tcp:c:1", more="") for v in (1, 2))
    assert [key for _, key, _ in problems(tmp_path, slices(f"{one}, {other}"))] == ["slices[0].segments[1].dpid"]
    assert not problems(tmp_path, slices(f"{one}, {{vlan: 2, controllers: [tcp:c:1]}}"))


def test_dpids_that_differ_only_above_48_bits_collide_in_the_vlan_scheme(tmp_path: Path) -> None:
    text = slices('{vlan: 3, attachments: [{dpid: "0x0001000000000005"}, {dpid: "0x0002000000000005"}]}')
    ((line, key, said),) = problems(tmp_path, text)
    assert (line, key) == (2, "slices[0].segments[0]")
    assert "a controller would see the same DPID on switch 0x0002000000000005" in said


def test_queues_without_ports_are_granted_on_any(tmp_path: Path) -> None:
    file = tmp_path / "vmoc.yaml"
    file.write_text(slices("{vlan: 3, attachments: [{dpid: 1, queues: {4: [1, 2]}}]}"))
    (attachment,) = load(file).slices[0].segments[0].attachments or ()
    assert attachment == Attachment(1, None, {4: frozenset({1, 2})})


# -- certificates ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem and key.pem (a CA's own), other.pem (another key), locked.pem (encrypted)."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("pki")
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2090))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    (folder / "other.pem").write_bytes(other.private_bytes(pem, form, serialization.NoEncryption()))
    secret = serialization.BestAvailableEncryption(b"secret")
    (folder / "locked.pem").write_bytes(key.private_bytes(pem, form, secret))
    return folder


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("{cert: cert.pem, key: key.pem, ca: cert.pem}", []),
        ("{ca: cert.pem}", []),
        ("{cert: cert.pem, ca: cert.pem}", [("openflow.tls.cert", "needs openflow.tls.key too")]),
        ("{key: key.pem, ca: cert.pem}", [("openflow.tls.key", "needs openflow.tls.cert too")]),
        (
            "{cert: no.pem, key: no.key, ca: .}",
            [
                ("openflow.tls.cert", "no.pem cannot be read: no such file or directory"),
                ("openflow.tls.key", "no.key cannot be read: no such file or directory"),
                ("openflow.tls.ca", ". cannot be read: is a directory"),
            ],
        ),
        (
            "{cert: cert.pem, key: other.pem, ca: cert.pem}",
            [("openflow.tls.key", "other.pem is not the key of cert.pem")],
        ),
        (
            "{cert: cert.pem, key: locked.pem, ca: cert.pem}",
            [
                (
                    "openflow.tls.cert",
                    "cert.pem and locked.pem are not a certificate and its key, unencrypted, in PEM form",
                )
            ],
        ),
        ("{ca: key.pem}", [("openflow.tls.ca", "key.pem holds no CA certificate in PEM form")]),
    ],
)
def test_certificates_are_tried(pki: Path, tls: str, expected: list[tuple[str, str]]) -> None:
    assert [(key, said) for _, key, said in problems(pki, f"openflow: {{tls: {tls}}}")] == expected


def test_listeners_with_tls_need_a_certificate_of_ours(pki: Path) -> None:
    text = "openflow: {listen: [{tls: on}], tls: {ca: cert.pem}}"
    said = "on needs openflow.tls.cert and openflow.tls.key"
    assert problems(pki, text) == [(1, "openflow.listen[0].tls", said)]


def test_grpc_certificates_are_tried_too(pki: Path) -> None:
    text = "grpc: {tls: {cert: cert.pem, key: key.pem, client_ca: key.pem}}"
    assert problems(pki, text) == [(1, "grpc.tls.client_ca", "key.pem holds no CA certificate in PEM form")]
    file = pki / "vmoc.yaml"
    file.write_text("grpc: {tls: {cert: cert.pem, key: key.pem}}\nopenflow: {tls: {ca: cert.pem}}")
    settings = load(file)
    assert settings.grpc_tls is not None and settings.grpc_tls.cert == pki / "cert.pem"
    assert settings.tls is not None and (settings.tls.ca, settings.tls.cert) == (pki / "cert.pem", None)


ELSEWHERE = (
    "0.0.0.0 can be reached from elsewhere, and whoever does would be an administrator: "
    "set grpc.tls with client_ca and grpc.roles, or grpc.insecure to on"
)
MUTUAL = "tls: {cert: cert.pem, key: key.pem, client_ca: cert.pem}"


@pytest.mark.parametrize(
    ("grpc", "expected"),
    [
        ("listen: 0.0.0.0:1", [("grpc.listen", ELSEWHERE)]),
        ("listen: 0.0.0.0:1, tls: {cert: cert.pem, key: key.pem}", [("grpc.listen", ELSEWHERE)]),
        ("listen: 'lab.localhost:1'", [("grpc.listen", ELSEWHERE.replace("0.0.0.0", "lab.localhost"))]),
        ("listen: 127.9.9.9:1", []),
        ("listen: '[::1]:1'", []),
        ("listen: localhost:1", []),
        ("listen: off", []),
        ("listen: 0.0.0.0:1, insecure: on", []),
        (f"listen: 0.0.0.0:1, {MUTUAL}", []),
        (f"{MUTUAL}, roles: [{{name: a, role: am, manager: m}}, {{name: '*', role: viewer}}]", []),
        (
            "roles: [{name: a, role: admin}]",
            [("grpc.roles", "need grpc.tls.client_ca, which signs the certificates they are about")],
        ),
        (f"{MUTUAL}, roles: [{{name: a, role: am}}]", [("grpc.roles[0]", "manager is required with role am")]),
        (
            f"{MUTUAL}, roles: [{{name: a, role: admin, manager: m}}]",
            [("grpc.roles[0].manager", "manager does not go with role admin, only am")],
        ),
        (
            f"{MUTUAL}, roles: [{{name: a, role: root}}]",
            [("grpc.roles[0].role", "must be admin, am or viewer, not 'root'")],
        ),
        (f"{MUTUAL}, roles: [{{role: admin}}]", [("grpc.roles[0].name", "is required")]),
    ],
)
def test_who_may_call_is_known_or_nobody_else_can(pki: Path, grpc: str, expected: list[tuple[str, str]]) -> None:
    text = f"grpc: {{{grpc}}}\n"
    if expected:
        assert [(key, said) for _, key, said in problems(pki, text)] == expected
    else:
        (pki / "vmoc.yaml").write_text(text)
        load(pki / "vmoc.yaml")


def test_ssl_controllers_are_fine_with_a_ca(pki: Path) -> None:
    text = "openflow: {tls: {ca: cert.pem}}\n" + slices("{vlan: 3, controllers: [ssl:c:1]}")
    assert not problems(pki, text)


def test_the_state_is_a_file(tmp_path: Path) -> None:
    assert problems(tmp_path, "state: {path: .}") == [(1, "state.path", ". is a directory; name a file in it")]


# -- our own addresses -------------------------------------------------------------------------------------------------

HERE = os.uname().nodename


@pytest.mark.parametrize(
    ("listener", "host", "own"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "127.9.9.9", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "LOCALHOST.", True),
        ("0.0.0.0", "vmoc.localhost", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "::1", True),
        ("0.0.0.0", "::ffff:127.0.0.1", True),
        ("0.0.0.0", HERE, True),
        ("0.0.0.0", HERE.upper(), True),
        ("::", "::1", True),
        ("0.0.0.0", "192.0.2.1", False),  # documentation addresses: on no interface
        ("0.0.0.0", "2001:db8::1", False),
        ("0.0.0.0", "controller.example.org", False),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("localhost", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "127.0.0.1", False),
        ("192.0.2.1", "controller.example.org", False),
        ("of.example.org", "OF.example.org", True),
    ],
)
def test_what_reaches_our_own_listener(listener: str, host: str, own: bool) -> None:
    assert is_own(OwnAddress(listener, 6653, "openflow.listen[0]"), host, 6653) is own
    assert not is_own(OwnAddress(listener, 6653, "openflow.listen[0]"), host, 6640)


def test_a_listener_on_any_free_port_is_no_one_elses() -> None:
    assert not is_own(OwnAddress("0.0.0.0", 0, ""), "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("0.0.0.0", 1), ("127.0.0.1", 1), True),
        (("127.0.0.1", 1), ("localhost", 1), True),
        (("::", 1), ("0.0.0.0", 1), False),
        (("127.0.0.1", 1), ("127.0.0.2", 1), False),
        (("a.example", 1), ("A.example", 1), True),
        (("a.example", 1), ("0.0.0.0", 1), True),
        (("a.example", 1), ("b.example", 1), False),
        (("127.0.0.1", 1), ("127.0.0.1", 2), False),
        (("127.0.0.1", 0), ("127.0.0.1", 0), False),
    ],
)
def test_addresses_that_cannot_be_listened_on_together(
    one: tuple[str, int], other: tuple[str, int], expected: bool
) -> None:
    assert clash(OwnAddress(*one, ""), OwnAddress(*other, "")) is expected
    assert clash(OwnAddress(*other, ""), OwnAddress(*one, "")) is expected
