"""What a configuration comes to once it is read: plain frozen values, every default filled in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vmoc.errors import VmocError
from vmoc.model import VLAN_MAX, Endpoint, Limits, Policy, Slice, Timers

SYSTEM_STATE: Final = "/var/lib/vmoc/vmoc.db"
IN_MEMORY: Final = ":memory:"

Address = tuple[str, int]
"""(host, TCP port); port 0 lets the system choose a free one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, and where. ``line`` and ``column`` count from 1; 0 is the whole file."""

    file: str
    line: int
    column: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class ConfigError(VmocError):
    """A configuration can't be used; ``problems`` lists every reason, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Listener:
    """Where switches connect. ``vlan`` set: everything on it is untagged and belongs to that VLAN."""

    address: str = "0.0.0.0"
    port: int = 6653
    vlan: int | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificates of the OpenFlow legs (PEM): ``ca`` verifies peers, ``cert`` and ``key`` (both or none) are ours."""

    cert: Path | None
    key: Path | None
    ca: Path


@dataclass(frozen=True, slots=True)
class GrpcTlsFiles:
    """Certificates of the management interface (PEM); ``client_ca`` given means clients need a certificate."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class GrpcRole:
    """Callers with a certificate of that name have that role; ``manager`` is given for ``am`` only."""

    name: str
    role: Literal["admin", "am", "viewer"]
    manager: str = ""


@dataclass(frozen=True, slots=True)
class DefaultController:
    """Who controls segments that name no controller; ``url`` is set in mode ``url`` only."""

    mode: Literal["builtin", "none", "url"] = "builtin"
    url: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Vlans:
    """``reserved`` go to nobody; VMOC chooses from ``pool`` (never a reserved one) when a segment names no VLAN."""

    reserved: frozenset[int] = frozenset()
    pool: frozenset[int] = frozenset(range(2, VLAN_MAX + 1))
    """Without VLAN 1, which is the untagged one on most switches as they come."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration. Without a file, ``Settings()`` with the state in the user's data directory."""

    listeners: tuple[Listener, ...] = (Listener(),)
    tls: TlsFiles | None = None
    versions: frozenset[int] = frozenset({1, 4})
    """OpenFlow wire versions offered: 1 is OpenFlow 1.0, 4 is 1.3."""
    grpc_listen: Address | None = ("127.0.0.1", 50051)
    grpc_tls: GrpcTlsFiles | None = None
    grpc_roles: tuple[GrpcRole, ...] = ()
    """The first that fits a caller counts; who fits none is refused."""
    grpc_insecure: bool = False
    metrics_listen: Address | None = ("127.0.0.1", 9310)
    state_path: str = SYSTEM_STATE
    """A file's path, or ``:memory:``."""
    default_controller: DefaultController = DefaultController()
    policy: Policy = Policy()
    limits: Limits = Limits()
    """The defaults; each slice carries its own, already merged."""
    timers: Timers = Timers()
    vlans: Vlans = Vlans()
    handlers: Path | None = None
    slices: tuple[Slice, ...] = ()


def default_state_path() -> str:
    """The state file when the configuration names none: the system's where we may write, else the user's."""
    ours = os.geteuid() == 0 or os.access(os.path.dirname(SYSTEM_STATE), os.W_OK)
    return SYSTEM_STATE if ours else user_state_path()


def user_state_path() -> str:
    """The state file when no configuration file is given: under ``$XDG_DATA_HOME``, else ``~/.local/share``."""
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says that a relative path there is to be ignored.
    try:
        root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    except RuntimeError:  # a user without a home directory
        return SYSTEM_STATE
    return str(root / "vmoc" / "vmoc.db")
