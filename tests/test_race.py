"""Hedging: a second request when the first is slow, and what the client sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing
from msgspec import UNSET

from service.errors import ProviderError
from service.events import Chunk, Done, ErrorChunk, Event, Fallback, Queued, Reasoning, Usage
from service.limiter import Limiter
from service.patience import Patience
from service.persistence import Persistence
from service.providers import Ending, Prompt, Sink
from service.testing import Alive, Connect, Stall, Thought
from tests.asking import comparison, timeline
from tests.every_step import at_step
from tests.providing import OneForAll, Turns, too_many

Clock = trio.testing.MockClock
Timeline = Sequence[tuple[float, Event]]

USAGE = Usage(input_tokens=7, output_tokens=5, reasoning_tokens=2, estimated=False)
PAID: list[tuple[float, Any]] = [
    (1, "x"), (1, Ending(finish_reason="stop", usage=USAGE, cost_usd=1))
]  # fmt: skip


def said(events: Timeline) -> list[tuple[float, str]]:
    return [(at, e.content) for at, e in events if isinstance(e, Chunk)]


def thought(events: Timeline) -> list[str]:
    return [e.content for _, e in events if isinstance(e, Reasoning)]


def stepped_in(events: Timeline) -> list[tuple[float, str, str | None]]:
    return [(at, e.asked, e.code) for at, e in events if isinstance(e, Fallback)]


def end_of(events: Timeline) -> tuple[float, Done]:
    [(at, done)] = [(at, e) for at, e in events if isinstance(e, Done)]
    return at, done


async def test_one_that_begins_in_time_is_the_only_one_asked(autojump_clock: Clock) -> None:
    provider = Turns("a", [(2, "x"), (9, "y")])
    events = await timeline(provider, hedge_after=3)
    assert (provider.asked_at, said(events)) == ([0], [(2, "x"), (11, "y")])
    assert end_of(events)[1].attempts == 1


async def test_a_slow_one_is_asked_a_second_time_and_the_first_text_wins(
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", [(10, "slow")], [(1, "quick"), (9, " and whole")])
    events = await timeline(provider, hedge_after=3)
    assert provider.asked_at == [0, 3]
    assert said(events) == [(4, "quick"), (13, " and whole")]
    at, done = end_of(events)
    assert (at, done.code, done.attempts, done.answered_by) == (13, None, 2, UNSET)
    assert stepped_in(events) == []  # it is the same model


async def test_the_first_may_win_after_all(autojump_clock: Clock) -> None:
    provider = Turns("a", [(10, "slow")], [(20, "slower")])
    events = await timeline(provider, hedge_after=3)
    assert (said(events), end_of(events)[0]) == ([(10, "slow")], 10)


async def test_the_second_is_the_next_fallback_where_there_is_one(autojump_clock: Clock) -> None:
    other = Turns("b", [(1, "quick")])
    events = await timeline(Turns("a", [(10, "slow")]), fallbacks={"a": [other]}, hedge_after=3)
    assert said(events) == [(4, "quick")]
    assert stepped_in(events) == [(4, "b", None)]
    assert end_of(events)[1].answered_by == "b"


async def test_one_that_loses_is_cancelled_at_once(autojump_clock: Clock) -> None:
    limiter = Limiter(2)
    slow = Turns("a", [(0, Stall())])
    quick = Turns("b", [(1, "quick"), (50, "end")])
    asked = comparison(slow, fallbacks={"a": [quick]}, hedge_after=3, limiters=OneForAll(limiter))
    places: list[int] = []

    async def look(at: float) -> None:
        await trio.sleep_until(at)
        places.append(limiter.running)

    async with trio.open_nursery() as nursery:
        for at in (trio.current_time() + 2.5, trio.current_time() + 3.5):
            nursery.start_soon(look, at)
        async with asked.open() as inbox:
            async for event in inbox:
                if isinstance(event, Chunk):
                    break
            await trio.testing.wait_all_tasks_blocked()
            assert (trio.current_time(), slow.running, limiter.running) == (4, 0, 1)
    assert sorted(places) == [1, 2]  # they take a place each


async def test_what_the_one_that_loses_thought_and_took_is_not_handed_on_but_counted(
    autojump_clock: Clock,
) -> None:
    slow = Turns("a", [(1, Thought("t" * 40)), (0, Stall())])
    quick = Turns("b", [(1, Thought("hm")), *PAID])
    events = await timeline(slow, fallbacks={"a": [quick]}, hedge_after=3)
    assert thought(events) == ["hm"]
    done = end_of(events)[1]
    # The loser: 1 token asked, 10 thought; an estimate, whose price nobody has said.
    assert done.usage == Usage(
        input_tokens=8, output_tokens=15, reasoning_tokens=12, estimated=True
    )
    assert done.cost_usd is None


async def test_one_that_was_never_reached_costs_nothing(autojump_clock: Clock) -> None:
    slow = Turns("a", [(99, Connect())])
    events = await timeline(
        slow, fallbacks={"a": [Turns("b", PAID)]}, hedge_after=1, patience=Patience(connect=60)
    )
    done = end_of(events)[1]
    assert (done.usage, done.cost_usd) == (USAGE, 1)


async def test_thinking_does_not_win_and_comes_first_when_its_answer_does(
    autojump_clock: Clock,
) -> None:
    thinker = Turns("a", [(1, Thought("h")), (1, Thought("m")), (8, "x"), (1, Thought("!"))])
    other = Turns("b", [(0, Thought("b")), (20, "late")])
    events = await timeline(thinker, fallbacks={"a": [other]}, hedge_after=3)
    kinds = [(at, e.content) for at, e in events if isinstance(e, (Reasoning, Chunk))]
    assert kinds == [(10, "h"), (10, "m"), (10, "x"), (11, "!")]
    assert other.asked_at == [3]


async def test_white_space_alone_does_not_win(autojump_clock: Clock) -> None:
    blank = Turns("a", [(1, "\n"), (9, "x")])
    quick = Turns("b", [(1, "\n\n"), (1, "quick")])
    events = await timeline(blank, fallbacks={"a": [quick]}, hedge_after=3)
    assert "".join(text for _, text in said(events)) == "\n\nquick"


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(ProviderError("overloaded", "Full."), id="an error"),
        pytest.param(Ending(finish_reason="stop"), id="an empty stream"),
    ],
)
async def test_what_is_no_answer_does_not_win(end: Any, autojump_clock: Clock) -> None:
    slow = Turns("a", [(10, "slow")])
    events = await timeline(slow, fallbacks={"a": [Turns("b", [(1, end)])]}, hedge_after=3)
    assert said(events) == [(10, "slow")]
    assert not [e for _, e in events if isinstance(e, ErrorChunk)]
    assert end_of(events)[1].answered_by is UNSET


async def test_when_the_first_fails_the_second_goes_on(autojump_clock: Clock) -> None:
    first = Turns("a", [(4, ProviderError("overloaded", "Full."))])
    events = await timeline(first, fallbacks={"a": [Turns("b", [(5, "x")])]}, hedge_after=3)
    assert (said(events), end_of(events)[1].answered_by) == ([(8, "x")], "b")


async def test_one_that_fails_before_the_second_begins_is_replaced_at_once(
    autojump_clock: Clock,
) -> None:
    first = Turns("a", [(1, ProviderError("overloaded", "Full."))])
    events = await timeline(first, fallbacks={"a": [Turns("b", [(1, "x")])]}, hedge_after=3)
    assert said(events) == [(2, "x")]


async def test_a_slow_one_is_no_reason_to_ask_again_once_all_have_failed(
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", [(1, ProviderError("bad_request", "No."))])
    events = await timeline(provider, hedge_after=3)
    at, done = end_of(events)
    assert (at, done.code, provider.asked_at) == (1, "bad_request", [0])


async def test_the_failure_of_the_last_is_told_when_both_fail(autojump_clock: Clock) -> None:
    first = Turns("a", [(9, ProviderError("overloaded", "Full."))])
    second = Turns("b", [(1, ProviderError("unauthorized", "No key."))])
    events = await timeline(first, fallbacks={"a": [second]}, hedge_after=3)
    at, done = end_of(events)
    assert (at, done.code, done.attempts) == (9, "overloaded", 2)
    assert said(events) == []


async def test_the_winner_s_failure_is_the_model_s(autojump_clock: Clock) -> None:
    provider = Turns("a", [(0, Stall())], [(1, "half"), (1, ProviderError("truncated", "Cut."))])
    events = await timeline(provider, hedge_after=3)
    at, done = end_of(events)
    assert (at, done.code, said(events)) == (5, "truncated", [(4, "half")])


async def test_each_request_is_asked_again_by_itself(autojump_clock: Clock) -> None:
    first = Turns("a", [(1, too_many())], [(0, Stall())])
    second = Turns("b", [(1, too_many())], [(1, "x")])
    events = await timeline(
        first,
        fallbacks={"a": [second]},
        hedge_after=3,
        persistence=Persistence(attempts=3, draw=lambda: 1.0),
    )
    assert (first.asked_at, second.asked_at) == ([0, 1.5], [3, 4.5])
    assert said(events) == [(5.5, "x")]
    assert end_of(events)[1].attempts == 4


@pytest.mark.parametrize(
    ("steps", "code", "at"),
    [
        pytest.param([(99, Connect())], "connect_timeout", 5, id="connect"),
        pytest.param([(1, Connect()), (0, Stall())], "first_token_timeout", 31, id="first token"),
        pytest.param([(1, Alive()), *[(10, Alive())] * 9], "first_token_timeout", 30, id="alive"),
        pytest.param([(1, Thought("h")), (0, Stall())], "idle_timeout", 61, id="idle"),
        pytest.param(
            [(1, Thought("h")), (50, Alive()), (0, Stall())], "idle_timeout", 111, id="idle, alive"
        ),
    ],
)
async def test_each_request_has_clocks_of_silence_of_its_own(
    steps: Any, code: str, at: float, autojump_clock: Clock
) -> None:
    first, second = Turns("a", steps), Turns("b", [(1, "x")])
    await timeline(first, fallbacks={"a": [second]}, hedge_after=200)
    assert second.asked_at == [at]  # it stepped in
    events = await timeline(Turns("a", steps), hedge_after=200)
    assert (end_of(events)[0], end_of(events)[1].code) == (at, code)


async def test_the_winner_is_under_the_models_own_clocks(autojump_clock: Clock) -> None:
    provider = Turns("a", [(0, Stall())], [(1, "x"), (0, Stall())])
    events = await timeline(provider, hedge_after=3)
    at, done = end_of(events)
    assert (at, done.code) == (64, "idle_timeout")


async def test_the_whole_answers_clock_is_for_both(autojump_clock: Clock) -> None:
    provider = Turns("a", [(1, Thought("hm")), (0, Stall())])
    patience = Patience(first_token=900, idle=900, total=50)
    events = await timeline(provider, hedge_after=3, patience=patience)
    at, done = end_of(events)
    assert (at, done.code, provider.running) == (50, "total_timeout", 0)
    # Both were at work: one token asked and one thought, twice.
    assert done.usage == Usage(input_tokens=2, output_tokens=2, reasoning_tokens=2, estimated=True)


async def test_the_wait_in_line_does_not_count_for_the_hedge(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    provider = Turns("a", [(1, "x")])
    got: list[tuple[float, Event]] = []

    async def ask() -> None:
        got.extend(await timeline(provider, hedge_after=3, limiters=OneForAll(limiter)))

    async with trio.open_nursery() as nursery:
        with limiter.queue("x"):
            nursery.start_soon(ask)
            await trio.sleep(10)
    assert [e.ahead for _, e in got if isinstance(e, Queued)] == [0]
    assert (provider.asked_at, said(got)) == ([10], [(11, "x")])
    assert end_of(got)[1].timings.queue_ms == 10_000


async def test_one_that_has_lost_asks_nobody_though_it_fails_at_that_very_moment(
    autojump_clock: Clock,
) -> None:
    class AtOnce(Turns):
        """Goes on when it is told, in the same step as whoever else is."""

        async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
            sink.connected()
            sink.first_byte()
            await go.wait()
            return await super().stream(prompt, sink)

    for _ in range(8):  # Trio draws lots for who comes first
        go = trio.Event()
        failing = AtOnce("a", [(0, ProviderError("bad_request", "No."))])
        quick = AtOnce("b", [(0, "quick"), (1, " end")])
        third = Turns("c", [(1, "x")])
        async with trio.open_nursery() as nursery:

            async def in_five_seconds(go: trio.Event) -> None:
                await trio.sleep(5)
                go.set()

            nursery.start_soon(in_five_seconds, go)
            events = await timeline(failing, fallbacks={"a": [quick, third]}, hedge_after=2)
        done = end_of(events)[1]
        assert (third.asked_at, done.attempts, done.answered_by) == ([], 2, "b")
        assert (done.timings.connect_ms, done.timings.first_byte_ms) == (2000, 2000)
        assert done.usage is not None
        assert done.usage.output_tokens == 3


@pytest.mark.parametrize("hedge_after", [None, 200], ids=["alone", "in a race"])
async def test_who_speaks_at_the_very_moment_of_a_clock_is_in_time(
    hedge_after: float | None, autojump_clock: Clock
) -> None:
    provider = Turns("a", [(5, Connect()), (30, "x"), (60, "y")])
    done = end_of(await timeline(provider, hedge_after=hedge_after))[1]
    assert (done.code, done.chunks) == (None, 2)


async def test_text_that_is_there_wins_though_its_clock_has_passed_in_a_long_step(
    autojump_clock: Clock,
) -> None:
    class Told(Turns):
        async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
            sink.connected()
            await there.wait()
            await sink.text("x")
            await trio.sleep(1)
            return Ending(finish_reason="stop")

    there = trio.Event()
    async with trio.open_nursery() as nursery:

        async def be_busy() -> None:
            await trio.sleep(29.5)
            there.set()
            autojump_clock.jump(1)

        nursery.start_soon(be_busy)
        events = await timeline(Told("a"), hedge_after=200)
    assert (end_of(events)[1].code, [text for _, text in said(events)]) == (None, ["x"])


async def test_what_came_before_a_stop_comes_first_whoever_reads_slowly(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    other = Turns("b", [(1, Thought("t" * 40)), (1, "hello"), (0, Stall())])
    asked = comparison(
        Turns("a", [(1, ProviderError("overloaded", "Full."))]),
        fallbacks={"a": [other]},
        limiters=OneForAll(limiter),
        hedge_after=100,
    )
    holder = limiter.queue("x")
    async with asked.open() as inbox:
        await inbox.receive()
        await trio.sleep(1)
        holder.__exit__(None, None, None)
        await trio.sleep(9)
        asked.stop_model("a")
        await trio.sleep(9)
        events = [(0.0, event) async for event in inbox]
    kinds = [event.type for _, event in events]
    assert kinds == ["queued", "fallback", "reasoning", "chunk", "chunk", "done", "complete"]
    assert said(events) == [(0, "hello")]
    done = end_of(events)[1]
    assert (done.chunks, done.stopped_by) == (1, "request")
    assert done.usage == Usage(
        input_tokens=1, output_tokens=12, reasoning_tokens=10, estimated=True
    )


async def test_a_fallback_says_why_the_one_before_it_failed(autojump_clock: Clock) -> None:
    first = Turns("a", [(1, ProviderError("overloaded", "Full."))])
    events = await timeline(first, fallbacks={"a": [Turns("b", [(1, "x")])]}, hedge_after=3)
    assert stepped_in(events) == [(2, "b", "overloaded")]


async def test_one_that_lost_after_it_was_refused_costs_nothing(autojump_clock: Clock) -> None:
    class Refusing(Turns):
        async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
            sink.connected()
            sink.refused()
            sink.first_byte()
            return await trio.sleep_forever()  # its words are long in coming

    events = await timeline(Refusing("a"), fallbacks={"a": [Turns("b", PAID)]}, hedge_after=3)
    done = end_of(events)[1]
    assert (done.usage, done.cost_usd) == (USAGE, 1)


async def test_a_bug_in_one_of_them_ends_the_model_and_leaves_nothing(
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", [(0, Stall())], [(1, ZeroDivisionError("oops"))])
    events = await timeline(provider, hedge_after=3)
    assert (end_of(events)[1].code, provider.running) == ("internal_error", 0)


def test_a_race_may_be_cancelled_at_any_step() -> None:
    async def run(step: int) -> bool:
        limiter = Limiter(2)
        slow = Turns("a", [(2, too_many())], [(9, "slow")])
        quick = Turns("b", [(1, Thought("hm")), (1, "quick"), (1, " end")])
        asked = comparison(
            slow,
            fallbacks={"a": [quick]},
            hedge_after=1,
            limiters=OneForAll(limiter),
            persistence=Persistence(attempts=3, draw=lambda: 1.0),
        )
        with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
            async with asked.open() as inbox:
                async for _ in inbox:
                    pass
        assert (limiter.running, limiter.waiting) == (0, 0), step
        assert slow.running == quick.running == 0, step
        return moment.came

    for step in count(1):
        if not trio.run(run, step, clock=trio.testing.MockClock(autojump_threshold=0)):
            break
    assert step > 30
