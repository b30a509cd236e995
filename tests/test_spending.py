"""A cap on what a comparison may cost: where it is crossed, what was under way, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from trio.testing import MockClock

from service.application import create_app
from service.errors import ProviderError
from service.events import Chunk, Done, ErrorChunk, Event, Usage
from service.eventstream import encode
from service.persistence import Persistence
from service.pricing import Price
from service.providers import Ending
from service.providers.roster import Roster
from service.settings import Settings
from service.testing import Script, Stall, Thought, open_app
from tests.asking import timeline
from tests.clients import ask
from tests.grammar import check_stream, legacy_events
from tests.providing import Turns

Timed = list[tuple[float, Event]]


def price(*, question: float = 0.0, answer: float) -> Price:
    """So much for a token of the question, and of the answer."""
    return Price(input=Decimal(str(question)), output=Decimal(str(answer)))


def ends(events: Timed) -> dict[str, tuple[float, str | None]]:
    return {e.model: (at, e.stopped_by) for at, e in events if isinstance(e, Done)}


def written(events: Timed) -> int:
    """Tokens of all answers."""
    return sum(len(e.content) for _, e in events if isinstance(e, Chunk)) // 4


def whole(events: Timed) -> dict[str, str]:
    names = [e.model for _, e in events if e.type == "start"]
    return check_stream(b"".join(encode(e) for _, e in events), names)


async def test_where_the_estimate_crosses_the_cap_all_that_runs_is_stopped(
    autojump_clock: MockClock,
) -> None:
    scripts = [Script("a", *[(1, "four")] * 50), Script("b", (0.5, "four"), *[(1, "four")] * 50)]
    events = await timeline(
        *scripts, max_cost_usd=0.1, prices=dict.fromkeys("ab", price(answer=0.01))
    )
    # Ten tokens are 0.1, which is as much as it may cost; the eleventh crosses it.
    assert written(events) == 11
    assert ends(events) == {"a": (5.5, "max_cost_usd"), "b": (5.5, "max_cost_usd")}
    assert {e.content for _, e in events if isinstance(e, ErrorChunk)} == {
        "Error: Stopped: the comparison has cost as much as it may."
    }
    assert whole(events) == {"a": "four" * 5, "b": "four" * 6}
    assert all(script.opened == script.closed for script in scripts)


async def test_each_model_is_counted_by_its_own_price(autojump_clock: MockClock) -> None:
    events = await timeline(
        Script("dear", (1, "four"), (9, Stall())),
        Script("cheap", *[(1, "four")] * 50),
        max_cost_usd=1.055,
        prices={"dear": price(answer=1), "cheap": price(answer=0.01)},
    )
    assert ends(events)["cheap"] == (6, "max_cost_usd")


async def test_the_question_counts_for_each_model_from_the_beginning(
    autojump_clock: MockClock,
) -> None:
    asked = {"text": "x" * 400, "prices": dict.fromkeys("ab", price(question=0.01, answer=0.01))}
    scripts = [Script(name, *[(1, "four")] * 9) for name in "ab"]
    events = await timeline(*scripts, max_cost_usd=2.055, **asked)
    assert ends(events) == {"a": (3, "max_cost_usd"), "b": (3, "max_cost_usd")}


async def test_a_question_that_costs_too_much_by_itself_is_put_to_nobody(
    autojump_clock: MockClock,
) -> None:
    scripts = [Script(name, (1, "x")) for name in "ab"]
    events = await timeline(
        *scripts,
        text="x" * 400,
        max_cost_usd=1.99,
        prices=dict.fromkeys("ab", price(question=0.01, answer=0)),
    )
    assert [script.opened for script in scripts] == [0, 0]
    assert ends(events) == {"a": (0, "max_cost_usd"), "b": (0, "max_cost_usd")}
    assert whole(events) == {"a": "", "b": ""}
    assert all(e.usage is None for _, e in events if isinstance(e, Done))


async def test_what_the_provider_says_that_it_cost_takes_the_place_of_the_estimate(
    autojump_clock: MockClock,
) -> None:
    for cost, stopped_by in ((0.5, None), (1.5, "max_cost_usd")):
        events = await timeline(
            Script("a", (1, "four"), (0, Ending(finish_reason="stop", cost_usd=cost))),
            Script("b", (3, "x")),
            max_cost_usd=1,
            prices=dict.fromkeys("ab", price(answer=0.001)),
        )
        assert ends(events)["a"] == (1, None)
        assert ends(events)["b"] == (1 if stopped_by else 3, stopped_by)


async def test_what_was_thought_unheard_counts_when_it_is_reported(
    autojump_clock: MockClock,
) -> None:
    usage = Usage(input_tokens=1, output_tokens=2000, reasoning_tokens=1999, estimated=False)
    events = await timeline(
        Script("a", (1, "four"), (0, Ending(finish_reason="stop", usage=usage))),
        Script("b", (3, "x")),
        max_cost_usd=1,
        prices=dict.fromkeys("ab", price(answer=0.001)),
    )
    assert ends(events) == {"a": (1, None), "b": (1, "max_cost_usd")}


async def test_what_a_request_took_that_came_to_nothing_counts_at_once(
    autojump_clock: MockClock,
) -> None:
    broken = ProviderError("provider_error", "It broke.", retryable=True, cost_usd=5)
    provider = Turns("a", [(1, broken)], [(1, "four")] * 50)
    events = await timeline(
        provider,
        max_cost_usd=1,
        prices={"a": price(answer=0.01)},
        persistence=Persistence(attempts=3, draw=lambda: 1.0),
    )
    assert ends(events) == {"a": (1, "max_cost_usd")}
    assert provider.asked_at == [0]


async def test_what_was_heard_of_a_race_and_held_back_counts_at_once(
    autojump_clock: MockClock,
) -> None:
    thinker = Script("a", *[(1, Thought("t" * 40))] * 50)
    events = await timeline(
        thinker, max_cost_usd=0.35, prices={"a": price(answer=0.01)}, hedge_after=100
    )
    assert ends(events) == {"a": (4, "max_cost_usd")}  # ten tokens a second


async def test_each_request_of_a_race_asks_the_question_again(autojump_clock: MockClock) -> None:
    provider = Turns("a", [(0, Stall())])
    events = await timeline(
        provider,
        text="x" * 400,
        max_cost_usd=1.5,
        prices={"a": price(question=0.01, answer=0)},
        hedge_after=3,
    )
    assert ends(events) == {"a": (3, "max_cost_usd")}


async def test_a_cap_that_is_not_reached_changes_nothing(autojump_clock: MockClock) -> None:
    scripts = [Script(name, *[(0.125, "four")] * 5) for name in "ab"]
    prices = dict.fromkeys("ab", price(answer=0.01))
    capped = await timeline(*scripts, max_cost_usd=0.1, prices=prices)
    free = await timeline(*scripts)
    assert whole(capped) == whole(free)
    assert sorted((at, e.type, getattr(e, "model", "")) for at, e in capped) == sorted(
        (at, e.type, getattr(e, "model", "")) for at, e in free
    )


# --- whose price is known -----------------------------------------------------------------------


class Priced(Roster):
    """A roster that knows some prices."""

    def price(self, provider: str, model: str) -> Price | None:
        return price(answer=0.25) if model == "dear" else super().price(provider, model)


def app_with_prices(*scripts: Script) -> object:
    @asynccontextmanager
    async def open_roster(_: Settings) -> AsyncIterator[Roster]:
        yield Priced({script.name: script for script in scripts}, scripts[0].name)

    return create_app(Settings(), open_roster=open_roster)


async def test_a_cap_that_can_not_be_kept_is_refused_and_nobody_is_asked(
    autojump_clock: MockClock,
) -> None:
    script = Script("a", (1, "x"))
    app = app_with_prices(script)
    async with open_app(app):
        for path in ("/compare-stream", "/compare"):
            reply = await ask(app, "a:dear", "other", path=path, max_cost_usd=1)
            assert reply.status == 400
            assert reply.json() == {
                "detail": "max_cost_usd can't be kept: the price of 'other' is not known here.",
                "code": "price_unknown",
            }
        assert script.opened == 0
        assert (await ask(app, "a:dear", "other")).status == 200


async def test_what_is_made_up_costs_nothing(autojump_clock: MockClock) -> None:
    app = app_with_prices(Script("b", *[(1, "four")] * 5, simulated=True))
    async with open_app(app):
        reply = await ask(app, "b", max_cost_usd=0.000001)
    assert check_stream(reply.body, ["b"]) == {"b": "four" * 5}


async def test_the_price_that_the_roster_knows_is_the_one_that_counts(
    autojump_clock: MockClock,
) -> None:
    app = app_with_prices(Script("a", *[(1, "four")] * 9))
    async with open_app(app):
        reply = await ask(app, "a:dear", max_cost_usd=1)
    assert check_stream(reply.body, ["a:dear"]) == {"a:dear": "four" * 5}
    [done] = [event for event in legacy_events(reply.body) if event["type"] == "done"]
    assert done["stopped_by"] == "max_cost_usd"
