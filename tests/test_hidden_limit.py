"""A provider that takes five at once and tells nobody: how it is found, and what that costs.

In virtual time with a fake, and over real sockets with a provider that counts its requests.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
import trio.testing

from service.application import create_app
from service.comparison import Comparison, Entrant
from service.events import Chunk, Done
from service.limiter import Limiter
from service.limiter.ceiling import WALL_SECONDS
from service.patience import Patience
from service.persistence import Persistence
from service.settings import ProviderSettings, Retries, Settings
from service.testing import open_server
from tests.asking import question
from tests.calling import DONE, HEAD, LAST, STOP, chunk, chunked, response
from tests.grammar import check_stream, legacy_events
from tests.providing import Capped, OneForAll

Clock = trio.testing.MockClock
PATIENCE = 60
"""Seconds for what takes two on an idle machine; never spent unless it fails."""


def limiter(most: int = 9) -> Limiter:
    """One whose pauses are drawn from a seed."""
    return Limiter(most, draw=random.Random(1).random)


class Load:
    """Comparisons of one provider, one after another and beside each other; what came of them."""

    def __init__(self, provider: Capped, limiter: Limiter) -> None:
        self.provider = provider
        self.limiter = limiter
        self.dones: list[Done] = []
        self.answers: list[str] = []
        self.took: list[float] = []
        """How long each comparison took."""
        self.limits: list[tuple[float, int]] = []
        """The limit, and since when."""
        self._persistence = Persistence(attempts=3, draw=random.Random(2).random)

    async def compare(self, models: int, *, after: float = 0) -> float:
        return await self.ask(*(f"m{n}" for n in range(models)), after=after)

    async def ask(self, *models: str, after: float = 0) -> float:
        await trio.sleep(after)
        asked = question(*models)
        entrants = [
            Entrant(entry.name, self.provider, asked.prompt_for(entry, entry.name))
            for entry in asked.entries
        ]
        comparison = Comparison(
            asked,
            entrants,
            Patience(total=3000),
            limiters=OneForAll(self.limiter),
            persistence=self._persistence,
        )
        began = trio.current_time()
        texts: dict[str, str] = {}
        async with comparison.open() as inbox:
            async for event in inbox:
                self._look()
                match event:
                    case Chunk():
                        texts[event.model] = texts.get(event.model, "") + event.content
                    case Done():
                        self.dones.append(event)
        self.answers += texts.values()
        took = trio.current_time() - began
        self.took.append(took)
        return took

    def _look(self) -> None:
        """Note the limit, if it is another than before."""
        if not self.limits or self.limits[-1][1] != self.limiter.limit:
            self.limits.append((trio.current_time(), self.limiter.limit))

    def all_are_whole(self) -> bool:
        return all(done.code is None for done in self.dones) and set(self.answers) == {
            "a whole answer"
        }


async def test_the_first_question_of_all_finds_the_limit(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 5), limiter())
    await load.compare(9)
    assert load.all_are_whole()
    assert len(load.provider.refused_at) == 4  # those beyond the five, once each
    assert load.limiter.limit == 5
    assert sorted(done.attempts for done in load.dones) == [1] * 5 + [2] * 4


async def test_it_converges_and_then_refusals_are_few(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 5), limiter())
    async with trio.open_nursery() as nursery:
        for n in range(12):
            nursery.start_soon(load.compare, 9)
            nursery.start_soon(lambda after: load.compare(1, after=after), 7.0 * n)
    assert load.all_are_whole()
    assert len(load.dones) == 12 * 10
    assert load.provider.peak == 5
    # Four at the beginning, and then one for each half minute at most, in which it asks for more.
    minutes = trio.current_time() / 60
    assert len(load.provider.refused_at) <= 4 + 2 * minutes
    assert len([at for at in load.provider.refused_at if at > 1]) <= len(load.dones) * 0.1
    # Nearly all of what the provider gives is used: 120 answers of 10 s, five at once, are 240 s.
    assert trio.current_time() < 240 * 1.15
    assert max(done.attempts for done in load.dones) <= 3


async def test_a_question_to_one_model_is_not_starved_by_those_to_nine(
    autojump_clock: Clock,
) -> None:
    load = Load(Capped("p", 5), limiter())
    singles: list[float] = []

    async def ask_one(after: float) -> None:
        singles.append(await load.compare(1, after=after))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(load.compare, 9)
        for n in range(10):
            nursery.start_soon(ask_one, 5.0 + 7 * n)
    # Six others wait, and each has one turn before it: with five places, of which a burst leaves
    # four for a while, two or three answers' time; its own; and a round more where it is the one
    # that is refused. First come, first served is a hundred seconds for the first of them.
    assert max(singles) <= 60
    assert load.all_are_whole()


async def test_it_follows_a_limit_that_changes(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 5), limiter())
    limits = []

    async def look() -> None:
        for seconds, hidden in ((100, 3), (100, 9), (300, 9)):
            await trio.sleep(seconds)
            limits.append(load.limiter.limit)
            load.provider.limit = hidden
            if hidden == 3:
                load.provider.peak = 0
        limits.append(load.provider.peak)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        for _ in range(40):
            nursery.start_soon(load.compare, 9)
            await trio.sleep(10)
    assert load.all_are_whole()
    assert limits[0] in (4, 5)
    assert limits[1] in (2, 3)
    assert limits[2:] == [9, 9]


async def test_with_retry_after_there_is_no_second_burst(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 5, retry_after=2), limiter())
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(load.compare, 9)
    assert load.all_are_whole()
    # Four in the first moment, and none until it is tried whether the provider takes more.
    assert [at for at in load.provider.refused_at if at < WALL_SECONDS] == [0] * 4


# --- a count that lags behind, and refusals that are about one model ---


def drawn(least: float, most: float) -> Callable[[], float]:
    draw = random.Random(3)
    return lambda: draw.uniform(least, most)


@pytest.mark.parametrize(
    ("lag", "lasts", "learning"),
    [
        pytest.param(0, drawn(0.35, 0.35), 0, id="no lag, all end together"),
        pytest.param(0, drawn(0.2, 0.5), 0, id="no lag, one by one"),
        pytest.param(0.03, drawn(0.35, 0.35), 5, id="30 ms, all end together"),
        pytest.param(0.03, drawn(0.2, 0.5), 2, id="30 ms, one by one"),
        # Five a time that five places were free too early; two or three times, by who is first.
        pytest.param(0.1, drawn(0.35, 0.35), 15, id="100 ms, all end together"),
        pytest.param(0.1, drawn(0.2, 0.5), 4, id="100 ms, one by one"),
    ],
)
async def test_a_count_that_lags_costs_some_refusals_and_no_places(
    lag: float, lasts: Callable[[], float], learning: int, autojump_clock: Clock
) -> None:
    provider = Capped("p", 5, lag=lag, lasts=lasts, refuses_in=0.005)
    load = Load(provider, limiter())

    async def ask_nine_again_and_again() -> None:
        for _ in range(25):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(load.compare, 9)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_nine_again_and_again)
        for n in range(30):
            nursery.start_soon(lambda after: load.ask("single", after=after), 0.3 + 0.25 * n)
    assert load.all_are_whole()
    assert len(load.dones) == 25 * 27 + 30
    assert provider.peak == 5
    # Four that find the five, some that find the rest, and then one for each half minute at most.
    seconds = trio.current_time()
    early = [at for at in provider.refused_at if at < 2]
    assert len(early) <= 4 + learning
    assert len(provider.refused_at) - len(early) <= seconds // WALL_SECONDS
    # Four while it has just been tried whether six are taken, and never fewer.
    assert {limit for at, limit in load.limits if at > 0.1} <= {4, 5, 6}
    # What such a provider can give at most: each place is counted for the lag as well.
    assert seconds <= 1.2 * len(load.dones) * (0.35 + lag) / 5


@pytest.mark.parametrize("lag", [0, 0.03, 0.1])
async def test_it_follows_a_limit_that_changes_though_its_count_lags(
    lag: float, autojump_clock: Clock
) -> None:
    provider = Capped("p", 5, lag=lag, lasts=drawn(3, 7), refuses_in=0.005)
    load = Load(provider, limiter())
    limits = []
    refused = []

    async def change() -> None:
        for hidden in (3, 8, 8):
            await trio.sleep(150)
            limits.append(load.limiter.limit)
            refused.append(len(provider.refused_at))
            provider.limit = hidden

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        for _ in range(45):
            nursery.start_soon(load.compare, 9)
            await trio.sleep(10)
    assert limits[0] in (4, 5, 6)
    assert limits[1] in (2, 3, 4)
    assert limits[2] >= 6
    # Before the fall: the start, what the lag costs, one in half a minute. The fall itself costs a
    # few. Then one in half a minute again.
    first, second, third = refused
    assert first <= 4 + 10 + 5
    assert second - first <= 4 + 10
    assert third - second <= 4 + 10
    failed = [done for done in load.dones if done.code]
    assert len(failed) <= len(load.dones) / 100  # three refusals in a row while it falls


async def test_one_model_that_is_refused_takes_nobodys_places(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 40, seconds=1, refuses={"free"}), limiter(40))
    for _ in range(3):
        await load.ask("free")
        await trio.sleep(1)
        assert await load.compare(9) == pytest.approx(1)
    assert len(load.provider.refused_at) == 9
    assert load.limits == [(load.limits[0][0], 40)]


async def test_one_model_that_is_refused_among_others_lowers_the_limit_once(
    autojump_clock: Clock,
) -> None:
    provider = Capped("p", 40, seconds=9, refuses={"free"})
    load = Load(provider, limiter(40))
    others = [f"m{n}" for n in range(8)]
    for _ in range(5):
        await load.ask("free", *others)
    limits = [limit for _, limit in load.limits]
    assert limits[:2] == [40, 8]  # the others are being answered, so eight is what it takes
    assert limits[2:] == sorted(limits[2:])  # and from there it goes up only
    assert all(limit >= 8 for limit in limits[2:])
    assert max(load.took) < 9 + 2  # nobody else waited for a second answer's time
    assert len(provider.refused_at) == 5 * 3


async def test_an_outage_is_no_news_of_how_many_it_takes(autojump_clock: Clock) -> None:
    names = [f"m{n}" for n in range(9)]
    provider = Capped("p", 9, refuses=names)
    load = Load(provider, limiter())
    for _ in range(3):
        await load.compare(9)
    assert {done.code for done in load.dones} == {"rate_limited"}
    assert load.limiter.limit == 9
    # Each of the three was asked three times, and none was kept from failing.
    assert len(provider.refused_at) == 3 * 27


# --- over sockets ---


class Counting:
    """An OpenAI server that answers five at once, each in a moment, and refuses the rest."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.peak = 0
        self.refused = 0
        self.base_url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        while True:
            while not _is_whole(received):
                data = await stream.receive_some()
                if not data:
                    return
                received += bytes(data)
            received = b""
            if self.running >= self.limit:
                self.refused += 1
                error = json.dumps({"error": {"message": "Too many.", "code": 429}}).encode()
                answer = response(error, status="429 Too Many Requests")
                await stream.send_all(answer)
                continue
            self.running += 1
            self.peak = max(self.peak, self.running)
            try:
                await stream.send_all(HEAD)
                for piece in ("a ", "whole ", "answer"):
                    await trio.sleep(0.05)
                    await stream.send_all(chunked(chunk(piece)))
            finally:
                self.running -= 1
            await stream.send_all(chunked(STOP, DONE) + LAST)


