"""``vmoc config``: check, show and describe configuration files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from vmoc.config import Settings, load

_FILE = click.argument("file", type=click.Path(path_type=Path), required=False)


@click.group("config")
def command() -> None:
    """Check, show and describe configuration files."""


@command.command("check")
@_FILE
def check(file: Path | None) -> None:
    """Read FILE as 'vmoc run -c FILE' would.

    Prints a summary and exits 0, or prints every problem as
    FILE:LINE:COLUMN: key: what is wrong, and exits 2.
    """
    settings = load(file)
    types = _sliver_types(settings)
    click.echo(f"{file} is valid" if file is not None else "no file given: these are the defaults")
    for name, text in (*_summary(settings), ("slivers", types)):
        click.echo(f"  {name:<11}{text}")


@command.command("show")
@_FILE
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def show(file: Path | None, output: str) -> None:
    """Print the configuration FILE comes to, every default written out.

    Without FILE, the defaults. What is printed is itself a valid
    configuration.
    """
    from vmoc.config.show import to_document

    document = to_document(load(file))
    click.echo(json.dumps(document, indent=2) if output == "json" else _yaml(document), nl=output == "json")


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    from vmoc.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, width=100)
    return text


def _summary(settings: Settings) -> Iterator[tuple[str, str]]:
    segments = [segment for one in settings.slices for segment in one.segments]
    yield "slices", f"{len(settings.slices)}, with {_count(len(segments), 'segment')}"
    listeners = []
    for one in settings.listeners:
        text = f"[{one.address}]:{one.port}" if ":" in one.address else f"{one.address}:{one.port}"
        extras = [f"VLAN {one.vlan}"] * (one.vlan is not None) + ["TLS"] * one.tls
        listeners.append(f"{text} ({', '.join(extras)})" if extras else text)
    yield "listeners", ", ".join(listeners)
    vlans = {segment.vlan for segment in segments}
    for one in settings.listeners:
        if one.vlan is not None and one.vlan not in vlans:
            yield "note", f"no slice has VLAN {one.vlan}, which the listener on port {one.port} carries"
    if settings.default_controller.mode == "none":
        alone = sum(not segment.controllers for segment in segments)
        if alone:
            yield "note", f"{_count(alone, 'segment')} without a controller: default_controller is none"


def _sliver_types(settings: Settings) -> str:
    """What handlers.yaml offers, which is checked with the rest. Raises ``ConfigError``."""
    from am_bridge.handlers.catalogue_file import read_catalogue

    catalogue = read_catalogue(settings.handlers)
    return f"{', '.join(sorted(catalogue.handlers)) or 'no type'} on {_count(len(catalogue.hosts), 'host')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
