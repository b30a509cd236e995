"""The group of commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NoReturn

import click

from service import __version__
from service.cli.options import CANNOT_RUN, INTERRUPTED, complain
from service.cli.streams import OutputError
from service.redaction import presentable

__all__ = ["main"]

COMMANDS = ("serve", "ask", "verify", "models", "check", "settings", "key")
OUR_FAULT = 70
"""As in sysexits.h: EX_SOFTWARE."""


class Commands(click.Group):
    """The commands; whatever goes wrong in one, or before it, ends here.

    A command's module is imported when it is asked for: `ask` needs no web server, and Ctrl-C
    during the import ends as quietly as later.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The commands in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import a command; None when there is no such."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"service.cli.{cmd_name}"), cmd_name)
        return command

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run a command, and exit with the code that it returns."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            code = complain(_in_one_line(error))
        raise SystemExit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; an exception becomes a line and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
            return _account_for(error, debug=bool(ctx.obj))


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="compare-stream")
@click.option(
    "--debug",
    is_flag=True,
    envvar="COMPARE_DEBUG",
    help="Show where a fault of this program happened; comes before the command.",
)
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Ask many language models at once and read one stream."""
    ctx.obj = debug
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(CANNOT_RUN)


def _in_one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message.rstrip('.')}. See '{ctx.command_path} --help'." if ctx else message


def _account_for(error: BaseException, *, debug: bool) -> int:
    """Say what happened, unless nobody needs to hear it; the exit code."""
    causes = list(_causes(error))
    for cause in causes:
        if not isinstance(cause, (OutputError, KeyboardInterrupt)):
            if debug:
                traceback.print_exception(error)
            words = presentable(f"{type(cause).__name__}: {cause}")
            return complain(f"internal error: {words}", OUR_FAULT)
    cause = causes[0]
    if isinstance(cause, OutputError):
        return cause.account_for()
    click.echo("stopped", err=True)
    return INTERRUPTED


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What a group holds, nested or not; nurseries wrap even a single error."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error
