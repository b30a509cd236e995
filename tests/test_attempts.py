"""What happens before a model's first token: the line, further attempts, and who steps in.

All times are virtual and exact; the lot is drawn as each test says.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing
from msgspec import UNSET

from service.comparison import Comparison
from service.errors import ProviderError
from service.events import Chunk, Done, ErrorChunk, Event, Fallback, Queued, Start, Usage
from service.limiter import Limiter
from service.patience import Patience
from service.persistence import Persistence
from service.pricing import Price
from service.providers import Ending, Prompt, Sink
from service.testing import Connect, Script, Stall, Thought
from tests.asking import comparison, timeline
from tests.every_step import at_step
from tests.providing import OneForAll, Turns, too_many

Clock = trio.testing.MockClock
Timeline = Sequence[tuple[float, Event]]

ALWAYS_LONGEST = Persistence(attempts=3, draw=lambda: 1.0)
"""Waits of half a second, then of one."""
USAGE = Usage(input_tokens=7, output_tokens=5, reasoning_tokens=2, estimated=False)
WHOLE: list[tuple[float, Any]] = [(1, "x")]


def in_a_second(name: str) -> Turns:
    return Turns(name, WHOLE)


def done_of(events: Timeline, model: str = "a") -> Done:
    [done] = [e for _, e in events if isinstance(e, Done) and e.model == model]
    return done


def done_at(events: Timeline, model: str = "a") -> float:
    [at] = [at for at, e in events if isinstance(e, Done) and e.model == model]
    return at


def said(events: Timeline, model: str = "a") -> list[tuple[float, str]]:
    return [(at, e.content) for at, e in events if isinstance(e, Chunk) and e.model == model]


def queued(events: Timeline, model: str = "a") -> list[tuple[float, int]]:
    return [(at, e.ahead) for at, e in events if isinstance(e, Queued) and e.model == model]


# --- asked again ---


async def test_what_the_provider_says_may_work_later_is_asked_again(autojump_clock: Clock) -> None:
    provider = Turns("a", [(1, too_many())], [(1, too_many())], WHOLE)
    events = await timeline(provider, persistence=ALWAYS_LONGEST)
    assert provider.asked_at == [0, 1.5, 3.5]
    assert said(events) == [(4.5, "x")]
    done = done_of(events)
    assert (done.code, done.attempts, done.chunks) == (None, 3, 1)


async def test_it_is_asked_so_often_and_no_more(autojump_clock: Clock) -> None:
    provider = Turns("a", [(1, too_many())])
    events = await timeline(provider, persistence=ALWAYS_LONGEST)
    assert len(provider.asked_at) == 3
    done = done_of(events)
    assert (done.code, done.attempts) == ("rate_limited", 3)


async def test_without_further_ado_nothing_is_asked_again(autojump_clock: Clock) -> None:
    provider = Turns("a", [(1, too_many())], WHOLE)
    events = await timeline(provider)
    assert (len(provider.asked_at), done_of(events).attempts) == (1, 1)


@pytest.mark.parametrize(
    "error",
    [
        ProviderError("bad_request", "No."),
        ProviderError("unauthorized", "No."),
        ProviderError("truncated", "Cut."),
        ProviderError("rate_limited", "Until tomorrow.", retryable=False),
    ],
    ids=lambda error: error.code,
)
async def test_what_would_fail_again_is_not_asked_again(
    error: ProviderError, autojump_clock: Clock
) -> None:
    provider = Turns("a", [(1, error)], WHOLE)
    events = await timeline(provider, persistence=ALWAYS_LONGEST)
    assert (len(provider.asked_at), done_of(events).code) == (1, error.code)


@pytest.mark.parametrize("step", ["text", Thought("hm")], ids=["text", "reasoning"])
async def test_after_the_first_token_nothing_is_asked_again(
    step: Any, autojump_clock: Clock
) -> None:
    provider = Turns("a", [(1, step), (1, too_many())], WHOLE)
    events = await timeline(provider, persistence=ALWAYS_LONGEST)
    assert len(provider.asked_at) == 1
    done = done_of(events)
    assert (done.code, done.attempts) == ("rate_limited", 1)


async def test_a_connection_that_broke_before_the_answer_began_is_made_anew(
    autojump_clock: Clock,
) -> None:
    broken = ProviderError("upstream_disconnected", "It broke.", retryable=True)
    early = Turns("early", [(0, Connect()), (1, broken)], WHOLE)
    late = Turns("late", [(1, broken)], WHOLE)  # its headers had come: it was at work
    events = await timeline(early, late, persistence=ALWAYS_LONGEST)
    assert (len(early.asked_at), done_of(events, "early").code) == (2, None)
    assert (len(late.asked_at), done_of(events, "late").code) == (1, "upstream_disconnected")


async def test_retry_after_is_waited_for_and_a_little_longer(autojump_clock: Clock) -> None:
    provider = Turns("a", [(0, too_many(retry_after=7))], WHOLE)
    await timeline(provider, persistence=Persistence(attempts=2, draw=lambda: 0.5))
    assert provider.asked_at == [0, 7.25]


async def test_a_provider_that_asks_for_too_long_a_wait_is_not_asked_again(
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", [(1, too_many(retry_after=21))], WHOLE)
    events = await timeline(provider, persistence=ALWAYS_LONGEST)
    assert (done_at(events), done_of(events).code) == (1, "rate_limited")


async def test_a_wait_that_would_outlast_the_whole_answers_clock_is_not_begun(
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", [(1, too_many(retry_after=9))], WHOLE)
    events = await timeline(provider, persistence=ALWAYS_LONGEST, patience=Patience(total=10))
    assert (done_at(events), done_of(events).code) == (1, "rate_limited")


async def test_each_request_has_clocks_of_silence_of_its_own(autojump_clock: Clock) -> None:
    provider = Turns("a", [(25, too_many())], [(25, "x")])
    events = await timeline(
        provider, persistence=ALWAYS_LONGEST, patience=Patience(first_token=30, total=300)
    )
    assert said(events) == [(50.5, "x")]


async def test_a_wait_holds_no_place(autojump_clock: Clock) -> None:
    limiter = Limiter(1, draw=lambda: 0.0)
    failing = Turns("a", [(0, too_many())], WHOLE)
    got: dict[str, Timeline] = {}

    async def ask(provider: Turns) -> None:
        got[provider.name] = await timeline(
            provider, limiters=OneForAll(limiter), persistence=ALWAYS_LONGEST
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, failing)
        await trio.sleep(0.125)
        nursery.start_soon(ask, Turns("b", [(0.25, "y")]))
    assert said(got["b"], "b") == [(0.25, "y")]  # in the half second in which a waits
    assert said(got["a"]) == [(1.5, "x")]
    assert (limiter.running, limiter.waiting) == (0, 0)


async def test_what_all_requests_took_is_counted(autojump_clock: Clock) -> None:
    failed = ProviderError("overloaded", "No.", retryable=True, usage=USAGE, cost_usd=0.25)
    provider = Turns(
        "a", [(0, failed)], [(0, "x"), (0, Ending(finish_reason="stop", usage=USAGE, cost_usd=1))]
    )
    done = done_of(await timeline(provider, persistence=ALWAYS_LONGEST))
    assert done.usage == Usage(
        input_tokens=14, output_tokens=10, reasoning_tokens=4, estimated=False
    )
    assert done.cost_usd == 1.25


async def test_a_refused_request_costs_nothing(autojump_clock: Clock) -> None:
    ending = Ending(finish_reason="stop", usage=USAGE, cost_usd=1)
    provider = Turns("a", [(0, too_many())], [(0, "x"), (0, ending)])
    done = done_of(await timeline(provider, persistence=ALWAYS_LONGEST))
    assert (done.usage, done.cost_usd) == (USAGE, 1)


async def test_the_times_are_those_of_the_request_that_was_answered(autojump_clock: Clock) -> None:
    provider = Turns("a", [(1, Connect()), (1, too_many())], [(3, Connect()), (4, "x")])
    timings = done_of(await timeline(provider, persistence=ALWAYS_LONGEST)).timings
    assert (timings.connect_ms, timings.first_token_ms) == (5500, 9500)


@pytest.mark.parametrize(
    ("attempts", "bound"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8), (6, 8), (99, 8)]
)
def test_a_wait_is_drawn_from_all_up_to_a_bound_that_doubles(attempts: int, bound: float) -> None:
    waits = []
    for drawn in (0.0, 0.5, 0.75):
        persistence = Persistence(attempts=100, draw=lambda drawn=drawn: drawn)  # type: ignore[misc]
        waits.append(persistence.wait_after(too_many(), attempts))
    assert waits == [0, bound / 2, bound * 0.75]


# --- in line ---


async def test_nothing_is_said_of_a_line_in_which_nobody_waits(autojump_clock: Clock) -> None:
    events = await timeline(*map(in_a_second, "abc"), limiters=OneForAll(Limiter(3)))
    assert not [e for _, e in events if isinstance(e, Queued)]
    assert {e.timings.queue_ms for _, e in events if isinstance(e, Done)} == {0.0}


async def test_whoever_waits_is_told_how_many_are_ahead_and_when_that_changes(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    got: list[tuple[float, Event]] = []

    async def ask() -> None:
        got.extend(await timeline(in_a_second("a"), limiters=OneForAll(limiter)))

    async with trio.open_nursery() as nursery:
        with limiter.queue("x"):
            with limiter.queue("y"):
                nursery.start_soon(ask)
                await trio.sleep(10)
            await trio.sleep(10)
    assert queued(got) == [(0, 1), (10, 0)]
    assert said(got) == [(21, "x")]
    timings = done_of(got).timings
    assert (timings.queue_ms, timings.connect_ms, timings.duration_ms) == (20_000, 20_000, 21_000)


async def test_the_line_is_not_silence_and_counts_for_the_whole_answer(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    patience = Patience(connect=5, first_token=5, idle=5, total=100)
    provider = Turns("a", WHOLE)
    with limiter.queue("x"):
        events = await timeline(provider, limiters=OneForAll(limiter), patience=patience)
    assert provider.asked_at == []
    done = done_of(events)
    assert (done_at(events), done.code, done.attempts, done.usage) == (
        100,
        "total_timeout",
        0,
        None,
    )
    assert done.timings.queue_ms == 100_000
    assert limiter.waiting == 0


async def test_after_the_line_the_clocks_of_silence_begin_anew(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    patience = Patience(connect=5, first_token=5, idle=5, total=100)
    got: dict[str, Timeline] = {}

    async def ask(name: str, *steps: tuple[float, Any]) -> None:
        got[name] = await timeline(
            Turns(name, steps), limiters=OneForAll(limiter), patience=patience
        )

    cases: dict[str, list[tuple[float, Any]]] = {
        "silent": [(0, Stall())],
        "unreachable": [(9, Connect())],
        "slow": [(4, Connect()), (4, "x")],
    }
    for name, steps in cases.items():
        async with trio.open_nursery() as nursery:
            with limiter.queue("x"):
                nursery.start_soon(ask, name, *steps)
                await trio.sleep(50)
    ends = {
        name: (done_at(events, name), done_of(events, name).code) for name, events in got.items()
    }
    assert ends == {
        "silent": (55, "first_token_timeout"),
        "unreachable": (55, "connect_timeout"),
        "slow": (58, None),
    }


async def test_a_line_that_is_too_long_ends_a_model_as_overloaded(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    limiter._most_waiting = 0
    provider = Turns("a", WHOLE)
    with limiter.queue("x"):
        events = await timeline(provider, limiters=OneForAll(limiter))
    assert (provider.asked_at, done_of(events).code) == ([], "overloaded")
    [words] = [e.content for _, e in events if isinstance(e, ErrorChunk)]
    assert words.startswith("Error: Too many requests wait for this provider")


async def test_a_reader_that_does_not_read_is_told_the_last_number_only(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    asked = comparison(in_a_second("a"), limiters=OneForAll(limiter))
    with limiter.queue("x"), limiter.queue("w"):
        async with asked.open() as inbox:
            with limiter.queue("y"), limiter.queue("z"):
                assert isinstance(await inbox.receive(), Start)
                await trio.sleep(1)
                assert len(limiter._line) == 4
            await trio.sleep(1)
            told = await inbox.receive()
    assert told == Queued(model="a", ahead=1)


def test_a_comparison_may_be_cancelled_at_any_step_of_its_waiting() -> None:
    async def run(step: int) -> bool:
        limiter = Limiter(2)
        providers = [Turns(name, [(0.5, too_many())], WHOLE) for name in "abcd"]
        asked = comparison(*providers, limiters=OneForAll(limiter), persistence=ALWAYS_LONGEST)
        with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
            async with asked.open() as inbox:
                async for _ in inbox:
                    pass
        assert (limiter.running, limiter.waiting) == (0, 0), step
        assert not any(provider.running for provider in providers), step
        return moment.came

    for step in count(1):
        if not trio.run(run, step, clock=trio.testing.MockClock(autojump_threshold=0)):
            break
    assert step > 60


# --- who steps in ---


def steps_in(events: Timeline) -> list[tuple[float, str, str | None]]:
    return [(at, e.asked, e.code) for at, e in events if isinstance(e, Fallback)]


async def test_a_model_that_fails_before_its_first_token_is_replaced(
    autojump_clock: Clock,
) -> None:
    failing = Turns("a", [(1, ProviderError("model_not_found", "No such model."))])
    also = Turns("b", [(2, ProviderError("overloaded", "Full."))])
    events = await timeline(failing, fallbacks={"a": [also, Turns("c", WHOLE)]})
    assert steps_in(events) == [(1, "b", "model_not_found"), (3, "c", "overloaded")]
    assert said(events) == [(4, "x")]
    done = done_of(events)
    assert (done.code, done.attempts, done.answered_by) == (None, 3, "c")
    assert not [e for _, e in events if isinstance(e, ErrorChunk)]


async def test_it_is_asked_again_first(autojump_clock: Clock) -> None:
    failing = Turns("a", [(0, too_many())])
    events = await timeline(
        failing, fallbacks={"a": [Turns("b", WHOLE)]}, persistence=ALWAYS_LONGEST
    )
    assert failing.asked_at == [0, 0.5, 1.5]
    assert steps_in(events) == [(1.5, "b", "rate_limited")]
    assert done_of(events).attempts == 4


async def test_one_that_has_spoken_is_not_replaced(autojump_clock: Clock) -> None:
    broken = Turns("a", [(1, "half "), (1, ProviderError("provider_error", "It broke."))])
    events = await timeline(broken, fallbacks={"a": [Turns("b", WHOLE)]})
    assert steps_in(events) == []
    done = done_of(events)
    assert (done.code, done.answered_by, said(events)) == ("provider_error", UNSET, [(1, "half ")])


async def test_without_need_nobody_steps_in(autojump_clock: Clock) -> None:
    other = Turns("b", WHOLE)
    events = await timeline(in_a_second("a"), fallbacks={"a": [other]})
    assert (other.asked_at, done_of(events).answered_by, steps_in(events)) == ([], UNSET, [])


@pytest.mark.parametrize(
    ("step", "code", "at"),
    [(Connect(), "connect_timeout", 5), (Stall(), "first_token_timeout", 30)],
    ids=["no connection", "no first token"],
)
async def test_silence_is_a_failure_like_others_where_somebody_can_step_in(
    step: Any, code: str, at: float, autojump_clock: Clock
) -> None:
    silent = Turns("a", [(99, step)])
    events = await timeline(silent, fallbacks={"a": [Turns("b", [(29, "x")])]})
    assert steps_in(events) == [(at, "b", code)]
    assert silent.running == 0
    assert (said(events), done_of(events).code) == ([(at + 29, "x")], None)


async def test_a_request_that_was_cut_for_its_silence_is_counted_as_an_estimate(
    autojump_clock: Clock,
) -> None:
    silent = Turns("a", [(0, Stall())])
    other = Turns("b", [(0, "x"), (0, Ending(finish_reason="stop", usage=USAGE, cost_usd=1))])
    done = done_of(await timeline(silent, fallbacks={"a": [other]}))
    assert done.usage == Usage(input_tokens=8, output_tokens=5, reasoning_tokens=2, estimated=True)
    assert done.cost_usd is None  # a part of a sum is not a smaller truth


async def test_silence_after_a_token_ends_the_model_even_so(autojump_clock: Clock) -> None:
    silent = Turns("a", [(1, "x"), (0, Stall())])
    events = await timeline(silent, fallbacks={"a": [Turns("b", WHOLE)]})
    assert (done_at(events), done_of(events).code, steps_in(events)) == (61, "idle_timeout", [])
    assert [e.content for _, e in events if isinstance(e, ErrorChunk)] == ["Error: Timeout (60s)"]


async def test_the_whole_answers_clock_is_for_all_of_them(autojump_clock: Clock) -> None:
    silent = Turns("a", [(0, Stall())])
    events = await timeline(
        silent,
        fallbacks={"a": [Turns("b", [(0, Stall())]), Turns("c", [(0, Stall())])]},
        patience=Patience(first_token=30, total=70),
    )
    done = done_of(events)
    assert (done_at(events), done.code, done.answered_by) == (70, "total_timeout", "c")


async def test_when_the_whole_answers_clock_has_run_out_nobody_steps_in(
    autojump_clock: Clock,
) -> None:
    other = Turns("b", WHOLE)
    patience = Patience(first_token=90, total=70)
    events = await timeline(Turns("a", [(0, Stall())]), fallbacks={"a": [other]}, patience=patience)
    done = done_of(events)
    assert (done_at(events), done.code, done.answered_by) == (70, "total_timeout", UNSET)
    assert (other.asked_at, steps_in(events)) == ([], [])


async def test_when_all_fail_the_last_failure_is_told_and_whose_it_was(
    autojump_clock: Clock,
) -> None:
    failing = Turns("a", [(1, ProviderError("model_not_found", "No such model."))])
    last = Turns("b", [(1, ProviderError("overloaded", "All full."))])
    events = await timeline(failing, in_a_second("other"), fallbacks={"a": [last]})
    done = done_of(events)
    assert (done.code, done.answered_by) == ("overloaded", "b")
    assert [e.content for _, e in events if isinstance(e, ErrorChunk)] == ["Error: All full."]
    assert done_of(events, "other").code is None


# --- counted once ---

DEAR = {"a": Price(input=Decimal("0.001"), output=Decimal("0.001"))}
IN_STREAM = ProviderError("provider_error", "It broke.", retryable=True, usage=USAGE, cost_usd=0.5)


async def stopped(at: float, asked: Comparison) -> Timeline:
    events: list[tuple[float, Event]] = []
    async with trio.open_nursery() as nursery, asked.open() as inbox:

        async def stop() -> None:
            await trio.sleep(at)
            asked.stop_model("a")

        nursery.start_soon(stop)
        events += [(trio.current_time(), event) async for event in inbox]
    return events


async def test_what_a_failed_request_took_is_known_though_the_last_one_never_left(
    autojump_clock: Clock,
) -> None:
    no = ProviderError("connect_error", "No.")
    unreachable: list[tuple[float, Any]] = [(0, no), (1, Connect())]
    provider = Turns("a", [(1, IN_STREAM)], unreachable)
    done = done_of(await timeline(provider, persistence=ALWAYS_LONGEST, prices=DEAR))
    assert (done.code, done.attempts) == ("connect_error", 2)
    assert (done.usage, done.cost_usd, done.cost_estimated) == (USAGE, 0.5, UNSET)


async def test_a_failed_request_is_counted_once_if_the_next_is_never_made(
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", [(1, IN_STREAM)], WHOLE)
    asked = comparison(provider, persistence=ALWAYS_LONGEST, prices=DEAR)
    done = done_of(await stopped(1.25, asked))
    assert (done.code, done.attempts, provider.asked_at) == ("cancelled", 1, [0])
    assert (done.usage, done.cost_usd, done.cost_estimated) == (USAGE, 0.5, UNSET)


async def test_a_silent_request_is_counted_once_if_the_follower_never_gets_its_turn(
    autojump_clock: Clock,
) -> None:
    class OnlyFor(OneForAll):
        def of(self, provider: str) -> Limiter | None:  # type: ignore[override]
            return self.limiter if provider == "b" else None

    limiter = Limiter(1)
    other = Turns("b", WHOLE)
    asked = comparison(
        Turns("a", [(0, Stall())]),
        fallbacks={"a": [other]},
        limiters=OnlyFor(limiter),
        text="x" * 400,
    )
    with limiter.queue("someone"):
        done = done_of(await stopped(31, asked))
    assert (done.attempts, other.asked_at) == (1, [])
    assert done.usage == Usage(
        input_tokens=100, output_tokens=0, reasoning_tokens=0, estimated=True
    )


# --- a client that does not read ---


async def test_a_client_that_has_not_taken_its_place_in_line_holds_no_place_at_the_provider(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    provider = Turns("a", WHOLE)
    asked = comparison(provider, limiters=OneForAll(limiter))
    holder = limiter.queue("x")
    async with asked.open() as inbox:
        assert isinstance(await inbox.receive(), Start)
        await trio.sleep(1)
        holder.__exit__(None, None, None)
        await trio.sleep(9)
        # Asked in its turn; its answer has joined what is still to be taken.
        assert (provider.asked_at, limiter.running) == ([1], 1)
        assert await inbox.receive() == Queued(model="a", ahead=0)
        assert await inbox.receive() == Chunk(model="a", content="x")


class HalfASecond(Script):
    """Its headers take so long."""

    def __init__(self) -> None:
        super().__init__("a")

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        sink.connected()
        await trio.sleep(0.5)
        sink.first_byte()
        await sink.text("x")
        return Ending(finish_reason="stop")


async def test_a_slow_client_does_not_make_its_provider_look_slow(autojump_clock: Clock) -> None:
    limiter = Limiter(4)
    limiters = OneForAll(limiter)
    for _ in range(5):
        await timeline(HalfASecond(), limiters=limiters)

    async def ask_and_pause() -> None:
        async with comparison(HalfASecond(), limiters=limiters).open() as inbox:
            async for event in inbox:
                if isinstance(event, Start):
                    await trio.sleep(6)

    async with trio.open_nursery() as nursery:
        holders = [limiter.queue("x") for _ in range(4)]
        for _ in range(4):
            nursery.start_soon(ask_and_pause)
        await trio.sleep(1)
        for holder in holders:
            holder.__exit__(None, None, None)
    assert limiter.limit == 4


async def test_text_that_came_before_a_stop_comes_first_whoever_reads_slowly(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    asked = comparison(Turns("a", [(1, "hello"), (0, Stall())]), limiters=OneForAll(limiter))
    holder = limiter.queue("x")
    async with asked.open() as inbox:
        assert isinstance(await inbox.receive(), Start)
        await trio.sleep(1)
        holder.__exit__(None, None, None)
        await trio.sleep(5)
        asked.stop_model("a")
        events = [(0.0, event) async for event in inbox]
    assert said(events) == [(0, "hello")]
    assert done_of(events).chunks == 1
