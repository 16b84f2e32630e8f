"""Mutual TLS: who gets in, as whom, and certificates that are replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from am_bridge.auth import Callers, Role, RoleRule
from am_bridge.certificates import Certificates, ServerTlsFiles
from am_bridge.channel import ClientTlsFiles, open_channel
from tests.am_bridge.api import Api, a_slice, refused
from tests.vmoc.net.stage import Authority
from vmoc.net.tls import Identity
from vmoc.v1 import server_pb2 as i
from vmoc.v1 import server_pb2_grpc, slices_pb2_grpc
from vmoc.v1 import slices_pb2 as m

RULES = [
    RoleRule("root", Role.ADMIN),
    RoleRule("am-*", Role.AM, "am"),
    RoleRule("urn:publicid:else", Role.AM, "else"),
    RoleRule("eyes", Role.VIEWER),
]


class World:
    """A server with mutual TLS; its files are copies that a test may replace."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.other = Authority(folder, "ours"), Authority(folder, "other")
        self.files = ServerTlsFiles(folder / "s.pem", folder / "s.key", folder / "ca.pem")
        self.install(self.ours.issue("server", hosts=("localhost",)), self.ours)
        self.reports: list[str] = []
        certificates = Certificates(self.files, self.reports.append)
        self.api = Api(callers=Callers(lambda: RULES), credentials=certificates.credentials())
        self.channels: list[grpc.Channel] = []

    def install(self, identity: Identity, ca: Authority) -> None:
        """As certificate managers do: beside, then in place."""
        assert identity.cert and identity.key and self.files.client_ca
        for source, target in (
            (identity.cert, self.files.cert),
            (identity.key, self.files.key),
            (ca.path, self.files.client_ca),
        ):
            fresh = target.with_suffix(".new")
            shutil.copy(source, fresh)
            os.replace(fresh, target)

    def channel(self, identity: Identity | None, ca: Authority | None = None) -> grpc.Channel:
        own = (None, None) if identity is None else (Path(str(identity.cert)), Path(str(identity.key)))
        files = ClientTlsFiles((ca or self.ours).path, *own, "localhost")
        self.channels.append(open_channel(f"127.0.0.1:{self.api.server.port}", files))
        return self.channels[-1]

    def slices(self, name: str, *hosts: str) -> slices_pb2_grpc.SliceServiceStub:
        return slices_pb2_grpc.SliceServiceStub(self.channel(self.ours.issue(name, hosts=hosts)))

    def gets_in(self, channel: grpc.Channel) -> bool:
        try:
            server_pb2_grpc.ServerServiceStub(channel).GetServerInfo(i.GetServerInfoRequest(), timeout=20)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise
        return True

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        self.api.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def register(slice_id: str, vlan: int, **fields: str) -> m.RegisterSliceRequest:
    return m.RegisterSliceRequest(slice=a_slice(slice_id, vlan, **fields))


def test_nobody_gets_in_without_a_certificate_of_ours(world: World) -> None:
    assert world.gets_in(world.channel(world.ours.issue("root")))
    assert not world.gets_in(world.channel(None))
    assert not world.gets_in(world.channel(world.other.issue("root")))
    assert not world.gets_in(world.channel(world.ours.issue("root", days=-1)))
    with grpc.insecure_channel(f"127.0.0.1:{world.api.server.port}") as plain:
        assert not world.gets_in(plain)


def test_a_certificate_without_a_role_may_do_nothing(world: World) -> None:
    with refused("NO_IDENTITY"):
        world.slices("stranger").ListSlices(m.ListSlicesRequest())


def test_each_has_its_role_and_an_am_its_own_slices(world: World) -> None:
    root, eyes = world.slices("root"), world.slices("eyes")
    am, other = world.slices("am-1"), world.slices("x", "urn:publicid:else")
    assert am.RegisterSlice(register("one", 100)).slice.manager == "am", "its own is filled in"
    with refused("NOT_OWNER"):
        am.RegisterSlice(register("two", 101, manager="else"))
    with refused("NOT_OWNER"):
        other.RegisterSlice(register("one", 102))
    with refused("NOT_OWNER"):
        other.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one"))
    with refused("NOT_OWNER"):
        other.SyncSlices(m.SyncSlicesRequest(manager="am"))
    with refused("SLICE_NOT_FOUND"):
        other.GetSlice(m.GetSliceRequest(slice_id="one"))
    with refused("VLAN_OWNED_ELSEWHERE") as clash:
        other.RegisterSlice(register("three", 100))
    assert "one" not in clash[0].message and "other_slice" not in clash[0].metadata
    assert not other.ListSlices(m.ListSlicesRequest()).slices
    with refused("ROLE_FORBIDS"):
        eyes.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one"))
    assert [one.slice_id for one in eyes.ListSlices(m.ListSlicesRequest()).slices] == ["one"]
    root.UnregisterSlice(m.UnregisterSliceRequest(slice_id="one"))
    told = [(one["identity"], one["method"], one["outcome"]) for one in world.api.rack.audited]
    assert told == [
        ("am-1", "RegisterSlice", "OK"),
        ("am-1", "RegisterSlice", "NOT_OWNER"),
        ("urn:publicid:else", "RegisterSlice", "NOT_OWNER"),
        ("urn:publicid:else", "UnregisterSlice", "NOT_OWNER"),
        ("urn:publicid:else", "SyncSlices", "NOT_OWNER"),
        ("urn:publicid:else", "RegisterSlice", "VLAN_OWNED_ELSEWHERE"),
        ("eyes", "UnregisterSlice", "ROLE_FORBIDS"),
        ("root", "UnregisterSlice", "OK"),
    ]


def test_the_same_request_id_of_two_callers_is_two_requests(world: World) -> None:
    one, two = register("one", 100), register("two", 101)
    one.request_id = two.request_id = "same"
    world.slices("am-1").RegisterSlice(one)
    world.slices("am-2").RegisterSlice(two)
    assert len(world.api.book) == 2


def test_replaced_certificates_are_taken_up(world: World) -> None:
    old, new = world.ours.issue("root"), world.other.issue("root")
    standing = world.channel(old)
    assert world.gets_in(standing)
    world.install(world.other.issue("server", hosts=("localhost",)), world.other)
    assert world.gets_in(world.channel(new, world.other))
    assert not world.gets_in(world.channel(old)), "the authority is another one now"
    assert world.gets_in(standing), "who is in stays in"
    assert not world.reports


def test_files_that_cannot_be_used_leave_what_there_was(world: World) -> None:
    good = world.channel
    identity = world.ours.issue("root")
    stranger = world.ours.issue("stranger")
    shutil.copy(str(stranger.key), world.files.key)
    assert world.gets_in(good(identity)) and world.reports, "a key that is not the certificate's"
    world.reports.clear()
    world.files.cert.unlink()
    assert world.gets_in(good(identity)) and "No such file" in world.reports[0]
    world.install(world.ours.issue("server2", hosts=("localhost",)), world.ours)
    world.reports.clear()
    assert world.gets_in(good(identity)) and not world.reports


def test_files_must_be_good_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Certificates(ServerTlsFiles(tmp_path / "no.pem", tmp_path / "no.key"), print).credentials()
