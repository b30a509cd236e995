"""`compare-stream serve`."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import click
import trio

from service import log
from service.application import create_app
from service.cli.options import config_option, fail, read_settings
from service.edge import Binding, hangups, serve_until_signalled
from service.log_outlet import Outlet
from service.settings import Settings, load
from service.shared import Shared

__all__ = ["serve"]


@click.command()
@config_option
@click.option(
    "--bind",
    default="127.0.0.1:8000",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one.",
)
@click.option(
    "--certfile",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PEM",
    help="Certificate chain; with it the service speaks TLS.",
)
@click.option(
    "--keyfile",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PEM",
    help="The certificate's key, if it is not in --certfile.",
)
@click.option(
    "--log-level",
    type=click.Choice(list(log.LEVELS)),
    default="info",
    show_default=True,
    help="The log goes to standard error.",
)
@click.option(
    "--reuse-port",
    is_flag=True,
    help="Let several processes listen at the same address; one that stops leaves it at once.",
)
@hangups.heeded()
def serve(
    config: Path | None,
    bind: str,
    certfile: Path | None,
    keyfile: Path | None,
    log_level: str,
    reuse_port: bool,
) -> None:
    """Serve comparisons over HTTP/1.1 and HTTP/2 until told to stop.

    At SIGHUP the settings are read again, and the certificate.
    """
    if keyfile is not None and certfile is None:
        fail("--keyfile needs --certfile.")
    settings = read_settings(config)
    errors = Outlet(sys.stderr)
    log.configure(log_level, secrets=settings.keys.values(), output=errors)
    _open_as_many_files_as_allowed()
    try:
        binding = Binding(address=bind, certfile=certfile, keyfile=keyfile, reuse_port=reuse_port)
        trio.run(_serve, settings, partial(load, config), binding, errors)
    except* ssl.SSLError:
        fail(f"--certfile {certfile}: expected a certificate in PEM, with the key that fits it.")
    except* OSError as group:
        fail(f"cannot listen on {bind}: {_first(group).strerror}.")
    except* (ValueError, OverflowError):  # no number; no port has that number
        fail(f"--bind {bind}: expected HOST:PORT.")


def _open_as_many_files_as_allowed() -> None:
    """Raise the soft limit of open files, low for the sake of `select`, to the hard one."""
    try:
        import resource
    except ImportError:  # not on this system, and neither is the limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # an unlimited one is refused by some systems
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    settings: Settings, reread: Callable[[], Settings], binding: Binding, errors: Outlet
) -> None:
    app = create_app(settings, reread=reread)

    def on_ready(url: str) -> None:
        names = ", ".join(settings.providers)
        click.echo(f"compare-stream is ready: {url}  (providers: {names})")

    def on_stopping() -> None:
        shared = Shared.of(app)
        in_force = shared.settings if shared is not None else settings
        errors.write(
            f"compare-stream: stopping; what runs has {in_force.server.drain:g} s, "
            "a second signal ends it now.\n"
        )

    await serve_until_signalled(app, binding, on_ready=on_ready, on_stopping=on_stopping)


def _first(group: BaseExceptionGroup[OSError]) -> OSError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cast(OSError, error)
