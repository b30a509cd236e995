"""How a command runs: under Trio, until it ends or a signal stops it; and where its log goes."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import click
import trio

from service import log
from service.settings import Settings

__all__ = ["log_kept_apart", "run"]

LOG_LEVEL = "warning"


def run(command: Callable[[], Awaitable[int]]) -> int:
    """Run `command` to its end; the exit code that it returns.

    SIGINT and SIGTERM cancel it. Then one line says so, once all that it had opened is closed,
    and the exit code is that of a process which the signal ended.
    """
    return trio.run(_run_until_signalled, command, restrict_keyboard_interrupt_to_checkpoints=True)


async def _run_until_signalled(command: Callable[[], Awaitable[int]]) -> int:
    code: int | None = None
    heard = signal.SIGINT
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def heed_signals() -> None:
                nonlocal heard
                async for number in signals:
                    heard = signal.Signals(number)
                    nursery.cancel_scope.cancel(f"told to stop by {heard.name}")

            nursery.start_soon(heed_signals, name="signals")
            code = await command()
            nursery.cancel_scope.cancel("the command has ended")
    if code is None:
        click.echo("stopped", err=True)
        return 128 + heard
    return code


@contextmanager
def log_kept_apart(settings: Settings, *, on_screen: bool) -> Iterator[None]:
    """Send warnings to standard error; with `on_screen` later, if both are one terminal.

    A line in the middle of a screen that is being redrawn would tear it.
    """
    secrets = settings.keys.values()
    if not (on_screen and sys.stderr.isatty()):
        log.configure(LOG_LEVEL, secrets=secrets)
        yield
        return
    held = _HeldLines()
    log.configure(LOG_LEVEL, secrets=secrets, output=held)
    try:
        yield
    finally:
        click.echo(held.getvalue(), nl=False, err=True)


class _HeldLines(io.StringIO):
    """Lines on their way to a terminal, and written for one."""

    def isatty(self) -> bool:
        return True
