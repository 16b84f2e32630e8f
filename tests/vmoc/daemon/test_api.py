"""The API's place in the service: where it may listen, and what the rack's errors are told as."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmoc.config import GrpcTlsFiles, Settings
from vmoc.daemon import api
from vmoc.daemon.asking import BusyError, NotKnownError, PageTokenError, RackTimeoutError, SwitchAwayError
from vmoc.errors import VmocError

FILE = Path("file.pem")


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (Settings(), True),
        (Settings(grpc_listen=("::1", 1)), True),
        (Settings(grpc_listen=("0.0.0.0", 1)), False),
        (Settings(grpc_listen=("0.0.0.0", 1), grpc_tls=GrpcTlsFiles(FILE, FILE)), False),
        (Settings(grpc_listen=("0.0.0.0", 1), grpc_tls=GrpcTlsFiles(FILE, FILE, FILE)), True),
        (Settings(grpc_listen=("0.0.0.0", 1), grpc_insecure=True), True),
        (Settings(grpc_listen=("lab.localhost", 1)), False),
    ],
)
def test_without_certificates_only_this_machine_is_listened_to(settings: Settings, allowed: bool) -> None:
    if allowed:
        api._refuse_strangers(settings)
    else:
        with pytest.raises(api.ListenError, match="for callers without certificates"):
            api._refuse_strangers(settings)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RackTimeoutError("slow"), "SWITCH_TIMEOUT"),
        (NotKnownError("there is no slice x"), "SLICE_NOT_FOUND"),
        (NotKnownError("there is no switch x"), "SWITCH_NOT_FOUND"),
        (SwitchAwayError("away"), "SWITCH_AWAY"),
        (BusyError("busy", 0.5), "TOO_MANY_CALLS"),
        (PageTokenError("bad"), "PAGE_TOKEN_INVALID"),
    ],
)
def test_errors_of_the_rack_have_a_reason(error: VmocError, reason: str) -> None:
    told = api._translate(error)
    assert told is not None and told.reason.code == reason
    assert (told.retry is not None) == (reason in ("SWITCH_TIMEOUT", "TOO_MANY_CALLS"))


def test_other_errors_are_somebody_elses() -> None:
    assert api._translate(VmocError("what")) is None
