"""The group of commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import click

from service import __version__
from service.cli.serve import serve

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="compare-stream")
def main() -> None:
    """Ask many language models at once and read one stream."""


main.add_command(serve)
