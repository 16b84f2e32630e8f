"""``vmoc slice``: register, look at, change and remove slices."""

from __future__ import annotations

import click

from vmoc.cli import slice_changes, slice_views


@click.group("slice")
def command() -> None:
    """Register, show, change and remove slices."""


for _verb in (
    slice_changes.register,
    slice_views.list_,
    slice_views.show,
    slice_changes.update,
    slice_changes.renew,
    slice_changes.enable,
    slice_changes.disable,
    slice_changes.unregister,
):
    command.add_command(_verb)
