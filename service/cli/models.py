"""`compare-stream models`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
import msgspec

from service.cli.options import DONE, config_option, json_option, read_settings
from service.cli.running import log_kept_apart, run
from service.cli.streams import Output
from service.providers.catalogue import CatalogueModel
from service.providers.roster import open_roster
from service.settings import Settings

__all__ = ["models"]

MISBEHAVING = "These misbehave on purpose; they are asked only by name:"


@click.command()
@config_option
@json_option('One JSON object: {"models": [...]}.')
def models(config: Path | None, as_json: bool) -> int:
    """List the models that the configured providers are known to have.

    Nothing is asked of the network. Any other id may be asked for as well: `provider:model` goes
    to that provider, a bare id to the default one.
    """
    settings = read_settings(config)
    output = Output()
    with log_kept_apart(settings, on_screen=False):
        return run(partial(_list, settings, output, as_json=as_json))


async def _list(settings: Settings, output: Output, *, as_json: bool) -> int:
    async with open_roster(settings) as roster:
        catalogue = roster.catalogue()
    if as_json:
        await output.write(msgspec.json.encode({"models": catalogue}) + b"\n")
    else:
        await output.write(output.encode("".join(f"{line}\n" for line in _lines(catalogue))))
    return DONE


def _lines(catalogue: Sequence[CatalogueModel]) -> Iterator[str]:
    widths = [
        max((len(text) for text in texts), default=0)
        for texts in ([m.id for m in catalogue], [m.provider for m in catalogue])
    ]

    def row(model: CatalogueModel) -> str:
        return f"{model.id:{widths[0]}}  {model.provider:{widths[1]}}  {model.description}"

    yield from (row(model) for model in catalogue if model.well_behaved)
    misbehaving = [model for model in catalogue if not model.well_behaved]
    if misbehaving:
        yield from ("", MISBEHAVING, *map(row, misbehaving))
