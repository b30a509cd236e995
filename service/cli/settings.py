"""`compare-stream settings`."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from service.cli.options import DONE, config_option, fail, json_option
from service.cli.running import run
from service.cli.streams import Output
from service.cli.words import printable
from service.redaction import hide_keys
from service.settings import InEffect, SettingsError, find, in_effect, settle, shown

__all__ = ["settings"]

HEAD = ("setting", "value", "default", "from", "takes", "unit")
GAP = "  "
WIDEST_VALUE = 40
"""Columns; a long list would push the rest off the screen, and `--json` has all of it."""


@click.command()
@config_option
@json_option('One JSON object: {"file": ..., "settings": [...]}, with the reasons.')
def settings(config: Path | None, as_json: bool) -> int:
    """Show every setting in effect: its value and default, and where the value came from.

    `from` is `file`, `environment`, or `default`. Of keys it is told whether they are set, never
    what they are. Nothing is asked of anybody; `check` asks the providers.
    """
    try:
        source = find(config)
        chosen = settle(source)
    except SettingsError as exc:
        fail(str(exc))
    facts = _without_keys([*in_effect(chosen, source)], chosen.keys.values())
    output = Output()
    if as_json:
        words = {"file": source.path, "settings": [*map(_as_json, facts)]}
        text = msgspec.json.encode(words) + b"\n"
    else:
        width = shutil.get_terminal_size((0, 0)).columns
        lines = [f"file: {printable(source.path or 'none')}", "", *_lines(facts, width)]
        text = output.encode("".join(f"{line}\n" for line in lines))
    return run(partial(_write, output, text))


async def _write(output: Output, text: bytes) -> int:
    await output.write(text)
    return DONE


def _without_keys(facts: list[InEffect], keys: Any) -> list[InEffect]:
    """A key that was written where it does not belong is not shown there either."""
    secrets = [*keys]

    def hidden(value: Any) -> Any:
        if isinstance(value, str):
            for secret in secrets:
                value = hide_keys(value, secret=secret)
            return hide_keys(value)
        if isinstance(value, (tuple, list)):
            return [*map(hidden, value)]
        return value

    return [dataclasses.replace(fact, value=hidden(fact.value)) for fact in facts]


def _as_json(fact: InEffect) -> dict[str, Any]:
    about, default = fact.setting.about, fact.setting.default
    return {
        "name": fact.name,
        "value": fact.value,
        "default": None if default is msgspec.NODEFAULT else default,
        "from": fact.origin,
        "takes": _plain(fact.setting.takes),
        "unit": _plain(about.unit),
        "reason": _plain(about.reason),
    }


def _lines(facts: Sequence[InEffect], width: int) -> Iterator[str]:
    """A table; in a terminal its last column is cut at the edge. 0: as wide as it is."""
    rows = [HEAD, *map(_row, facts)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    for row in rows:
        line = GAP.join(f"{cell:{wide}}" for cell, wide in zip(row, widths, strict=True)).rstrip()
        yield f"{line[: width - 1]}…" if width and len(line) > width else line


def _row(fact: InEffect) -> tuple[str, ...]:
    value = fact.value
    if isinstance(value, Mapping):
        value = [f"{name}: {state}" for name, state in value.items()]
    words = printable(shown(value))
    if len(words) > WIDEST_VALUE:
        words = f"{words[: WIDEST_VALUE - 1]}…"
    setting = fact.setting
    default = shown(setting.default)
    return (
        *(printable(fact.name), words, default, fact.origin),
        *(_plain(setting.takes), _plain(setting.about.unit)),
    )


def _plain(markdown: str) -> str:
    """Without what only a page shows: a link is its words."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")
