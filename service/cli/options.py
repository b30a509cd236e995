"""What the commands have in common: their options, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from service.settings import Settings, SettingsError, load

__all__ = ["config_option", "fail", "read_settings"]

F = TypeVar("F", bound=Callable[..., object])

config_option: Callable[[F], F] = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings (TOML); default: the file that COMPARE_CONFIG names, or none.",
)


def fail(message: str, code: int = 2) -> NoReturn:
    """End the command with one line and an exit code."""
    click.echo(f"compare-stream: {message}", err=True)
    raise SystemExit(code)


def read_settings(path: Path | None) -> Settings:
    """The settings, or one line and exit code 2."""
    try:
        return load(path)
    except SettingsError as exc:
        fail(str(exc))
