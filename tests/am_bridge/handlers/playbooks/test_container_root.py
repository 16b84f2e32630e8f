"""What of an archive comes into a container's root file system, and as what."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from am_bridge.handlers.playbooks.module_utils.container_root import contained


def member(name: str, linkname: str = "", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o755) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, linkname, mode
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With links that were unpacked before."""
    inner = tmp_path / "root"
    inner.mkdir()
    (inner / "out").symlink_to("/etc")
    (inner / "up").symlink_to("..")
    (inner / "here").symlink_to("bin")
    return inner


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (member("bin/sh"), "bin/sh"),
        (member("/bin/sh"), "bin/sh"),
        (member("./a/../b"), "./a/../b"),
        (member("."), "."),
        (member("here/sh"), "here/sh"),
        (member("bin/ls", "bin/busybox", kind=tarfile.LNKTYPE), "bin/ls"),
        (member("bin/ls", "out", kind=tarfile.LNKTYPE), "bin/ls"),  # of the link itself
        (member("bin/ls", "/bin/busybox", kind=tarfile.SYMTYPE), "bin/ls"),
        (member("bin/ls", "../../../etc", kind=tarfile.SYMTYPE), "bin/ls"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.name}-{value.linkname}",
)
def test_what_stays_inside_comes_in(place: Path, made: tarfile.TarInfo, name: str) -> None:
    assert contained(made, str(place)).name == name


@pytest.mark.parametrize(
    "made",
    [
        member(".."),
        member("../x"),
        member("a/../../x"),
        member("//../x"),
        member("out"),
        member("out/passwd"),
        member("up/x"),
        member("../root2"),
        member("x", "/etc/shadow", kind=tarfile.LNKTYPE),
        member("x", "../secret", kind=tarfile.LNKTYPE),
        member("x", "out/shadow", kind=tarfile.LNKTYPE),
        member("x", "up/secret", kind=tarfile.LNKTYPE),
    ],
    ids=lambda made: f"{made.name}-{made.linkname}",
)
def test_what_leads_out_is_refused(place: Path, made: tarfile.TarInfo) -> None:
    with pytest.raises(ValueError, match="leads out of the archive"):
        contained(made, str(place))


def test_no_rights_while_it_is_the_host_s(place: Path) -> None:
    made = member("bin/su", mode=0o4777)
    assert contained(made, str(place)).mode == 0o755 and made.mode == 0o4777, "the archive's own is as it was"
