"""The configuration file: YAML to ``Settings``, or every problem in it with its line and column."""

from vmoc.config.loading import load
from vmoc.config.settings import (
    Address,
    ConfigError,
    DefaultController,
    GrpcRole,
    GrpcTlsFiles,
    Listener,
    Problem,
    Settings,
    TlsFiles,
    Vlans,
)

__all__ = [
    "Address",
    "ConfigError",
    "DefaultController",
    "GrpcRole",
    "GrpcTlsFiles",
    "Listener",
    "Problem",
    "Settings",
    "TlsFiles",
    "Vlans",
    "load",
]
