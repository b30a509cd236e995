"""Whatever way a client leaves, nothing goes on for it: real sockets, and every scheduler step.

The providers here are real connections that would go on for ever. When the client has left, each
of them is closed within a second at most; what it takes is a few milliseconds. A server that is
then told to stop would wait half a minute for whatever still ran, so that every test that ends
shows that nothing did.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any, TypeAlias, cast

import httpx
import pytest
import quart.wrappers
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from service.application import create_app
from service.comparison import Comparison, Entrant
from service.patience import Patience
from service.providers.call import HTTPProvider
from service.providers.openai import ChatCompletions
from service.settings import Limits, ProviderSettings, Settings, Stream
from service.testing import (
    Close,
    Pause,
    Script,
    Wire,
    app_for,
    open_app,
    open_exchange,
    open_server,
    open_wire,
)
from service.upstream import open_client
from tests.asking import comparison, question
from tests.clients import asking, connect, http1_request, read_until
from tests.conftest import Certificate, tasks
from tests.every_step import at_step
from tests.grammar import check_stream
from tests.h2client import open_h2

LogLines: TypeAlias = list[dict[str, Any]]
Transport: TypeAlias = trio.SocketStream
Leave: TypeAlias = Callable[[Transport], Awaitable[None]]

MODELS = [f"wire:m{number}" for number in range(9)]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

Steps: TypeAlias = "list[bytes | Pause | Close]"
BEFORE_ITS_HEAD: Steps = []
BEFORE_THE_FIRST_TOKEN: Steps = [HEAD]
IN_A_PAUSE: Steps = [HEAD, CHUNK]
WHILE_IT_FLOWS: Steps = [HEAD, *(step for _ in range(1000) for step in (CHUNK, Pause(0.01)))]
SHORT: Steps = [HEAD, CHUNK, CHUNK, END, Close()]
LONGER: Steps = [HEAD, CHUNK, Pause(0.1), CHUNK, END, Close()]


@asynccontextmanager
async def open_service(wire: Wire, other: Wire, **options: Any) -> AsyncIterator[str]:
    """The service with two providers; it would wait long for what still runs when it is left."""
    heartbeat = options.pop("heartbeat", 10)
    settings = Settings(
        default_provider="wire",
        stream=Stream(heartbeat=heartbeat),
        providers={
            # Nobody waits in line here: these tests are about who is being answered.
            name: ProviderSettings(dialect="openai", base_url=at.base_url, max_concurrency=1024)
            for name, at in (("wire", wire), ("other", other))
        },
    )
    with trio.fail_after(10):
        async with open_server(create_app(settings), **{"grace": 30, **options}) as url:
            yield url


@asynccontextmanager
async def another_goes_on(url: str) -> AsyncIterator[None]:
    """Another client's comparison, which begins before the block and is read whole after it."""
    models = ["other:a", "other:b", "other:c"]
    # Its connection ends with it: an idle one would have a task, its timer, that begins late.
    ends = {"Connection": "close"}
    async with (
        httpx.AsyncClient(base_url=url, headers=ends, trust_env=False, verify=False) as client,
        client.stream("POST", "/compare-stream", json=asking(*models)) as response,
        aclosing(cast(AsyncGenerator[bytes], response.aiter_raw())) as chunks,
    ):
        body = await anext(chunks)
        yield
        async for chunk in chunks:
            body += chunk
    assert check_stream(body, models) == dict.fromkeys(models, "xx")


async def asked(wire: Wire, requests: int) -> None:
    """Wait until so many requests have reached the provider."""
    while len(wire.requests) < requests:
        await wait_all_tasks_blocked()


async def nothing_is_left(wire: Wire, tasks_before: Any) -> None:
    """The promise: every connection to the provider is closed, and then every task is gone."""
    with trio.fail_after(1):
        await wire.all_closed()
        while tasks() - tasks_before:
            await wait_all_tasks_blocked()
    assert wire.open == 0


def check_log(log_lines: LogLines, models: list[str]) -> None:
    """One line for each of these models that says that it was cancelled, one for the whole."""
    ours = {line["comparison"] for line in log_lines if line.get("model") in models}
    assert len(ours) == 1
    lines = [line for line in log_lines if line.get("comparison") in ours]
    ended = [line for line in lines if line["event"] == "model ended"]
    assert sorted(line["model"] for line in ended) == sorted(models)
    assert {(line["outcome"], line["code"]) for line in ended} == {("cancelled", "cancelled")}
    [whole] = [line for line in lines if line["event"] == "comparison ended"]
    assert whole["outcome"] == "client_gone"


# --- HTTP/1.1 -----------------------------------------------------------------------------------


