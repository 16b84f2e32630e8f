"""The program: its nouns, and how every failure becomes one sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from vmoc import __version__, native
from vmoc.cli.terminal import printable
from vmoc.errors import Refused, VmocError

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
SHOWN: Final = 50
"""Problems of one configuration that are printed; the rest is only counted."""

# Every command with its module (attribute ``command``) and its line in the help, so that --help imports none of them.
COMMANDS: Final = {
    "run": ("vmoc.cli.run", "Run the service in the foreground."),
    "config": ("vmoc.cli.config", "Check, show and describe configuration files."),
    "slice": ("vmoc.cli.slices", "Register, show, change and remove slices."),
    "switch": ("vmoc.cli.switches", "Show switches and their flows."),
    "controller": ("vmoc.cli.controllers", "Show connections to controllers."),
    "vlan": ("vmoc.cli.vlans", "Show VLANs: used, reserved, free."),
    "topology": ("vmoc.cli.topology", "Show switches, links and the ports of each slice."),
    "events": ("vmoc.cli.events", "Show what happened; with --follow, go on."),
    "sliver": ("vmoc.cli.slivers", "Create, change, look at and delete slivers."),
    "operation": ("vmoc.cli.operations", "Show, follow and cancel operations on slivers."),
    "explain": ("vmoc.cli.explain", "Say what the policy would do with a flow-mod, rule by rule."),
    "status": ("vmoc.cli.status", "Show the service: version, since when, what it has."),
    "doctor": ("vmoc.cli.doctor", "Look for what is wrong, here and in the service."),
    "completion": ("vmoc.cli.completion", "Print the completion script of SHELL."),
    "learning-switch": ("vmoc.cli.learning_switch", "Run the default controller on its own."),
}


class Nouns(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"vmoc {__version__} ({native.form()})")
        ctx.exit()


@click.command(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def program() -> None:
    """VMOC, the VLAN-based Multiplexed OpenFlow Controller.

    Switches connect to VMOC; VMOC connects to each experimenter's
    controller, and shows it only what belongs to its VLANs.
    """


def run_program(arguments: Sequence[str] | None = None) -> int:
    """Run one command; say what went wrong on standard error; return the exit code."""
    # The library logs connection trouble on its own account, and asks for this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if arguments is None and "_VMOC_COMPLETE" in os.environ:  # a shell asks; click answers and exits
        program.main(prog_name="vmoc", complete_var="_VMOC_COMPLETE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        "".join(given).encode()
    except UnicodeEncodeError:
        return _fail("an argument is not UTF-8 text; type it again", USAGE)
    try:
        result = program.main(args=given, prog_name="vmoc", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "vmoc"
        return _fail(f"{error.format_message().rstrip('.')}; see '{path} --help'", USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not complain about the rest when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except VmocError as error:
        return _refused(error)
    except Exception as error:
        if os.environ.get("VMOC_DEBUG"):
            raise
        return _fail(f"this is a bug in VMOC ({type(error).__name__}: {error}); VMOC_DEBUG=1 shows where", FAILED)
    return result if isinstance(result, int) else DONE


def _refused(error: VmocError) -> int:
    from vmoc.config import ConfigError

    if isinstance(error, ConfigError):
        for problem in error.problems[:SHOWN]:
            click.echo(str(problem), err=True)
        if len(error.problems) > SHOWN:
            click.echo(f"{error.problems[0].file}: and {len(error.problems) - SHOWN} more problems", err=True)
        return USAGE
    return _fail(str(error), error.reason.exit_code if isinstance(error, Refused) else FAILED)


def _fail(sentence: str, code: int) -> int:
    click.echo(f"vmoc: {printable(sentence, lines=True)}", err=True)
    return code
