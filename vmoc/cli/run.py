"""``vmoc run``: the service."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("run")
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="Configuration; without it, defaults.")
@click.option("--app", "apps", metavar="MODULE", multiple=True, help="An os-ken application to load too; repeatable.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    envvar="VMOC_WORKERS",
    help="Processes that serve switches, each on a core of its own; 1 is a single process.",
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

    SIGTERM drains and ends it, SIGHUP reads the configuration again and
    applies what differs. Without a configuration it listens for switches on
    port 6653 and has no slices.
    """
    from vmoc.config import load

    # Before the service is imported: a mistake in the file is answered at once.
    settings = load(file)

    from vmoc.daemon import run

    return run(settings, config_path=file, apps=apps, log_level=log_level, log_format=log_format, workers=workers)
