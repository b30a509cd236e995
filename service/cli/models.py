"""`compare-stream models`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click
import msgspec
import trio

from service.cli.options import DONE, complain, config_option, json_option, read_settings
from service.cli.running import log_kept_apart, run
from service.cli.streams import Output
from service.cli.words import printable
from service.providers.catalogue import FETCH_SECONDS, CatalogueModel
from service.providers.roster import Roster, open_roster
from service.settings import Settings

__all__ = ["models"]

MISBEHAVING = "These misbehave on purpose; they are asked only by name:"
GAP = "  "
NARROWEST_DESCRIPTION = 16
"""Columns; below that it says nothing and is left out."""


@click.command()
@config_option
@click.option(
    "--fetch", is_flag=True, help="Ask the providers for their lists first; it costs nothing."
)
@json_option('One JSON object: {"models": [...]}.')
def models(config: Path | None, fetch: bool, as_json: bool) -> int:
    """List the models that the configured providers are known to have.

    Without --fetch nothing is asked of the network, and the list is the built-in one. Any other id
    may be asked for as well: `provider:model` goes to that provider, a bare id to the default one.

    The columns are the id, who made the model, its context in tokens, and US dollars for a million
    tokens of question and answer, as far as they are known; in a narrow terminal the last ones
    are left out.
    """
    settings = read_settings(config)
    output = Output()
    with log_kept_apart(settings, on_screen=False):
        return run(partial(_list, settings, output, fetch=fetch, as_json=as_json))


async def _list(settings: Settings, output: Output, *, fetch: bool, as_json: bool) -> int:
    async with open_roster(settings) as roster:
        if fetch:
            await _fetch(roster)
        catalogue = roster.catalogue()
    if as_json:
        await output.write(msgspec.json.encode({"models": catalogue}) + b"\n")
    else:
        width = shutil.get_terminal_size((0, 0)).columns
        lines = _lines(catalogue, width)
        await output.write(output.encode("".join(f"{line}\n" for line in lines)))
    return DONE


async def _fetch(roster: Roster) -> None:
    """What could not be fetched is said, and the built-in list stands in."""
    with trio.move_on_after(FETCH_SECONDS + 1):
        await roster.fetch_catalogue()
    for state in roster.listed():
        if state.error is not None:
            complain(f"{state.provider}: {printable(state.error)}")


def _lines(catalogue: Sequence[CatalogueModel], width: int) -> Iterator[str]:
    """A table as wide as `width` at most, ids apart, which are never cut; 0: as wide as it is."""
    table = _Table(catalogue, width)
    yield from (table.row(model) for model in catalogue if model.well_behaved)
    misbehaving = [model for model in catalogue if not model.well_behaved]
    if misbehaving:
        yield from ("", MISBEHAVING, *map(table.row, misbehaving))


Cell = Callable[[CatalogueModel], str]


class _Table:
    """Which columns there are and how wide each is, for all rows."""

    def __init__(self, catalogue: Sequence[CatalogueModel], width: int) -> None:
        cells: list[tuple[Cell, bool]] = [
            (lambda model: printable(model.id), False),
            (lambda model: printable(model.provider), False),
            (_context, True),
            (_price, True),
        ]
        # In the order of their importance; one of which nothing is known is none.
        widths = [max(map(len, map(cell, catalogue)), default=0) for cell, _ in cells]
        self._columns: list[tuple[Cell, bool, int]] = []
        used = 0
        for (cell, is_figure), wide in zip(cells, widths, strict=True):
            more = wide + len(GAP) if self._columns else wide
            if wide and (not self._columns or not width or used + more <= width):
                self._columns.append((cell, is_figure, wide))
                used += more
        self._room: int | None = None
        """Columns for the description; None: as many as it likes."""
        if width:
            left = width - used - len(GAP)
            self._room = left if left >= NARROWEST_DESCRIPTION else 0

    def row(self, model: CatalogueModel) -> str:
        cells = [
            f"{cell(model):>{wide}}" if is_figure else f"{cell(model):{wide}}"
            for cell, is_figure, wide in self._columns
        ]
        return GAP.join([*cells, *self._description(model)]).rstrip()

    def _description(self, model: CatalogueModel) -> Iterator[str]:
        words = printable(model.description)
        if self._room is None or len(words) <= self._room:
            yield words
        elif self._room:
            yield f"{words[: self._room - 1].rstrip()}…"


def _context(model: CatalogueModel) -> str:
    """128k, 1.0M: as models are compared, by thousands of tokens and not by 1024."""
    tokens = model.context_length
    if tokens is None:
        return ""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.1f}M"
    return f"{tokens / 1000:.0f}k" if tokens >= 1000 else str(tokens)


def _price(model: CatalogueModel) -> str:
    price = model.price
    if price is None:
        return ""
    if not (price.input or price.output or price.request):
        return "free"
    return f"{_dollars(price.input)}/{_dollars(price.output)}"


def _dollars(amount: float) -> str:
    """With cents, or with as many digits as there are."""
    cents = f"{amount:.2f}"
    return f"${cents if float(cents) == amount else f'{amount:g}'}"
