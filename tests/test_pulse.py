"""When chunks are looked for: at once when idle, at a shared beat under load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from service.events import Chunk, Done, Progress
from service.patience import Patience
from service.pricing import Price
from service.providers import Ending, Prompt, Sink, no_step
from service.pulse import BUSY, QUIET, WINDOW_SECONDS, Pulse
from service.testing import Script
from tests.asking import timeline


@asynccontextmanager
async def beating(most: float = 0.05) -> AsyncIterator[Pulse]:
    """A pulse with the task that makes it beat."""
    pulse = Pulse(most)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.beat)
        await trio.testing.wait_all_tasks_blocked()
        yield pulse
        nursery.cancel_scope.cancel("the test is over")


async def load(pulse: Pulse, per_second: float) -> None:
    """Tell it of so many chunks, for as long as it takes to notice."""
    pulse.count(0)
    for _ in range(2):
        await trio.sleep(WINDOW_SECONDS)
        pulse.count(round(per_second * WINDOW_SECONDS))


class Busy(Pulse):
    """A pulse of a process that has much to do, whatever this comparison brings."""

    def count(self, chunks: int, now: float | None = None) -> float:
        self.interval = 0.05
        return trio.current_time()


@asynccontextmanager
async def busy() -> AsyncIterator[Pulse]:
    pulse = Busy(0.05)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.beat)
        yield pulse
        nursery.cancel_scope.cancel("the test is over")


@pytest.mark.parametrize(
    ("per_second", "share"),
    [
        (0, 0),
        (QUIET, 0),
        ((QUIET + BUSY) / 2, 0.5),
        (BUSY, 1),
        (10 * BUSY, 1),
    ],
)
async def test_the_beat_grows_with_the_chunks_per_second_and_never_beyond_its_bound(
    autojump_clock: MockClock, per_second: float, share: float
) -> None:
    async with beating(0.05) as pulse:
        await load(pulse, per_second)
        assert pulse.interval == pytest.approx(0.05 * share)


async def test_nobody_waits_when_it_is_quiet(autojump_clock: MockClock) -> None:
    async with beating() as pulse:
        await load(pulse, QUIET)
        began = trio.current_time()
        await pulse.follow(no_step)
        assert trio.current_time() == began


async def test_all_that_wait_go_on_at_one_beat(autojump_clock: MockClock) -> None:
    woken: list[float] = []

    async def wait(pulse: Pulse, after: float) -> None:
        await trio.sleep(after)
        await pulse.follow(no_step)
        woken.append(trio.current_time())

    async with beating(0.05) as pulse:
        await load(pulse, BUSY)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for after in (0, 0.01, 0.04):
                nursery.start_soon(wait, pulse, after)
        # The last beat was long ago, so one comes at once; from then on they keep their distance.
        assert woken == pytest.approx([began, began + 0.05, began + 0.05])


async def test_load_that_is_over_is_forgotten(autojump_clock: MockClock) -> None:
    async with beating() as pulse:
        await load(pulse, BUSY)
        assert pulse.interval
        await trio.sleep(10)
        pulse.count(1)
        assert pulse.interval == 0


async def test_without_a_task_that_beats_nobody_waits(autojump_clock: MockClock) -> None:
    pulse = Pulse(0.05)
    await load(pulse, BUSY)
    await pulse.follow(no_step)
    assert pulse.interval == 0


async def test_who_waits_when_the_beat_ends_goes_on(autojump_clock: MockClock) -> None:
    pulse = Pulse(0.05)
    async with trio.open_nursery() as beats, trio.open_nursery() as waits:
        beats.start_soon(pulse.beat)
        await trio.testing.wait_all_tasks_blocked()
        await load(pulse, BUSY)
        waits.start_soon(pulse.follow, no_step)
        await trio.sleep(0.01)
        beats.cancel_scope.cancel("the service ends")


async def test_a_step_is_taken_at_every_beat_until_there_is_something_else_to_do(
    autojump_clock: MockClock,
) -> None:
    taken: list[float] = []

    def step() -> bool:
        taken.append(trio.current_time())
        return len(taken) < 4

    async with busy() as pulse:
        pulse.count(1)
        began = trio.current_time()
        await pulse.follow(step)
        assert trio.current_time() == taken[-1]
    assert taken == pytest.approx([began, began + 0.05, began + 0.1, began + 0.15])


async def test_a_fault_in_a_step_is_raised_where_it_is_followed_and_stops_no_other(
    autojump_clock: MockClock,
) -> None:
    steps = []

    def fail() -> bool:
        raise ZeroDivisionError

    def go_on() -> bool:
        steps.append(1)
        return len(steps) < 5

    async def fails(pulse: Pulse) -> None:
        with pytest.raises(ZeroDivisionError):
            await pulse.follow(fail)

    async with busy() as pulse:
        pulse.count(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, pulse)
            nursery.start_soon(pulse.follow, go_on)
    assert len(steps) == 5


async def test_who_is_cancelled_has_its_step_taken_no_more(autojump_clock: MockClock) -> None:
    taken: list[float] = []

    def step() -> bool:
        taken.append(trio.current_time())
        return True

    async with busy() as pulse:
        pulse.count(1)
        with trio.move_on_after(0.12):
            await pulse.follow(step)
        assert len(taken) == 3
        await trio.sleep(1)
        assert len(taken) == 3


async def test_when_it_is_quiet_again_nobody_follows_any_more(autojump_clock: MockClock) -> None:
    async with beating(0.05) as pulse:
        await load(pulse, BUSY)
        began = trio.current_time()
        await pulse.follow(lambda: True)
        # The load is looked at anew when its window is over, which is at the third beat.
        assert trio.current_time() - began == pytest.approx(3 * 0.05)
        assert pulse.interval == 0


# --- in a comparison ----------------------------------------------------------------------------


class Reads(Script):
    """A provider of which a read finds what has come since the last one: a piece every 10 ms."""

    def __init__(self, name: str, *, pieces: int, more: bool = False) -> None:
        super().__init__(name)
        self._pieces = pieces
        self._more = more
        self.read_at: list[float] = []

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        sink.connected()
        began, read = trio.current_time(), 0
        while read < self._pieces:
            await trio.sleep_until(began + (read + 1) * 0.01)
            self.read_at.append(trio.current_time() - began)
            ready = min(self._pieces, round((trio.current_time() - began) * 100))
            await sink.text(*map(str, range(read, ready)), more=self._more)
            read = ready
        return Ending(finish_reason="stop")


async def test_under_load_what_came_between_two_beats_is_found_together_and_none_is_lost(
    autojump_clock: MockClock,
) -> None:
    script = Reads("a", pieces=20)
    async with busy() as pulse:
        events = await timeline(script, pulse=pulse)
    texts = [event.content for _, event in events if isinstance(event, Chunk)]
    assert texts == [str(n) for n in range(20)]
    # The first alone, one that shows its pace, one that begins the beat; then by beats.
    assert script.read_at == pytest.approx([0.01, 0.02, 0.03, 0.07, 0.12, 0.17, 0.22])


async def test_a_first_token_does_not_wait_for_a_beat(autojump_clock: MockClock) -> None:
    async with busy() as pulse:
        events = await timeline(Reads("a", pieces=20), pulse=pulse)
    first = next(at for at, event in events if isinstance(event, Chunk))
    assert first == pytest.approx(0.01)


async def test_what_is_there_already_does_not_wait_for_a_beat(autojump_clock: MockClock) -> None:
    script = Reads("a", pieces=20, more=True)
    async with busy() as pulse:
        events = await timeline(script, pulse=pulse)
    assert len(script.read_at) == 20
    [(at, _)] = [(at, event) for at, event in events if isinstance(event, Done)]
    assert at == pytest.approx(0.2)


async def test_who_writes_more_slowly_than_the_beat_does_not_wait_for_it(
    autojump_clock: MockClock,
) -> None:
    async with busy() as pulse:
        events = await timeline(Script("a", *((0.1, "x"),) * 5), pulse=pulse)
    times = [at for at, event in events if isinstance(event, Chunk)]
    assert times == [pytest.approx((n + 1) / 10) for n in range(5)]


async def test_who_has_spoken_in_time_is_not_cut_while_it_waits_for_a_beat(
    autojump_clock: MockClock,
) -> None:
    class Bursts(Script):
        async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
            sink.connected()
            await trio.sleep(0.095)
            await sink.text("a", "b", step=lambda: True)
            return Ending(finish_reason="stop")

    class Quiet(Busy):
        def count(self, chunks: int, now: float | None = None) -> float:
            self.interval = 0.05 if trio.current_time() < 0.4 else 0.0
            return trio.current_time()

    pulse = Quiet(0.05)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.beat)
        events = await timeline(Bursts("a"), patience=Patience(first_token=0.1), pulse=pulse)
        nursery.cancel_scope.cancel("the test is over")
    [done] = [event for _, event in events if isinstance(event, Done)]
    assert (done.code, done.chunks) == (None, 2)


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_step_may_have_its_own_follower_cancelled_and_others_go_on(
    autojump_clock: MockClock, goes_on: bool
) -> None:
    async with busy() as pulse:
        pulse.count(1)

        def step() -> bool:
            scope.cancel()
            return goes_on

        with trio.CancelScope() as scope:
            await pulse.follow(step)
        assert scope.cancelled_caught
        await pulse.follow(no_step)


class Stepped(Script):
    """A provider whose text is taken in steps: four letters at every beat, and it never ends."""

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        def step() -> bool:
            if sink.has_room():
                sink.text_nowait(("four",))
            return True

        self.opened += 1
        try:
            sink.connected()
            await trio.sleep(0.05)
            await sink.text("four", "four", step=step)
            raise AssertionError("the steps end with the answer")
        finally:
            self.closed += 1


async def test_progress_is_told_of_what_is_taken_in_steps(autojump_clock: MockClock) -> None:
    async with busy() as pulse:
        events = await timeline(
            Stepped("a"), Script("b", (1.01, "x")), pulse=pulse, mode="first_k", k=1
        )
    told = [n for n, (_, event) in enumerate(events) if isinstance(event, Progress)]
    times = [events[n][0] for n in told]
    assert len(times) == 3
    # A beat is 0.05 s; one of them may be what a float is too late.
    assert all(0.25 <= after - before < 0.31 for before, after in pairwise([0.05, *times]))
    for n in told:
        _, progress = events[n]
        assert isinstance(progress, Progress)
        assert progress.tokens == sum(isinstance(event, Chunk) for _, event in events[:n])


async def test_a_step_that_crosses_the_cap_on_the_cost_ends_its_model_and_hands_its_text_on(
    autojump_clock: MockClock,
) -> None:
    script = Stepped("a")
    async with busy() as pulse:
        events = await timeline(
            script,
            pulse=pulse,
            max_cost_usd=0.1,
            prices={"a": Price(input=Decimal(0), output=Decimal("0.01"))},
        )
    [done] = [event for _, event in events if isinstance(event, Done)]
    assert (done.stopped_by, done.chunks) == ("max_cost_usd", 11)
    assert sum(isinstance(event, Chunk) for _, event in events) == 11
    assert (script.opened, script.closed) == (1, 1)
