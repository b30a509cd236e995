"""The simulated provider over streams in memory, in virtual time: when things are heard."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import (
    MockClock,
    lockstep_stream_pair,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

from service.simulator import Simulator, temperament_for
from service.simulator.answering import Answer, compose
from service.simulator.dialect import parse_request

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
"""The client's end and the server's."""


def body_for(model: str, *, stream: bool = True, max_tokens: int = 100_000) -> bytes:
    messages = [{"role": "user", "content": "When do you answer?"}]
    request = {"model": model, "messages": messages, "stream": stream, "max_tokens": max_tokens}
    return json.dumps(request).encode()


def request_with(body: bytes) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: in.memory\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def answer_to(body: bytes) -> Answer:
    request = parse_request(body)
    temperament = temperament_for(request.model)
    assert temperament is not None
    return compose(request, temperament)


@asynccontextmanager
async def open_conversation(
    streams: StreamPair | None = None,
) -> AsyncIterator[tuple[Simulator, trio.abc.Stream]]:
    client, server = streams or memory_stream_pair()
    simulator = Simulator(base_url="http://in.memory/v1")
    async with trio.open_nursery() as nursery:
        # It serves as soon as it is asked.
        nursery.start_soon(simulator.serve, server, name="simulated connection")  # noqa: ASYNC113
        yield simulator, client
        nursery.cancel_scope.cancel("the test is over")


async def hear(client: trio.abc.Stream) -> list[tuple[float, int]]:
    """When each write was heard that had pieces in it, and how many; up to the body's end."""
    heard = []
    tail = b""
    with trio.fail_after(60):
        while True:
            write = bytes(await client.receive_some(1_000_000))
            tail = (tail + write)[-7:]
            if pieces := write.count(b'"finish_reason":null'):
                heard.append((trio.current_time(), pieces))
            if tail == b"\r\n0\r\n\r\n":
                return heard


@pytest.mark.parametrize("model", ["sim:steady", "sim:thinker", "sim:careful"])
async def test_every_piece_is_heard_at_its_time(autojump_clock: MockClock, model: str) -> None:
    body = body_for(model)
    async with open_conversation() as (_, client):
        await client.send_all(request_with(body))
        heard = await hear(client)
    answer = answer_to(body)
    # The mock clock adds its jumps up, so a time may be off in its last digit.
    assert [time for time, _ in heard] == pytest.approx(
        [answer.due(n) for n in range(len(answer))], rel=0, abs=1e-9
    )
    assert {pieces for _, pieces in heard} == {1}


async def test_a_burst_is_heard_in_one_write(autojump_clock: MockClock) -> None:
    async with open_conversation() as (_, client):
        await client.send_all(request_with(body_for("sim:bursty", max_tokens=60)))
        heard = await hear(client)
    assert [pieces for _, pieces in heard] == [12] * 5
    assert [time for time, _ in heard] == pytest.approx([0.32 + 12 * n / 90 for n in range(5)])


async def test_a_client_that_reads_late_gets_what_was_due_and_the_same_end(
    autojump_clock: MockClock,
) -> None:
    body = body_for("sim:steady")
    async with open_conversation(lockstep_stream_pair()) as (_, client):
        await client.send_all(request_with(body))
        assert await client.receive_some() != b""  # the head
        await trio.sleep(2)
        heard = await hear(client)
    answer = answer_to(body)
    # The first comment was being sent all the time. Then all that is due comes, in large writes.
    at_once = [pieces for time, pieces in heard if time == 2]
    assert sum(at_once) == sum(answer.due(n) <= 2 for n in range(len(answer)))
    assert len(at_once) == 2
    assert sum(pieces for _, pieces in heard) == len(answer)
    assert trio.current_time() == pytest.approx(answer.duration, rel=0, abs=1e-9)


async def test_a_flood_waits_for_its_reader(autojump_clock: MockClock) -> None:
    async with open_conversation(lockstep_stream_pair()) as (simulator, client):
        await client.send_all(request_with(body_for("sim:floods", max_tokens=2000)))
        heard = [await client.receive_some() for _ in ("the head", "a comment", "a large write")]
        await trio.sleep(3600)
        assert simulator.running == 1
        assert heard[-1].count(b'"finish_reason":null') < 100
        assert sum(pieces for _, pieces in await hear(client)) > 1900


async def test_an_answer_that_is_not_streamed_comes_at_the_same_end(
    autojump_clock: MockClock,
) -> None:
    body = body_for("sim:steady", stream=False)
    async with open_conversation() as (_, client):
        await client.send_all(request_with(body))
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert trio.current_time() == answer_to(body).duration


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stalled_answer_is_silent_for_ever_and_still_there(
    autojump_clock: MockClock, stream: bool
) -> None:
    async with open_conversation() as (simulator, client):
        await client.send_all(request_with(body_for("sim:stalls", stream=stream)))
        received = bytearray()
        with trio.move_on_after(86_400):
            while True:
                received += await client.receive_some()
        assert received.count(b"data: {") == (60 if stream else 0)
        assert simulator.running == 1


@pytest.mark.parametrize("model", ["sim:steady", "sim:stalls", "sim:floods"])
async def test_an_answer_ends_at_the_moment_in_which_its_client_leaves(
    autojump_clock: MockClock, model: str
) -> None:
    async with open_conversation() as (simulator, client):
        before = trio.lowlevel.current_statistics().tasks_living
        await client.send_all(request_with(body_for(model)))
        await trio.sleep(0.05)
        assert simulator.running == 1
        await client.aclose()
        await wait_all_tasks_blocked()
        assert (simulator.running, simulator.started, trio.current_time()) == (0, 1, 0.05)
        assert trio.lowlevel.current_statistics().tasks_living == before - 1


async def test_requests_sent_before_their_turn_are_answered_in_order(
    autojump_clock: MockClock,
) -> None:
    bodies = [body_for(model, max_tokens=3) for model in ("sim:terse", "sim:poet")]
    async with open_conversation() as (simulator, client):
        await client.send_all(request_with(bodies[0]) + request_with(bodies[1]))
        await hear(client)
        await wait_all_tasks_blocked()
        assert (simulator.started, simulator.ended) == (2, 1)
        await hear(client)
        await wait_all_tasks_blocked()
        assert (simulator.started, simulator.ended) == (2, 2)


async def test_a_client_that_only_sends_is_left(autojump_clock: MockClock) -> None:
    async with open_conversation() as (simulator, client):
        await client.send_all(request_with(body_for("sim:stalls")))
        await wait_all_tasks_blocked()
        await client.send_all(b"x" * 70_000)
        await wait_all_tasks_blocked()
        assert (simulator.started, simulator.running) == (1, 0)


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the task step of that number."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._steps_left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps_left -= 1
        if self._steps_left == 0:
            self._scope.cancel()


async def test_an_answer_cancelled_at_any_step_leaves_nothing(autojump_clock: MockClock) -> None:
    outcomes: Counter[bool] = Counter()
    before = trio.lowlevel.current_statistics().tasks_living
    for step in itertools.count(1):
        with trio.CancelScope() as scope:
            instrument = CancelAtStep(scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                async with open_conversation() as (simulator, client):
                    await client.send_all(request_with(body_for("sim:terse", max_tokens=3)))
                    await hear(client)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        outcomes[scope.cancelled_caught] += 1
        assert simulator.running == 0, step
        assert trio.lowlevel.current_statistics().tasks_living == before, step
        if not scope.cancel_called:
            break
    assert outcomes[True] > 20
