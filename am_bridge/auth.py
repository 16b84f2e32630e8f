"""Who calls, and what they may call: certificates to roles, and one table of all methods, which denies the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from typing import Final

from am_bridge import reasons
from am_bridge.status import ApiError


class Role(StrEnum):
    """What a caller is."""

    ADMIN = "admin"
    AM = "am"
    VIEWER = "viewer"


class Access(IntEnum):
    """Who may call a method."""

    ANYONE = 0  # also callers without a role
    READ = 1
    WRITE = 2  # admin, and am for its own


_ALLOWED: Final = {
    Access.READ: frozenset(Role),
    Access.WRITE: frozenset({Role.ADMIN, Role.AM}),
}

METHODS: Final[Mapping[str, Access]] = {
    "/vmoc.v1.SliceService/RegisterSlice": Access.WRITE,
    "/vmoc.v1.SliceService/BatchRegisterSlices": Access.WRITE,
    "/vmoc.v1.SliceService/SyncSlices": Access.WRITE,
    "/vmoc.v1.SliceService/UpdateSlice": Access.WRITE,
    "/vmoc.v1.SliceService/UnregisterSlice": Access.WRITE,
    "/vmoc.v1.SliceService/GetSlice": Access.READ,
    "/vmoc.v1.SliceService/ListSlices": Access.READ,
    "/vmoc.v1.SliceService/RenewSlice": Access.WRITE,
    "/vmoc.v1.SliceService/EnableSlice": Access.WRITE,
    "/vmoc.v1.SliceService/DisableSlice": Access.WRITE,
    "/vmoc.v1.SliceService/ListVlans": Access.READ,
    "/vmoc.v1.SliceService/LookupOwner": Access.READ,
    "/vmoc.v1.SwitchService/ListSwitches": Access.READ,
    "/vmoc.v1.SwitchService/GetSwitch": Access.READ,
    "/vmoc.v1.SwitchService/ListFlows": Access.READ,
    "/vmoc.v1.SwitchService/GetTopology": Access.READ,
    "/vmoc.v1.SwitchService/ListControllerConnections": Access.READ,
    "/vmoc.v1.EventService/WatchEvents": Access.READ,
    "/vmoc.v1.ServerService/GetServerInfo": Access.READ,
    "/vmoc.v1.SliverService/CreateSliver": Access.WRITE,
    "/vmoc.v1.SliverService/ModifySliver": Access.WRITE,
    "/vmoc.v1.SliverService/DeleteSliver": Access.WRITE,
    "/vmoc.v1.SliverService/PerformAction": Access.WRITE,
    "/vmoc.v1.SliverService/ProbeSliver": Access.READ,
    "/vmoc.v1.SliverService/GetSliver": Access.READ,
    "/vmoc.v1.SliverService/ListSlivers": Access.READ,
    "/vmoc.v1.SliverService/ForgetSliver": Access.WRITE,
    "/vmoc.v1.SliverService/WatchOperation": Access.READ,
    "/vmoc.v1.SliverService/StreamConsole": Access.WRITE,
    "/vmoc.v1.SliverService/ListHandlers": Access.READ,
    "/vmoc.v1.SliverService/ListHosts": Access.READ,
    "/vmoc.v1.SliverService/ReconcileHost": Access.WRITE,
    "/google.longrunning.Operations/GetOperation": Access.READ,
    "/google.longrunning.Operations/ListOperations": Access.READ,
    "/google.longrunning.Operations/WaitOperation": Access.READ,
    "/google.longrunning.Operations/CancelOperation": Access.WRITE,
    "/google.longrunning.Operations/DeleteOperation": Access.WRITE,
    "/grpc.health.v1.Health/Check": Access.ANYONE,
    "/grpc.health.v1.Health/List": Access.ANYONE,
    "/grpc.health.v1.Health/Watch": Access.ANYONE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.READ,
}
LONG: Final = frozenset(
    {
        "/vmoc.v1.SwitchService/ListFlows",
        "/vmoc.v1.SliverService/ProbeSliver",
        "/google.longrunning.Operations/WaitOperation",
    }
)
"""Methods that wait for something, and must not keep others waiting."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``manager`` is whose slices it may touch, for role ``am``."""

    name: str
    role: Role
    manager: str = ""

    @property
    def key(self) -> str:
        """Tells its requests from those of others."""
        return f"{self.role}:{self.manager}:{self.name}"

    @property
    def scope(self) -> str | None:
        """The manager whose slices are all it sees and may change; None: everybody's."""
        return self.manager if self.role is Role.AM else None

    def may_know(self, manager: str) -> bool:
        """Whether it may learn of slices of ``manager``."""
        return self.scope in (None, manager)


LOCAL: Final = Caller("local", Role.ADMIN)
"""Whoever reaches a listener that asks for no certificates."""


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Certificates whose common name or an alternative name fits ``name`` (``*`` and ``?`` do) have this role."""

    name: str
    role: Role
    manager: str = ""


class Callers:
    """Finds who calls. Without ``rules`` (None) there are no certificates, and everybody is ``LOCAL``."""

    def __init__(self, rules: Callable[[], Sequence[RoleRule]] | None) -> None:
        """``rules`` are asked for at each call: they may change."""
        self._rules = rules

    def identify(self, peer: Mapping[str, Iterable[bytes]]) -> Caller | None:
        """The caller by what its connection proved (gRPC's auth context); None: nobody known. The first rule counts."""
        if self._rules is None:
            return LOCAL
        if b"ssl" not in tuple(peer.get("transport_security_type", ())):
            return None
        names = [*_texts(peer, "x509_common_name"), *_texts(peer, "x509_subject_alternative_name")]
        for rule in self._rules():
            pattern = rule.name.replace("[", "[[]")  # a bracket is nothing but a bracket
            for name in names:
                if fnmatchcase(name, pattern):
                    return Caller(name, rule.role, rule.manager)
        return None


def _texts(peer: Mapping[str, Iterable[bytes]], key: str) -> list[str]:
    return [raw.decode("utf-8", "replace") for raw in peer.get(key, ())]


def authorise(method: str, caller: Caller | None) -> None:
    """Raise ``ApiError`` unless ``caller`` may call ``method``."""
    access = METHODS.get(method)
    if access is Access.ANYONE:
        return
    if caller is None:
        raise ApiError(reasons.NO_IDENTITY)
    if access is None:
        raise ApiError(reasons.ROLE_FORBIDS, f"{method} is not open to anybody")
    if caller.role not in _ALLOWED[access]:
        raise ApiError(reasons.ROLE_FORBIDS, f"the role {caller.role} only reads")
