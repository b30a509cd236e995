"""The task that fetches the lists: when it asks, and what it does when nobody answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from service.errors import ProviderError
from service.providers.catalogue import Catalogue, Keeper, ListedModel, Listing, Source, source_of
from service.providers.catalogue.fetching import fetch_in_time
from service.settings import ProviderSettings

LISTING = Listing(
    models=(ListedModel(id="a/b", name="b", maker="a"),), ids=frozenset({"a/b"}), complete=True
)
DOWN = ProviderError("connect_error", "It is down.", retryable=True)
CLIENT: Any = None
"""The fetching is the test's own."""

Act = Callable[[], Awaitable[None]]


def source(name: str) -> Source:
    chosen = ProviderSettings(dialect="openai", base_url="http://x/v1", flavour="openrouter")
    found = source_of(name, chosen, None)
    assert found is not None
    return found


class Asked:
    """What is asked, when, and what comes: a listing, an error, or nothing for so many seconds."""

    def __init__(self, **outcomes: list[Listing | Exception | float]) -> None:
        self.at: dict[str, list[float]] = {name: [] for name in outcomes}
        self._outcomes = outcomes
        self.catalogue = Catalogue(
            outcomes, next(iter(outcomes)), sources={name: source(name) for name in outcomes}
        )

    async def fetch(self, _: object, asked: Source) -> Listing:
        name = asked.provider
        self.at[name].append(trio.current_time())
        outcomes = self._outcomes[name]
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, float):
            await trio.sleep(outcome)
            return LISTING
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def keep(
        self,
        seconds: float,
        *,
        refresh: float = 3600,
        chance: float = 0.5,
        during: Act | None = None,
    ) -> None:
        """Keep the catalogue for so long."""
        sources = [(source(name), CLIENT) for name in self.at]
        keeper = Keeper(self.catalogue, sources, refresh, fetch=self.fetch, chance=lambda: chance)
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.relative_deadline = seconds
            nursery.start_soon(keeper.keep)
            if during is not None:
                nursery.start_soon(during)


async def test_it_asks_at_the_start_and_then_at_the_interval(autojump_clock: MockClock) -> None:
    asked = Asked(p=[LISTING])
    await asked.keep(3 * 3600 + 1)
    assert asked.at["p"] == [0, 3600, 7200, 10800]


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 90), (0.5, 100), (1.0, 110)])
async def test_a_wait_differs_by_a_tenth_to_either_side(
    autojump_clock: MockClock, chance: float, wait: float
) -> None:
    asked = Asked(p=[LISTING])
    await asked.keep(2 * wait + 1, refresh=100, chance=chance)
    assert asked.at["p"] == pytest.approx([0, wait, 2 * wait])


async def test_nobody_is_asked_when_it_is_switched_off(autojump_clock: MockClock) -> None:
    asked = Asked(p=[LISTING])
    await asked.keep(10**6, refresh=0)
    assert asked.at["p"] == []
    assert trio.current_time() == 0


async def test_after_a_failure_it_asks_sooner_and_then_at_twice_the_distance(
    autojump_clock: MockClock, log_lines: list[dict[str, Any]]
) -> None:
    asked = Asked(p=[DOWN])
    await asked.keep(16000)
    # 30, 60, ... 1920, and then the interval, which is shorter than 3840.
    distances = [b - a for a, b in zip(asked.at["p"], asked.at["p"][1:], strict=False)]
    assert distances == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    levels = [line["log_level"] for line in log_lines if line["event"] == "catalogue not fetched"]
    assert levels == ["warning", *["info"] * 10]
    [state] = asked.catalogue.states()
    assert (state.models, state.age_seconds, state.error) == (0, None, "It is down.")


async def test_what_was_known_stays_while_it_fails_and_a_success_begins_anew(
    autojump_clock: MockClock,
) -> None:
    asked = Asked(p=[LISTING, DOWN, DOWN, LISTING, DOWN, LISTING])
    seen = []

    async def look() -> None:
        await trio.sleep(5)
        for _ in range(5):
            await trio.sleep(10)
            seen.append(asked.catalogue.states()[0])
            await trio.sleep(20)

    await asked.keep(400, refresh=100, during=look)
    assert asked.at["p"] == [0, 100, 130, 190, 290, 320]
    assert [(state.models, state.age_seconds, state.error) for state in seen] == [
        (1, 15, None),
        (1, 45, None),
        (1, 75, None),
        (1, 105, "It is down."),
        (1, 135, "It is down."),
    ]
    assert asked.catalogue.models()[0].id == "a/b"


async def test_a_provider_that_says_when_is_not_asked_before(autojump_clock: MockClock) -> None:
    busy = ProviderError("rate_limited", "Later.", retry_after=500)
    asked = Asked(p=[busy, LISTING])
    await asked.keep(600)
    assert asked.at["p"] == [0, 500]


