"""``vmoc completion``: what makes a shell complete vmoc's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_FILES = {
    "bash": "~/.local/share/bash-completion/completions/vmoc",
    "zsh": "a file _vmoc in a folder of $fpath",
    "fish": "~/.config/fish/completions/vmoc.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_FILES)))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    For now: eval "$(vmoc completion bash)". For good, write it to
    ~/.local/share/bash-completion/completions/vmoc (bash), to _vmoc in a
    folder of $fpath (zsh) or ~/.config/fish/completions/vmoc.fish (fish).
    """
    from vmoc.cli.program import program

    made = get_completion_class(shell)
    assert made is not None, "click has all three"
    click.echo(made(program, {}, "vmoc", "_VMOC_COMPLETE").source())
