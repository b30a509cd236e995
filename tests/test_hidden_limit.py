"""A provider that takes five at once and tells nobody: how it is found, and what that costs.

In virtual time with a fake, and over real sockets with a provider that counts its requests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import trio
import trio.testing

from service.application import create_app
from service.ceiling import WALL_SECONDS
from service.comparison import Comparison, Entrant
from service.events import Chunk, Done
from service.limiter import Limiter
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


class Load:
    """Comparisons of one provider, one after another and beside each other; what came of them."""

    def __init__(self, provider: Capped, limiter: Limiter) -> None:
        self.provider = provider
        self.limiter = limiter
        self.dones: list[Done] = []
        self.answers: list[str] = []
        self.took: list[float] = []
        """How long each comparison took."""

    async def compare(self, models: int, *, after: float = 0) -> float:
        await trio.sleep(after)
        asked = question(*(f"m{n}" for n in range(models)))
        entrants = [
            Entrant(entry.name, self.provider, asked.prompt_for(entry, entry.name))
            for entry in asked.entries
        ]
        comparison = Comparison(
            asked,
            entrants,
            Patience(total=3000),
            limiters=OneForAll(self.limiter),
            persistence=Persistence(attempts=3),
        )
        began = trio.current_time()
        texts: dict[str, str] = {}
        async with comparison.open() as inbox:
            async for event in inbox:
                match event:
                    case Chunk():
                        texts[event.model] = texts.get(event.model, "") + event.content
                    case Done():
                        self.dones.append(event)
        self.answers += texts.values()
        took = trio.current_time() - began
        self.took.append(took)
        return took

    def all_are_whole(self) -> bool:
        return all(done.code is None for done in self.dones) and set(self.answers) == {
            "a whole answer"
        }


async def test_the_first_question_of_all_finds_the_limit(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 5), Limiter(9))
    await load.compare(9)
    assert load.all_are_whole()
    assert len(load.provider.refused_at) == 4  # those beyond the five, once each
    assert load.limiter.limit == 5
    assert sorted(done.attempts for done in load.dones) == [1] * 5 + [2] * 4


async def test_it_converges_and_then_refusals_are_few(autojump_clock: Clock) -> None:
    load = Load(Capped("p", 5), Limiter(9))
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
    load = Load(Capped("p", 5), Limiter(9))
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
    load = Load(Capped("p", 5), Limiter(9))
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
    load = Load(Capped("p", 5, retry_after=2), Limiter(9))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(load.compare, 9)
    assert load.all_are_whole()
    # Four in the first moment, and none until it is tried whether the provider takes more.
    assert [at for at in load.provider.refused_at if at < WALL_SECONDS] == [0] * 4


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
