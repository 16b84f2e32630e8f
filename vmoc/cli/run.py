"""``vmoc run``: the service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

MOST_BY_ITSELF: Final = 8
MOST: Final = 64


def one_per_core() -> int:
    """The workers there are by default."""
    return min(len(os.sched_getaffinity(0)), MOST_BY_ITSELF)


def _workers(_context: click.Context, _option: click.Parameter, value: str) -> int:
    """How many: a number, or ``auto`` for one per core that this process may use."""
    if value == "auto":
        return one_per_core()
    if value.isascii() and value.isdecimal() and int(value) <= MOST:
        return int(value)
    raise click.BadParameter(f"{value} is neither auto nor a number from 0 to {MOST}")


@click.command("run")
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="Configuration; without it, defaults.")
@click.option("--app", "apps", metavar="MODULE", multiple=True, help="An os-ken application to load too; repeatable.")
@click.option(
    "--workers",
    default="auto",
    callback=_workers,
    metavar="N|auto",
    show_default=True,
    envvar="VMOC_WORKERS",
    help="Processes that serve switches; auto is one per core, at most 8; 0 is a single process for everything.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    metavar="LEVEL",
    help="debug, info, warning or error; also by part: info,net=debug.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    show_default=True,
    help="auto is text on a terminal.",
)
def command(file: Path | None, apps: tuple[str, ...], workers: int, log_level: str, log_format: str) -> int:
    """Run the service in the foreground.

    SIGTERM drains and ends it. SIGHUP reads the configuration again and
    applies what differs in it of slices, limits, VLANs, roles of the API and
    the default controller; the log names what needs a restart. Without a
    configuration it listens for switches on port 6653, and its slices are
    those that were registered.
    """
    from vmoc.config import load

    # Before the service is imported: a mistake in the file is answered at once.
    settings = load(file)

    from vmoc.daemon import run

    return run(settings, config_path=file, apps=apps, log_level=log_level, log_format=log_format, workers=workers)
