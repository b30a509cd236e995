"""What the commands have in common: their options, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from service.settings import Settings, SettingsError, load

__all__ = [
    "CANNOT_RUN",
    "DONE",
    "INTERRUPTED",
    "SAID_NO",
    "complain",
    "config_option",
    "fail",
    "json_option",
    "model_option",
    "read_settings",
]

DONE, SAID_NO, CANNOT_RUN = 0, 1, 2
INTERRUPTED = 130

F = TypeVar("F", bound=Callable[..., object])

config_option: Callable[[F], F] = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings (TOML); default: the file that COMPARE_CONFIG names, or none.",
)


def model_option(help_: str) -> Callable[[F], F]:
    """`-m`, as often as there are models."""
    return click.option("-m", "--model", "models", multiple=True, metavar="MODEL", help=help_)


def json_option(help_: str) -> Callable[[F], F]:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_)


def complain(message: str, code: int = CANNOT_RUN) -> int:
    """Say in one line why the command ends; the exit code, for its caller to return."""
    click.echo(f"compare-stream: {message}", err=True)
    return code


def fail(message: str, code: int = CANNOT_RUN) -> NoReturn:
    """End the command with one line and an exit code; not from inside a nursery."""
    raise SystemExit(complain(message, code))


def read_settings(path: Path | None) -> Settings:
    """The settings, or one line and exit code 2."""
    try:
        return load(path)
    except SettingsError as exc:
        fail(str(exc))
