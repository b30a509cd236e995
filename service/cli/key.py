"""`compare-stream key`: a key for somebody who is to be let in."""

from __future__ import annotations

import re

import click

from service.cli.options import DONE, fail
from service.cli.running import run
from service.cli.streams import Output
from service.surface import make_key

__all__ = ["key"]


@click.command()
@click.argument("name")
def key(name: str) -> int:
    """Make a key for callers, called NAME in the settings and in the log.

    It is shown this once and kept nowhere: the settings hold only its digest, from which it can't
    be got back. To take it back, delete the line and start the service again.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        fail(f"{name!r}: expected a name of letters, digits, - and _.")
    made, digest = make_key()
    output = Output()

    async def show() -> int:
        await output.write(output.encode(_shown(name, made, digest)))
        return DONE

    return run(show)


def _shown(name: str, made: str, digest: str) -> str:
    return (
        f"The key, shown only now; it is sent as Authorization: Bearer <key>\n\n"
        f"    {made}\n\n"
        f"Its line in the settings file\n\n"
        f"    [server.api_keys]\n"
        f'    {name} = "{digest}"\n'
    )