async def test_one_that_hangs_holds_up_no_other(autojump_clock: MockClock) -> None:
    asked = Asked(slow=[250.0], quick=[LISTING])
    await asked.keep(260, refresh=100)
    assert asked.at == {"slow": [0], "quick": [0, 100, 200]}


async def test_a_fault_of_ours_is_logged_and_ends_nothing(
    autojump_clock: MockClock, log_lines: list[dict[str, Any]]
) -> None:
    asked = Asked(p=[ZeroDivisionError("secret"), LISTING])
    await asked.keep(40)
    assert asked.at["p"] == [0, 30]
    [line] = [line for line in log_lines if line["event"] == "catalogue failed"]
    assert line["exc_info"] is True


async def test_somebody_who_doubts_it_has_it_fetched_but_once_a_minute_at_most(
    autojump_clock: MockClock,
) -> None:
    asked = Asked(p=[LISTING])

    async def doubt() -> None:
        for _ in range(100):
            await trio.sleep(1)
            asked.catalogue.on_doubt("p")

    await asked.keep(300, during=doubt)
    # At 60 for the doubts before it, at 120 for those after it, and then there are none.
    assert asked.at["p"] == [0, 60, 120]
    asked.catalogue.on_doubt("nobody")


async def test_a_whole_fetch_has_a_clock(autojump_clock: MockClock) -> None:
    class Silent:
        def get(self, *_: object, **__: object) -> Any:
            class Never:
                async def __aenter__(self) -> None:
                    await trio.sleep_forever()

                async def __aexit__(self, *_: object) -> None:
                    raise AssertionError

            return Never()

    with pytest.raises(ProviderError, match="within 30 s") as caught:
        await fetch_in_time(Silent(), source("p"))
    assert (caught.value.code, trio.current_time()) == ("total_timeout", 30)


# --- what another catalogue knew ----------------------------------------------------------------


def catalogue_of(*sources: Source) -> Catalogue:
    names = [source.provider for source in sources]
    return Catalogue(names, names[0], sources={source.provider: source for source in sources})


async def kept(
    catalogue: Catalogue, seconds: float, *sources: Source, refresh: float
) -> list[float]:
    """When it is asked, of so many seconds."""
    began, at = trio.current_time(), []

    async def fetch(_: object, __: Source) -> Listing:
        at.append(trio.current_time() - began)
        return LISTING

    keeper = Keeper(catalogue, [(s, CLIENT) for s in sources], refresh, fetch=fetch, chance=half)
    with trio.move_on_after(seconds):
        await keeper.keep()
    return at


def half() -> float:
    return 0.5


async def test_a_list_that_was_taken_over_is_there_at_once_and_fetched_when_it_is_due(
    autojump_clock: MockClock,
) -> None:
    old, new = catalogue_of(source("p")), catalogue_of(source("p"))
    old.learn("p", LISTING)
    await trio.sleep(1000)
    new.take_over(old)
    [state] = new.states()
    assert (state.models, state.age_seconds) == (1, 1000)
    assert [model.id for model in new.models()] == ["a/b"]
    assert await kept(new, 6300, source("p"), refresh=3600) == [2600, 6200]


async def test_one_of_another_key_or_that_failed_last_stays_and_is_fetched_at_once(
    autojump_clock: MockClock,
) -> None:
    chosen = ProviderSettings(dialect="openai", base_url="http://x/v1", flavour="openrouter")
    other_key = source_of("p", chosen, "another")
    assert other_key is not None
    old, new = catalogue_of(source("p")), catalogue_of(other_key)
    old.learn("p", LISTING)
    new.take_over(old)
    assert [model.id for model in new.models()] == ["a/b"]
    assert await kept(new, 10, other_key, refresh=3600) == [0]

    old.failed("p", "It is down.")
    same = catalogue_of(source("p"))
    same.take_over(old)
    assert same.states()[0].error == "It is down."
    assert await kept(same, 10, source("p"), refresh=3600) == [0]


async def test_another_address_is_another_provider(autojump_clock: MockClock) -> None:
    elsewhere = source_of(
        "p", ProviderSettings(dialect="openai", base_url="http://y/v1", flavour="openrouter"), None
    )
    assert elsewhere is not None
    old, new = catalogue_of(source("p"), source("q")), catalogue_of(elsewhere)
    old.learn("p", LISTING)
    new.take_over(old)
    assert new.states()[0].age_seconds is None


async def test_what_the_newer_learns_is_not_told_to_the_older() -> None:
    old, new = catalogue_of(source("p")), catalogue_of(source("p"))
    old.learn("p", LISTING)
    new.take_over(old)
    new.failed("p", "It is down.")
    assert old.states()[0].error is None
