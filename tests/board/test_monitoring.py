"""The page on monitoring: how many series there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.application import create_app
from service.errors import ProviderError
from service.providers.roster import Roster
from service.settings import ProviderSettings, Settings
from service.testing import open_app
from tests.board.files import OPERATIONS
from tests.clients import ask
from tests.markdown import section, tables
from tests.providing import Turns
from tests.scraping import Figures, figures_of

PAGE = OPERATIONS / "monitoring.md"


def series(figures: Figures, beginning: str = "") -> int:
    return sum(len(found) for name, found in figures.items() if name.startswith(beginning))


async def test_the_page_says_how_many_series_there_are() -> None:
    (rows,) = tables(section(PAGE, "## How many series"))
    address, provider, model, way = (int(row[1]) for row in rows)
    at_first = int(rows[1][2].split()[2])

    one, two = (
        series(figures_of(create_app(Settings(providers=providers))))
        for providers in (
            {
                name: ProviderSettings(dialect="openai", base_url="http://127.0.0.1:1")
                for name in names
            }
            for names in ("a", "ab")
        )
    )
    assert two - one == at_first
    assert one - at_first == address

    fails = (0, "x"), (0, ProviderError("overloaded", "Too much."))
    turns = Turns("a", [(0, "x")], fails)

    @asynccontextmanager
    async def roster(_: Settings) -> AsyncIterator[Roster]:
        yield Roster({"a": turns}, "a")

    app = create_app(Settings(), open_roster=roster)
    async with open_app(app):
        await ask(app, "a:m")
        assert series(figures_of(app), "gen_ai_") == model
        await ask(app, "a:m")
        assert series(figures_of(app), "gen_ai_") == model + way
    assert provider > at_first