def _is_whole(received: bytes) -> bool:
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    [length] = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    return len(body) >= length


@asynccontextmanager
async def open_counting(limit: int) -> AsyncIterator[Counting]:
    counting = Counting(limit)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    counting.base_url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"

    async def handle(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await counting.serve(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, listeners)
        yield counting
        nursery.cancel_scope.cancel("the test is over")


async def test_over_sockets_every_answer_is_whole_and_refusals_are_few() -> None:
    bodies: list[bytes] = []
    names = [f"wire:m{n}" for n in range(9)]
    async with open_counting(5) as counting:
        settings = Settings(
            default_provider="wire",
            retries=Retries(backoff=0.05),
            providers={"wire": ProviderSettings(dialect="openai", base_url=counting.base_url)},
        )
        with trio.fail_after(PATIENCE):
            async with (
                open_server(create_app(settings)) as url,
                httpx.AsyncClient(timeout=PATIENCE) as client,
            ):

                async def ask() -> None:
                    body = {"input_data": "Why?", "models": names}
                    bodies.append((await client.post(f"{url}/compare-stream", json=body)).content)

                async with trio.open_nursery() as nursery:
                    for _ in range(6):
                        nursery.start_soon(ask)
    assert len(bodies) == 6
    for body in bodies:
        assert set(check_stream(body, names).values()) == {"a whole answer"}
        dones = [event for event in legacy_events(body) if event["type"] == "done"]
        assert max(done["attempts"] for done in dones) <= 3
    assert counting.peak == 5
    assert counting.refused <= 8
    waits = [event for body in bodies for event in legacy_events(body) if event["type"] == "queued"]
    assert waits
