"""Who may ask a provider now, who waits, and that no place is ever lost; all times are virtual."""

from __future__ import annotations

import math
from contextlib import ExitStack
from itertools import count

import pytest
import trio
import trio.testing

from service.errors import ProviderError
from service.limiter.door import LONGEST_HOLD, PAUSE_SECONDS
from service.limiter.limiter import LEAST_LINE, ROUNDS, TOLD_EVERY, Limiter, Limiters, Ticket
from tests.every_step import at_step
from tests.providing import too_many

Clock = trio.testing.MockClock


class Queue:
    """Requests of several comparisons to one limiter, each of which runs for a second."""

    def __init__(self, limiter: Limiter, seconds: float = 1) -> None:
        self.limiter = limiter
        self.order: list[str] = []
        self._seconds = seconds

    async def ask(self, party: str) -> None:
        with self.limiter.queue(party) as ticket:
            while not ticket.admitted:
                await ticket.changed()
            self.order.append(party)
            assert self.limiter.running <= self.limiter.limit
            await trio.sleep(self._seconds)

    async def ask_all(self, parties: str) -> None:
        """One request for each letter, in this order."""
        async with trio.open_nursery() as nursery:
            for party in parties:
                nursery.start_soon(self.ask, party)
                await trio.testing.wait_all_tasks_blocked()


def nobody_is_left(limiter: Limiter) -> bool:
    load = limiter._load
    return (load.running, load.unanswered, len(load._answered), limiter.waiting) == (0, 0, 0, 0)


async def test_whoever_need_not_wait_is_admitted_in_a_step(autojump_clock: Clock) -> None:
    limiter = Limiter(2)
    with limiter.queue("a") as one, limiter.queue("b") as two:
        assert (one.admitted, two.admitted) == (True, True)
        with limiter.queue("c") as three:
            assert not three.admitted
    assert nobody_is_left(limiter)


async def test_no_more_run_than_may_and_all_get_their_turn(autojump_clock: Clock) -> None:
    limiter = Limiter(3)
    queue = Queue(limiter)
    await queue.ask_all("a" * 10)
    assert queue.order == ["a"] * 10
    assert trio.current_time() == 4
    assert nobody_is_left(limiter)


async def test_comparisons_take_turns_however_many_models_they_have(autojump_clock: Clock) -> None:
    queue = Queue(Limiter(1))
    await queue.ask_all("aaaaaaaaa" + "b" + "cc")
    assert "".join(queue.order) == "a" + "abc" + "ac" + "aaaaaa"


