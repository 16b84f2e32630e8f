"""``vmoc learning-switch``: the default controller by itself."""

from __future__ import annotations

import re

import click


class HostPort(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``, an IPv6 host in brackets."""

    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        parts = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):([0-9]{1,5})", str(value))
        if parts is None or int(parts[2]) > 65535:
            self.fail(f"{value!r} is not HOST:PORT with a port 0..65535", param, ctx)
        return parts[1].strip("[]"), int(parts[2])


@click.command("learning-switch")
@click.option(
    "--listen", type=HostPort(), default="127.0.0.1:6640", show_default=True, help="Where VMOC connects; port 0: any."
)
@click.option(
    "--idle-timeout",
    type=click.IntRange(1, 65535),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long a flow stays without traffic.",
)
def command(listen: tuple[str, int], idle_timeout: int) -> int:
    """Run the default controller on its own.

    An OpenFlow 1.0 and 1.3 learning switch, the one that vmoc run starts by
    itself for slices without a controller. It prints "listening HOST:PORT"
    when it is ready.
    """
    from vmoc.apps.learning_switch import main

    return main(*listen, idle_timeout=idle_timeout)
