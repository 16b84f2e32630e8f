"""Reads a configuration file into ``Settings``.

Every section, every slice and every segment is validated by itself, so that
one mistake does not hide the others: what could be read goes through the
checks of ``vmoc.config.checks`` even when the rest could not.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Literal, cast

from vmoc.config import checks, schema
from vmoc.config.reader import Reader
from vmoc.config.settings import (
    IN_MEMORY,
    ConfigError,
    DefaultController,
    GrpcRole,
    GrpcTlsFiles,
    Listener,
    Settings,
    TlsFiles,
    Vlans,
    default_state_path,
    user_state_path,
)
from vmoc.config.slices import read_slices, to_slice
from vmoc.model import Limits, Policy, Timers


def load(path: Path | None) -> Settings:
    """Read ``path``; without one, the defaults with the state in the user's data directory.

    Raises ``ConfigError`` with every problem found. File names in the result
    are absolute; in the file they are relative to the file.
    """
    if path is None:
        return Settings(state_path=user_state_path())
    # A large file makes hundreds of thousands of objects and no cycles: collecting them over and over would double
    # the time, and each collection would hold up the running service.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(path)
    finally:
        if collecting:
            gc.enable()


def _load(path: Path) -> Settings:
    reader = Reader(path)
    reader.unknown_keys((), schema.Document.model_fields)
    openflow = reader.section(schema.OpenflowSection, ("openflow",))
    grpc = reader.section(schema.GrpcSection, ("grpc",))
    metrics = reader.section(schema.MetricsSection, ("metrics",))
    state = reader.section(schema.StateSection, ("state",))
    fallback = reader.section(schema.DefaultControllerSection, ("default_controller",))
    policy = reader.section(schema.PolicySection, ("policy",))
    limits = reader.section(schema.LimitsSection, ("limits",))
    timers = reader.section(schema.TimersSection, ("timers",))
    vlans = reader.section(schema.VlansSection, ("vlans",))
    handlers = reader.section(schema.HandlersSection, ("handlers",))
    defaults = Limits(**limits.model_dump()) if limits is not None else Limits()
    slices = read_slices(reader)

    checks.tls(reader, openflow, grpc)
    checks.callers(reader, grpc)
    checks.timers(reader, timers)
    checks.sharing(reader, policy, openflow)
    checks.state(reader, state)
    checks.default_controller(reader, fallback)
    reachable = checks.controller(openflow, checks.listeners(reader, openflow, grpc, metrics))
    if fallback is not None and fallback.url is not None:
        reachable(reader, ("default_controller", "url"), fallback.url)
    checks.segments(reader, slices, reachable)
    checks.reserved(reader, vlans, slices)
    checks.ownership(reader, slices, sharing=policy is not None and policy.vlan_port_sharing)
    if (
        reader.problems
        or openflow is None
        or grpc is None
        or metrics is None
        or state is None
        or fallback is None
        or policy is None
        or timers is None
        or vlans is None
        or handlers is None
    ):
        raise ConfigError(tuple(sorted(reader.problems, key=lambda one: (one.line, one.column))))
    return Settings(
        listeners=tuple(Listener(one.address, one.port, one.vlan, one.tls) for one in openflow.listen),
        tls=_tls(reader, openflow.tls),
        versions=frozenset(openflow.versions),
        grpc_listen=grpc.listen,
        grpc_tls=_grpc_tls(reader, grpc.tls),
        grpc_roles=tuple(
            GrpcRole(one.name, cast(Literal["admin", "am", "viewer"], one.role), one.manager or "")
            for one in grpc.roles
        ),
        grpc_insecure=grpc.insecure,
        metrics_listen=metrics.listen,
        state_path=_state_path(reader, state.path),
        default_controller=DefaultController(cast(Literal["builtin", "none", "url"], fallback.mode), fallback.url),
        policy=Policy(**policy.model_dump()),
        limits=defaults,
        timers=Timers(**timers.model_dump()),
        vlans=Vlans(frozenset().union(*vlans.reserved), frozenset().union(*vlans.pool)),
        handlers=_file(reader, handlers.config),
        slices=tuple(to_slice(one, one.section, defaults) for one in slices if one.section is not None),
    )


def _file(reader: Reader, name: str | None) -> Path | None:
    return None if name is None else reader.folder / name


def _tls(reader: Reader, section: schema.OpenflowTlsSection | None) -> TlsFiles | None:
    if section is None:
        return None
    return TlsFiles(_file(reader, section.cert), _file(reader, section.key), reader.folder / section.ca)


def _grpc_tls(reader: Reader, section: schema.GrpcTlsSection | None) -> GrpcTlsFiles | None:
    if section is None:
        return None
    client_ca = _file(reader, section.client_ca)
    return GrpcTlsFiles(reader.folder / section.cert, reader.folder / section.key, client_ca)


def _state_path(reader: Reader, path: str) -> str:
    if reader.get(("state", "path")) is None:
        return default_state_path()
    return path if path == IN_MEMORY else str(reader.folder / path)