async def test_a_comparison_of_one_model_waits_for_one_request_of_each_other(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    with limiter.queue("running"):
        stack = ExitStack()
        for party in "abc":
            for _ in range(9):
                stack.enter_context(limiter.queue(party))
        mine = stack.enter_context(limiter.queue("mine"))
        assert mine.ahead == 3
        stack.close()


async def test_the_number_ahead_is_how_many_are_really_admitted_before(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    order: list[Ticket] = []
    with limiter.queue("running") as running:
        assert running.ahead == 0
        tickets = [limiter.queue(party) for party in "aaabbcaabdd"]
        told = {ticket: ticket.ahead for ticket in tickets}
    waiting = list(tickets)
    while waiting:
        [admitted] = [ticket for ticket in waiting if ticket.admitted]
        waiting.remove(admitted)
        order.append(admitted)
        with admitted:
            pass
    assert [told[ticket] for ticket in order] == list(range(len(tickets)))
    assert nobody_is_left(limiter)


async def test_a_ticket_is_told_of_its_place_at_most_four_times_a_second(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    told: list[tuple[float, int]] = []

    async def wait() -> None:
        with limiter.queue("mine") as ticket:
            while not ticket.admitted:
                told.append((trio.current_time(), ticket.ahead))
                await ticket.changed()
            told.append((trio.current_time(), ticket.ahead))

    with ExitStack() as stack:
        running = [stack.enter_context(limiter.queue(party)) for party in "abcdefghij"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            for ticket in running:
                await trio.sleep(0.12)
                assert ticket.admitted
                ticket.__exit__(None, None, None)
            stack.pop_all()
    assert [ahead for _, ahead in told] == [9, 7, 5, 3, 1, 0]
    assert [round(at, 3) for at, _ in told] == [0, TOLD_EVERY, 0.5, 0.75, 1, 1.2]


async def test_nobody_is_woken_while_the_line_stands(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    with limiter.queue("a"), limiter.queue("b") as ticket:
        with trio.move_on_after(100):
            await ticket.changed()
            pytest.fail("nothing changed")


async def test_whoever_leaves_the_line_moves_the_others_forward(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    with limiter.queue("a"), limiter.queue("c") as mine:
        with limiter.queue("b"):
            pass
        with limiter.queue("b") as other:
            assert (mine.ahead, other.ahead) == (0, 1)
            mine.__exit__(None, None, None)
            assert other.ahead == 0
            limiter._line.add("c", mine)
    assert nobody_is_left(limiter)


def test_no_place_is_lost_to_a_cancellation_at_any_step() -> None:
    async def run(step: int) -> bool:
        limiter = Limiter(2)
        queue = Queue(limiter)
        scopes: list[trio.CancelScope] = []

        async def cancellable(party: str) -> None:
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await queue.ask(party)

        def cancel() -> None:
            # One that runs, one that waits, and one that may just have been given its place.
            for index in (0, 3, 4):
                if index < len(scopes):
                    scopes[index].cancel()

        with at_step(step, cancel) as moment:
            async with trio.open_nursery() as nursery:
                for party in "aaabbc":
                    nursery.start_soon(cancellable, party)
        assert nobody_is_left(limiter), step
        assert limiter.limit == 2
        await queue.ask_all("ab")  # both places are there
        return moment.came

    for step in count(1):
        if not trio.run(run, step, clock=trio.testing.MockClock(autojump_threshold=0)):
            break
    assert step > 20


async def test_a_place_that_is_given_back_by_cancellation_goes_to_the_next(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    with limiter.queue("a"):
        given, next_one = limiter.queue("b"), limiter.queue("c")
    assert (given.admitted, next_one.admitted) == (True, False)
    with given:
        pass  # it was cancelled before it noticed
    assert next_one.admitted
    with next_one:
        pass
    assert nobody_is_left(limiter)


# --- the provider's own words ---


async def admitted_at(limiter: Limiter, party: str = "x") -> float:
    """When a request of this moment is admitted, by the clock of the test."""
    with limiter.queue(party) as ticket:
        while not ticket.admitted:
            await ticket.changed()
        return trio.current_time()


async def test_retry_after_keeps_everybody_from_asking_until_then(autojump_clock: Clock) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket:
        ticket.failed(too_many(retry_after=7))
    async with trio.open_nursery() as nursery:
        for party in "abc":
            nursery.start_soon(admitted_at, limiter, party)
        assert await admitted_at(limiter) == 7


async def test_a_wait_that_begins_while_one_waits_is_waited_for_too(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    got = []

    async def wait() -> None:
        got.append(await admitted_at(limiter))

    async with trio.open_nursery() as nursery:
        with limiter.queue("a") as ticket:
            nursery.start_soon(wait)
            await trio.sleep(10)
            ticket.failed(too_many(retry_after=5))
            await trio.sleep(1)
    assert got == [15]


@pytest.mark.parametrize("lot", [0, 0.5])
async def test_after_a_refusal_without_a_word_nobody_asks_for_a_moment(
    lot: float, autojump_clock: Clock
) -> None:
    limiter = Limiter(9, draw=lambda: lot)
    with limiter.queue("a") as ticket:
        ticket.failed(too_many())
    assert await admitted_at(limiter) == PAUSE_SECONDS * (1 + lot)


async def test_a_burst_lets_nobody_in_between_its_refusals(autojump_clock: Clock) -> None:
    limiter = Limiter(9, draw=lambda: 0)
    admitted: list[float] = []

    async def wait() -> None:
        admitted.append(await admitted_at(limiter))

    async def be_refused(ticket: Ticket, after: float) -> None:
        with ticket:
            await trio.sleep(after)
            ticket.failed(too_many())

    async with trio.open_nursery() as nursery:
        with ExitStack() as stack:
            taken = [stack.enter_context(limiter.queue("a")) for _ in range(5)]
            for n in range(4):
                nursery.start_soon(be_refused, limiter.queue("a"), 0.01 * n)
            for ticket in taken:
                ticket.first_byte()
            for _ in range(20):
                nursery.start_soon(wait)
            await trio.sleep(1)
            assert (limiter.limit, limiter.running, admitted) == (5, 5, [])
    assert admitted == [1] * 20


async def lagging(limiter: Limiter) -> None:
    """One that had its place from another without a moment between them is refused for it."""
    with limiter.queue("a", "m") as ticket:
        ticket.first_byte()
    with limiter.queue("a", "n") as ticket:
        ticket.refuses()
        ticket.failed(too_many())
    await trio.sleep(1)


async def test_a_place_that_was_given_again_too_early_rests_from_then_on(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(1)
    await lagging(limiter)
    times = []

    async def ask() -> None:
        times.append(await admitted_at(limiter))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)
    assert times == [pytest.approx(1 + 0.05 * n) for n in range(4)]
    assert limiter.limit == 1
    assert nobody_is_left(limiter)


async def test_only_whose_turn_it_is_watches_the_clock(autojump_clock: Clock) -> None:
    limiter = Limiter(1)
    await lagging(limiter)
    with limiter.queue("a"):
        pass
    with limiter.queue("b") as first, limiter.queue("c") as second:
        rested_at = trio.current_time() + 0.05
        assert limiter.looks_at(first) == rested_at
        assert limiter.looks_at(second) == math.inf
        first.__exit__(None, None, None)
        assert limiter.looks_at(second) == rested_at
        limiter._line.add("b", first)


async def test_whoever_stands_behind_one_that_leaves_is_woken_to_watch(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(9, draw=lambda: 0)
    with limiter.queue("a") as ticket:
        ticket.failed(too_many(retry_after=0.2))
    got = []

    async def wait() -> None:
        got.append(await admitted_at(limiter, "c"))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.1), limiter.queue("b") as first:
            nursery.start_soon(wait)
            await first.changed()
    assert got == [0.2]  # sooner than it would be told of a number


async def test_no_provider_keeps_everybody_for_longer_than_is_bounded(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket:
        ticket.failed(too_many(retry_after=3600))
    assert await admitted_at(limiter) == LONGEST_HOLD


async def test_a_refusal_of_one_model_says_nothing_of_the_provider(autojump_clock: Clock) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket:
        ticket.failed(
            ProviderError("rate_limited", "Upstream is full.", retry_after=30, of_model=True)
        )
    assert limiter.limit == 9
    assert await admitted_at(limiter) == 0


@pytest.mark.parametrize("code", ["bad_request", "provider_error", "truncated", "unauthorized"])
async def test_other_failures_say_nothing_of_how_much_it_takes(
    code: str, autojump_clock: Clock
) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket:
        ticket.failed(ProviderError(code, "No.", retry_after=30))  # type: ignore[arg-type]
    assert limiter.limit == 9
    assert await admitted_at(limiter) == 0


async def test_no_more_are_asked_than_the_provider_says_are_left(autojump_clock: Clock) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket:
        ticket.rate(2, 20)
    times = []

    async def wait() -> None:
        times.append(await admitted_at(limiter))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(wait)
    assert sorted(times) == [0, 0, 20, 20]


async def test_requests_that_were_not_answered_yet_are_taken_off_what_is_left(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket, limiter.queue("a"), limiter.queue("a"):
        ticket.rate(2, 20)  # of which two may be under way
        with limiter.queue("b") as other:
            assert not other.admitted
    assert await admitted_at(limiter) == 20


async def test_newer_words_replace_older_ones(autojump_clock: Clock) -> None:
    limiter = Limiter(9)
    with limiter.queue("a") as ticket:
        ticket.rate(0, 20)
        ticket.rate(100, 60)
    assert await admitted_at(limiter) == 0


async def test_later_first_bytes_lower_the_limit_and_usual_ones_raise_it_again(
    autojump_clock: Clock,
) -> None:
    limiter = Limiter(9)

    async def ask(seconds: float) -> None:
        with limiter.queue("a", "m") as ticket:
            while not ticket.admitted:
                await ticket.changed()
            await trio.sleep(seconds)
            ticket.first_byte()
            await trio.sleep(1)
            ticket.whole()

    async def ask_many(seconds: float, number: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(ask, seconds)

    await ask_many(1, 50)
    assert limiter.limit == 9
    await ask_many(6, 50)
    assert limiter.limit < 8
    lowered = limiter.limit
    await ask_many(1, 200)
    assert limiter.limit > lowered


async def test_a_quick_refusal_is_no_quick_answer(autojump_clock: Clock) -> None:
    limiter = Limiter(9)
    for _ in range(50):
        with limiter.queue("a", "m") as ticket:
            ticket.refuses()
            ticket.first_byte()
    for _ in range(50):
        with limiter.queue("a", "m") as ticket:
            await trio.sleep(3)
            ticket.first_byte()
    assert limiter._load._latency._baselines == {"m": 3}


async def test_the_line_is_bounded(autojump_clock: Clock) -> None:
    for ceiling, most in ((1, LEAST_LINE), (100, 100 * ROUNDS)):
        limiter = Limiter(ceiling)
        with ExitStack() as stack:
            for _ in range(ceiling + most):
                stack.enter_context(limiter.queue("a"))
            with pytest.raises(ProviderError) as caught:
                limiter.queue("b")
            assert caught.value.code == "overloaded"
        assert nobody_is_left(limiter)


def test_a_provider_without_a_ceiling_has_no_limiter() -> None:
    limiters = Limiters({"a": 3})
    assert limiters.of("sim") is None
    limiter = limiters.of("a")
    assert limiter is not None
    assert limiter.limit == 3