async def close(stream: Transport) -> None:
    """FIN; what was not read makes it an RST, as with any client that is killed."""
    await stream.aclose()


async def reset(stream: Transport) -> None:
    """RST."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def half_close(stream: Transport) -> None:
    """FIN, but it would still read: counts as gone, as it does for nginx."""
    await stream.send_eof()


LEAVES = pytest.mark.parametrize("leave", [close, reset, half_close])


@LEAVES
@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(BEFORE_ITS_HEAD, id="before the providers' headers"),
        pytest.param(BEFORE_THE_FIRST_TOKEN, id="before the first token"),
        pytest.param(IN_A_PAUSE, id="in a pause"),
        pytest.param(WHILE_IT_FLOWS, id="while it flows"),
    ],
)
async def test_when_a_client_leaves_its_models_are_stopped_and_no_others(
    leave: Leave, provider: Steps, log_lines: LogLines
) -> None:
    async with (
        open_wire(*provider) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other) as url,
        another_goes_on(url),
    ):
        before = tasks()
        async with await connect(url) as client:
            await client.send_all(http1_request(*MODELS))
            await read_until(client, b'"start"', times=len(MODELS))
            await asked(wire, len(MODELS))
            if CHUNK in provider:
                await read_until(client, b'"chunk"', times=len(MODELS))
            await leave(client)
            await nothing_is_left(wire, before)
        assert wire.opened == len(MODELS)
    check_log(log_lines, MODELS)


@LEAVES
async def test_a_client_that_leaves_right_after_its_request_leaves_nothing_behind(
    leave: Leave, log_lines: LogLines
) -> None:
    async with (
        open_wire(*BEFORE_ITS_HEAD) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other) as url,
        another_goes_on(url),
    ):
        before = tasks()
        async with await connect(url) as client:
            await client.send_all(http1_request(*MODELS))
            await leave(client)
            await wait_all_tasks_blocked()
            await nothing_is_left(wire, before)
    lines = [line for line in log_lines if line["event"] == "model ended"]
    ended = [line["code"] for line in lines if line["model"] in MODELS]
    assert ended in ([], ["cancelled"] * len(MODELS))  # it may have been too quick to be asked


@LEAVES
@pytest.mark.parametrize("part", ["headers", "body"])
async def test_a_client_that_leaves_in_the_middle_of_its_request_has_asked_nobody(
    leave: Leave, part: str, log_lines: LogLines
) -> None:
    request = http1_request(*MODELS)
    cut = request.index(b"\r\n\r\n") - 5 if part == "headers" else len(request) - 5
    async with (
        open_wire() as wire,
        open_wire() as other,
        open_service(wire, other) as url,
    ):
        before = tasks()
        async with await connect(url) as client:
            await client.send_all(request[:cut])
            await wait_all_tasks_blocked()
            await leave(client)
            await wait_all_tasks_blocked()
            await nothing_is_left(wire, before)
        assert wire.opened == 0
    assert log_lines == []


@LEAVES
async def test_who_waits_for_all_answers_at_once_may_leave_as_well(
    leave: Leave, log_lines: LogLines
) -> None:
    request = http1_request(*MODELS).replace(b"/compare-stream", b"/compare")
    async with (
        open_wire(*IN_A_PAUSE) as wire,
        open_wire() as other,
        open_service(wire, other) as url,
    ):
        before = tasks()
        async with await connect(url) as client:
            await client.send_all(request)
            await asked(wire, len(MODELS))
            await leave(client)
            await nothing_is_left(wire, before)
    check_log(log_lines, MODELS)


async def test_after_a_half_close_the_server_closes_its_half() -> None:
    async with (
        open_wire(*IN_A_PAUSE) as wire,
        open_wire() as other,
        open_service(wire, other) as url,
        await connect(url) as client,
    ):
        await client.send_all(http1_request(*MODELS))
        await read_until(client, b'"chunk"', times=len(MODELS))
        await client.send_eof()
        with trio.fail_after(1):
            rest = b"".join([bytes(part) async for part in client])
        assert b'"complete"' not in rest
        await wire.all_closed()


@pytest.mark.parametrize("leave", [close, reset])
async def test_a_client_that_said_too_much_is_missed_at_once(
    leave: Leave, log_lines: LogLines
) -> None:
    async with (
        open_wire(*IN_A_PAUSE) as wire,
        open_wire() as other,
        open_service(wire, other) as url,
        await connect(url) as client,
    ):
        await client.send_all(http1_request(*MODELS) + b"\r\n")
        await read_until(client, b'"chunk"', times=len(MODELS))
        await leave(client)
        with trio.fail_after(1):
            await wire.all_closed()
    check_log(log_lines, MODELS)


# --- TLS ----------------------------------------------------------------------------------------


async def say_so(tls: trio.SSLStream[Transport]) -> None:
    """close_notify, then FIN."""
    await tls.aclose()


async def cut_off(tls: trio.SSLStream[Transport]) -> None:
    """FIN without a word, as most clients do."""
    await tls.transport_stream.aclose()


async def tear_off(tls: trio.SSLStream[Transport]) -> None:
    """RST."""
    await reset(tls.transport_stream)


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("leave", [say_so, cut_off, tear_off])
@pytest.mark.parametrize("provider", [IN_A_PAUSE, WHILE_IT_FLOWS], ids=["in a pause", "flowing"])
async def test_a_client_leaves_in_every_way_over_tls(
    protocol: str,
    leave: Callable[[trio.SSLStream[Transport]], Awaitable[None]],
    provider: Steps,
    certificate: Certificate,
    log_lines: LogLines,
) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    async with (
        open_wire(*provider) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other, **files) as url,
        another_goes_on(url),
    ):
        before = tasks()
        context = certificate.trusting(protocol)
        tls = trio.SSLStream(
            await connect(url), context, server_hostname="127.0.0.1", https_compatible=True
        )
        if protocol == "h2":
            async with open_h2(tls, url) as client:
                stream = await client.post("/compare-stream", asking(*MODELS))
                await client.until(lambda: stream.body.count(b'"chunk"') >= len(MODELS))
                await leave(tls)
                await nothing_is_left(wire, before)
        else:
            async with tls:
                await tls.send_all(http1_request(*MODELS))
                await read_until(tls, b'"chunk"', times=len(MODELS))
                await leave(tls)
                await nothing_is_left(wire, before)
        assert wire.opened == len(MODELS)
    check_log(log_lines, MODELS)


# --- HTTP/2 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [IN_A_PAUSE, WHILE_IT_FLOWS], ids=["in a pause", "flowing"])
async def test_one_of_ten_on_a_connection_is_given_up_and_nine_go_on(
    provider: Steps, log_lines: LogLines
) -> None:
    others = ["other:a", "other:b", "other:c"]
    async with (
        open_wire(*provider) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other) as url,
        open_h2(await connect(url), url) as client,
    ):
        first = [await client.post("/compare-stream", asking(*others)) for _ in range(5)]
        given_up = await client.post("/compare-stream", asking(*MODELS))
        after = [await client.post("/compare-stream", asking(*others)) for _ in range(4)]
        await client.until(lambda: given_up.body.count(b'"chunk"') >= len(MODELS))
        await client.reset(given_up)
        with trio.fail_after(1):
            await wire.all_closed()
        await client.finish(*first, *after)
        for stream in (*first, *after):
            texts = check_stream(bytes(stream.body), others)
            assert texts == dict.fromkeys(others, "xx")
        assert not given_up.ended
        assert wire.opened == len(MODELS)
    check_log(log_lines, MODELS)


async def test_a_request_given_up_before_anybody_answered_is_stopped_too(
    log_lines: LogLines,
) -> None:
    async with (
        open_wire(*BEFORE_ITS_HEAD) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other) as url,
        open_h2(await connect(url), url) as client,
    ):
        health = await client.get("/health")
        await client.finish(health)
        before = tasks()
        stream = await client.post("/compare-stream", asking(*MODELS))
        await asked(wire, len(MODELS))
        await client.reset(stream)
        await nothing_is_left(wire, before)
        again = await client.post("/compare-stream", asking("other:a"))
        await client.finish(again)
    check_stream(bytes(again.body), ["other:a"])
    check_log(log_lines, MODELS)


async def test_after_goaway_every_comparison_of_the_connection_is_stopped(
    log_lines: LogLines,
) -> None:
    async with (
        open_wire(*IN_A_PAUSE) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other) as url,
        another_goes_on(url),
    ):
        before = tasks()
        async with open_h2(await connect(url), url) as client:
            streams = [await client.post("/compare-stream", asking(*MODELS)) for _ in range(3)]
            await client.until(lambda: all(b'"chunk"' in stream.body for stream in streams))
            await client.go_away()
            await nothing_is_left(wire, before)
    ended = [line["code"] for line in log_lines if line["event"] == "model ended"]
    assert ended.count("cancelled") == 3 * len(MODELS)
    outcomes = [line["outcome"] for line in log_lines if line["event"] == "comparison ended"]
    assert sorted(outcomes) == ["client_gone"] * 3 + ["complete"]


async def test_a_goaway_in_the_middle_of_the_flow_ends_its_own_connection_only() -> None:
    async with (
        open_wire(*WHILE_IT_FLOWS) as wire,
        open_wire(*LONGER) as other,
        open_service(wire, other) as url,
        another_goes_on(url),
    ):
        before = tasks()
        for chunks in range(1, 13):
            async with open_h2(await connect(url), url) as client:
                stream = await client.post("/compare-stream", asking(*MODELS))
                await client.until(lambda: stream.body.count(b'"chunk"') >= chunks)  # noqa: B023
                await client.go_away()
                await nothing_is_left(wire, before)


# --- every step ---------------------------------------------------------------------------------


QUART_SAYS_SO: Any = getattr(quart.wrappers, "ClientDisconnectedError", ())
"""Quart 0.23 raises it out of the application, where every server takes it for an end."""


def check_no_model_is_told_of_twice(log_lines: LogLines, opened: int) -> None:
    ended = [line["model"] for line in log_lines if line["event"] == "model ended"]
    assert len(ended) == len(set(ended)) >= opened
    assert sum(line["event"] == "comparison ended" for line in log_lines) <= 1
    assert not [line for line in log_lines if line["log_level"] in ("warning", "error")]
    log_lines.clear()


async def test_a_comparison_may_be_cancelled_at_every_step(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    for step in count(1):
        scripts = [Script(name, (1, "x"), (1, "y")) for name in "abc"]
        before = tasks()
        with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
            async with comparison(*scripts).open() as inbox:
                events = [event async for event in inbox]
        assert tasks() == before
        assert all(script.opened == script.closed for script in scripts), step
        check_no_model_is_told_of_twice(log_lines, sum(script.opened for script in scripts))
        if not moment.came:
            break
    assert len(events) == 3 + 2 * 3 + 3 + 3 + 1  # each tells of its progress once
    assert step > 30


async def test_the_service_may_be_cancelled_at_every_step(
    autojump_clock: MockClock, log_lines: LogLines
) -> None:
    scripts = [Script(name, (1, "x"), (1, "y")) for name in "abc"]
    models = [f"{script.name}:m" for script in scripts]
    # One comparison at a time: a place that is not given back refuses the next one.
    app = app_for(*scripts, settings=Settings(limits=Limits(max_comparisons=1)))
    for step in count(1):
        before = tasks()
        with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
            async with (
                open_app(app),
                open_exchange(app, "/compare-stream", json_body=asking(*models)) as exchange,
            ):
                body = await exchange.read()
        assert tasks() == before
        assert all(script.opened == script.closed for script in scripts), step
        log_lines.clear()
        if not moment.came:
            break
    assert check_stream(body, models) == dict.fromkeys(models, "xy")
    assert step > 40


@pytest.mark.parametrize("path", ["/compare-stream", "/compare"])
async def test_a_client_may_leave_at_every_step(
    autojump_clock: MockClock, log_lines: LogLines, path: str
) -> None:
    scripts = [Script(name, (1, "x"), (1, "y")) for name in "abc"]
    models = [f"{script.name}:m" for script in scripts]
    app = app_for(*scripts, settings=Settings(limits=Limits(max_comparisons=1)))
    async with open_app(app):
        for step in count(1):
            before = tasks()
            opened = sum(script.opened for script in scripts)
            try:
                async with open_exchange(app, path, json_body=asking(*models)) as exchange:
                    with at_step(step, exchange.disconnect) as moment:
                        body = await exchange.read()
            except* QUART_SAYS_SO:
                pass  # it came between the request and the response
            assert tasks() == before
            assert all(script.opened == script.closed for script in scripts), step
            check_no_model_is_told_of_twice(
                log_lines, sum(script.opened for script in scripts) - opened
            )
            if not moment.came:
                break
    if path == "/compare":
        assert json.loads(body)["results"] == dict.fromkeys(models, "xy")
    else:
        assert check_stream(body, models) == dict.fromkeys(models, "xy")
    assert step > 40


async def test_a_comparison_over_real_sockets_may_be_cancelled_at_every_step(
    log_lines: LogLines,
) -> None:
    asked_for = question("a", "b", "c")
    with trio.fail_after(20):
        async with open_wire(*SHORT) as wire, open_client() as client:
            provider = HTTPProvider("wire", ChatCompletions(wire.base_url), client)
            entrants = [
                Entrant(entry.name, provider, asked_for.prompt_for(entry, entry.requested))
                for entry in asked_for.entries
            ]
            before = tasks()
            for step in count(1):
                with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
                    async with Comparison(asked_for, entrants, Patience()).open() as inbox:
                        events = [event async for event in inbox]
                await wait_all_tasks_blocked()
                await nothing_is_left(wire, before)
                check_no_model_is_told_of_twice(log_lines, 0)
                if not moment.came:
                    break
    assert len(events) == 3 + 2 * 3 + 3 + 1
    assert step > 40
