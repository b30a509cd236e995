"""Stopped on request: one model or all, at any moment, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from urllib.parse import quote

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from service.admission import Admission
from service.application import create_app
from service.comparison import Comparison
from service.events import Chunk, Complete, Done, ErrorChunk, Event, Start
from service.eventstream import encode
from service.patience import Patience, Vigil, Watch
from service.pulse import Pulse
from service.settings import Limits, ProviderSettings, Server, Settings
from service.shared import Shared
from service.surface import make_key
from service.testing import (
    Exchange,
    Pause,
    Script,
    Stall,
    app_for,
    open_app,
    open_exchange,
    open_server,
    open_wire,
)
from tests.asking import comparison
from tests.calling import chunk
from tests.clients import Reply, ask, asking, call, connect, http1_request, read_until
from tests.conftest import tasks
from tests.every_step import at_step
from tests.grammar import check_stream, legacy_events
from tests.h2client import open_h2

Timed = list[tuple[float, Event]]


async def followed(
    asked: Comparison, at: float, act: Callable[[], object], *, seconds: float = 0
) -> Timed:
    """Every event with its time, when `act` is done at a time; each is read for some seconds."""
    events: Timed = []

    async def later() -> None:
        await trio.sleep_until(began + at)
        act()

    began = trio.current_time()
    async with asked.open() as inbox, trio.open_nursery() as nursery:
        nursery.start_soon(later)
        async for event in inbox:
            events.append((trio.current_time() - began, event))
            await trio.sleep(seconds)
    return events


def said(events: Timed, model: str) -> list[tuple[float, str]]:
    return [(at, e.content) for at, e in events if isinstance(e, Chunk) and e.model == model]


def done_of(events: Timed, model: str) -> tuple[float, Done]:
    [found] = [(at, e) for at, e in events if isinstance(e, Done) and e.model == model]
    return found


def stream_of(events: Timed) -> bytes:
    return b"".join(encode(event) for _, event in events)


# --- what the stream says -----------------------------------------------------------------------


async def test_a_stopped_model_is_done_at_once_with_what_it_had_written(
    autojump_clock: MockClock,
) -> None:
    a = Script("a", *[(1.0, "four")] * 9)
    b = Script("b", *[(1.0, "y")] * 9)
    asked = comparison(a, b)
    events = await followed(asked, 3.5, lambda: asked.stop_model("a"))
    assert said(events, "a") == [(1, "four"), (2, "four"), (3, "four")]
    at, done = done_of(events, "a")
    assert (at, done.error, done.code, done.stopped_by) == (3.5, True, "cancelled", "request")
    assert done.usage is not None
    assert (done.usage.output_tokens, done.usage.estimated, done.chunks) == (3, True, 3)
    assert [e.content for _, e in events if isinstance(e, ErrorChunk)] == [
        "Error: Stopped on request."
    ]
    assert check_stream(stream_of(events), ["a", "b"]) == {"a": "four" * 3, "b": "y" * 9}


async def test_the_others_do_not_notice(autojump_clock: MockClock) -> None:
    scripts = [Script(name, *[(1.0, "x")] * 9) for name in "abc"]
    asked = comparison(*scripts)
    events = await followed(asked, 3.5, lambda: asked.stop_model("b"))
    for name in "ac":
        assert said(events, name) == [(float(n), "x") for n in range(1, 10)]
        at, done = done_of(events, name)
        assert (at, done.error, done.stopped_by) == (9, False, None)
    last = events[-1][1]
    assert isinstance(last, Complete)
    assert (last.metadata.models_successful, last.metadata.models_failed) == (2, 1)


async def test_all_that_run_are_stopped_and_who_has_ended_stays_as_it_is(
    autojump_clock: MockClock,
) -> None:
    asked = comparison(Script("a", (1, "x")), Script("b", (9, "x")), Script("c", (9, "x")))
    stopping: list[str] = []
    events = await followed(
        asked, 2, lambda: stopping.extend(asked.stop("cancelled", by="request"))
    )
    assert stopping == ["b", "c"]
    assert [(done_of(events, name)[0], done_of(events, name)[1].code) for name in "abc"] == [
        (1, None),
        (2, "cancelled"),
        (2, "cancelled"),
    ]
    check_stream(stream_of(events), ["a", "b", "c"])


async def test_a_model_that_is_stopped_before_its_start_was_taken_is_never_asked(
    autojump_clock: MockClock,
) -> None:
    a, b = Script("a", (1, "x")), Script("b", (1, "y"))
    asked = comparison(a, b)
    async with asked.open() as inbox:
        await wait_all_tasks_blocked()
        assert asked.stop_model("a") == ["a"]
        events = [(trio.current_time(), event) async for event in inbox]
    assert (a.opened, b.opened) == (0, 1)
    assert check_stream(stream_of(events), ["a", "b"]) == {"a": "", "b": "y"}
    _, done = done_of(events, "a")
    assert (done.code, done.usage, done.stopped_by) == ("cancelled", None, "request")


async def test_a_stop_does_not_wait_for_a_reader_and_takes_nothing_from_it(
    autojump_clock: MockClock,
) -> None:
    script = Script("a", *[(1.0, "x")] * 50)
    asked = comparison(script)
    async with asked.open() as inbox:
        assert isinstance(await inbox.receive(), Start)
        await trio.sleep(10)  # a piece waits to be taken meanwhile
        asked.stop_model("a")
        await wait_all_tasks_blocked()
        assert script.closed == 1
        rest = [event async for event in inbox]
    kinds = [Chunk, ErrorChunk, Done, Complete]
    assert [type(event) for event in rest] == kinds
    assert isinstance(rest[2], Done)
    assert rest[2].chunks == 1


async def test_a_model_that_has_ended_can_not_be_stopped(autojump_clock: MockClock) -> None:
    asked = comparison(Script("a", (1, "x")), Script("b", (3, "x")))
    stopping: list[str] = []

    def stop() -> None:
        stopping.extend(asked.stop_model("a"))
        stopping.extend(asked.stop_model("nobody"))

    events = await followed(asked, 2, stop)
    assert stopping == []
    assert done_of(events, "a")[1].code is None


async def test_the_first_reason_counts(autojump_clock: MockClock) -> None:
    asked = comparison(Script("a", (0, Stall())), patience=Patience(first_token=2))

    def stop_twice() -> None:
        assert asked.stop_model("a") == ["a"]
        assert asked.stop("server_shutdown") == ["a"]

    events = await followed(asked, 1, stop_twice)
    assert done_of(events, "a")[1].code == "cancelled"


async def test_a_clock_that_has_run_out_is_not_stopped_any_more(autojump_clock: MockClock) -> None:
    watch = Watch(Patience(connect=2), Vigil())
    with watch:
        await trio.sleep(2)
        watch.run_out()
        watch.stop("cancelled")
    assert watch.verdict() == ("connect_timeout", 2)


async def test_a_stop_reaches_a_model_that_waits_for_a_beat(autojump_clock: MockClock) -> None:
    pulse = Pulse(0.05)
    asked = comparison(Script("a", (0, "x"), (0.01, "x"), (9, "x")), pulse=pulse)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.beat)
        pulse.count(0)
        await trio.sleep(0.1)
        pulse.count(10_000)
        events = await followed(asked, 0.02, lambda: asked.stop_model("a"))
        nursery.cancel_scope.cancel("it is over")
    assert done_of(events, "a")[0] == pytest.approx(0.02)


def stopped_into(stopping: list[str], asked: Comparison) -> None:
    stopping += asked.stop_model("b")


async def test_a_model_may_be_stopped_at_every_step(autojump_clock: MockClock) -> None:
    for step in count(1):
        scripts = [Script(name, (1, "x"), (1, "y")) for name in "abc"]
        asked = comparison(*scripts)
        before = tasks()
        stopping: list[str] = []
        stop = partial(stopped_into, stopping, asked)
        with at_step(step, stop) as moment:
            async with asked.open() as inbox:
                events = [(trio.current_time(), event) async for event in inbox]
        assert tasks() == before
        assert all(script.opened == script.closed for script in scripts), step
        texts = check_stream(stream_of(events), ["a", "b", "c"])
        assert (texts["a"], texts["c"]) == ("xy", "xy")
        # One that had its whole answer at that very moment may keep it.
        assert done_of(events, "b")[1].stopped_by in ({None, "request"} if stopping else {None})
        if not moment.came:
            break
    assert step > 30


# --- over HTTP ----------------------------------------------------------------------------------


async def stream_begun(exchange: Exchange) -> bytes:
    """Read the first piece of a stream: the starts."""
    body = await exchange.next_body()
    assert body is not None
    return body


async def delete(app: object, path: str) -> Reply:
    return await call(app, "DELETE", path)


def refused(reply: Reply, code: str) -> None:
    assert reply.status == 404
    assert list(reply.json()) == ["detail", "code"]
    assert reply.json()["code"] == code


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_running_comparison_is_stopped_and_says_so(
    autojump_clock: MockClock, prefix: str
) -> None:
    app = app_for(Script("a", (1, "x"), (0, Stall())))
    async with (
        open_app(app),
        open_exchange(app, "/compare-stream", json_body=asking("a:1", "a:2")) as exchange,
    ):
        body = await stream_begun(exchange)
        for _ in range(2):
            body += await stream_begun(exchange)
        path = f"{prefix}/comparisons/{exchange.headers['x-comparison-id']}"
        reply = await delete(app, path)
        assert reply.status == 202
        assert reply.json() == {
            "comparison_id": exchange.headers["x-comparison-id"],
            "stopping": ["a:1", "a:2"],
        }
        body += await exchange.read()
        refused(await delete(app, path), "comparison_not_running")
    assert check_stream(body, ["a:1", "a:2"]) == {"a:1": "x", "a:2": "x"}
    dones = [event for event in legacy_events(body) if event["type"] == "done"]
    assert {done["stopped_by"] for done in dones} == {"request"}


@pytest.mark.parametrize(
    "name",
    ["a:1", "a:1#2", "acme/m:free", "//odd//", "a:x/comparisons/y/models/z", "é %2F?", "%"],
)
async def test_one_model_is_stopped_whatever_its_name(name: str) -> None:
    models = [name.removesuffix("#2"), name.removesuffix("#2")] if "#" in name else [name, "a:9"]
    app = app_for(Script("a", (0, "x"), (0, Stall())))
    with trio.fail_after(5):
        async with open_server(app) as url, await connect(url) as stream:
            await stream.send_all(http1_request(*models))
            head = await read_until(stream, b'"type":"chunk"', times=2)
            path = f"/comparisons/{id_of(head)}/models/{quote(name, safe='')}"
            reply = await over_a_socket(url, "DELETE", path)
            assert reply.startswith(b"HTTP/1.1 202 "), reply
            rest = await read_until(stream, b'"type":"done"')
    [done] = [line for line in rest.split(b"\r\n") if b'"type":"done"' in line]
    [*_, told] = legacy_events(done)
    assert (told["model"], told["stopped_by"]) == (name, "request")


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_what_does_not_run_is_not_found(autojump_clock: MockClock, prefix: str) -> None:
    app = app_for(Script("a", (1, "x")), Script("b", (9, "x")))
    async with (
        open_app(app),
        open_exchange(app, "/compare-stream", json_body=asking("a:1", "b:1")) as exchange,
    ):
        await stream_begun(exchange)
        path = f"{prefix}/comparisons/{exchange.headers['x-comparison-id']}"
        for name in ("b:2", "b", "B:1", " b:1", "b:1/"):
            refused(await delete(app, f"{path}/models/{name}"), "model_not_running")
        await exchange.next_body()
        await wait_all_tasks_blocked()
        refused(await delete(app, f"{path}/models/a:1"), "model_not_running")
        refused(await delete(app, f"{prefix}/comparisons/unknown"), "comparison_not_running")
        refused(
            await delete(app, f"{prefix}/comparisons/unknown/models/b:1"), "comparison_not_running"
        )
        for nothing in (f"{prefix}/comparisons", f"{path}/models", f"{path}/models/"):
            refused(await delete(app, nothing), "not_found")
        body = await exchange.read()
        refused(await delete(app, path), "comparison_not_running")
    assert [e["error"] for e in legacy_events(body) if e["type"] == "done"] == [False, False]


async def test_what_has_ended_or_was_left_is_not_kept(autojump_clock: MockClock) -> None:
    app = app_for(Script("a", (1, "x"), (1, "y")))
    async with open_app(app):
        await ask(app, "a:1")
        async with open_exchange(app, "/compare-stream", json_body=asking("a:1")) as exchange:
            await stream_begun(exchange)
            assert len(admission_of(app)._comparisons) == 1
            exchange.disconnect()
            await exchange.read()
        assert admission_of(app)._comparisons == {}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS"])
async def test_nothing_else_can_be_done_to_a_comparison(method: str) -> None:
    app = app_for(Script("a", (1, "x")))
    for path in ("/comparisons/x", "/comparisons/x/models/a:1"):
        reply = await call(app, method, path)
        assert (reply.status, reply.headers["allow"]) == (405, "DELETE")


async def test_without_a_key_nobody_is_stopped(autojump_clock: MockClock) -> None:
    key, digest = make_key()
    settings = Settings(server=Server(api_keys={"laptop": digest}))
    script = Script("a", (1, "x"), (1, "y"))
    app = app_for(script, settings=settings)
    allowed = {"X-API-Key": key}
    async with (
        open_app(app),
        open_exchange(app, "/compare-stream", json_body=asking("a:1"), headers=allowed) as exchange,
    ):
        await stream_begun(exchange)
        path = f"/comparisons/{exchange.headers['x-comparison-id']}"
        assert (await delete(app, path)).status == 401
        assert (await delete(app, f"{path}/models/a:1")).status == 401
        assert (await call(app, "DELETE", path, headers=allowed)).status == 202
        assert legacy_events(await exchange.read())[-2]["stopped_by"] == "request"


async def test_who_waits_for_all_answers_gets_those_that_were_whole(
    autojump_clock: MockClock,
) -> None:
    app = app_for(Script("a", (1, "x")), Script("b", (1, "y"), (0, Stall())))
    ids: list[str] = []

    async def stop() -> None:
        await trio.sleep(2)
        # Nobody knows the id of a comparison that is not streamed, but whoever reads the log.
        [running] = admission_of(app)._comparisons
        ids.append(running)
        assert (await delete(app, f"/comparisons/{running}/models/b:1")).status == 202

    async with open_app(app), trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        reply = await ask(app, "a:1", "b:1", path="/compare")
        assert reply.json()["results"] == {"a:1": "x", "b:1": "y\n\nError: Stopped on request."}
        assert reply.json()["errors"] == {"b:1": "cancelled"}
        assert reply.headers["x-comparison-id"] == ids[0]


async def test_a_stop_says_nothing_about_the_model_and_gives_nothing_back(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(limits=Limits(daily_model_responses=5))
    app = app_for(Script("a", (0, "x"), (0, Stall())), settings=settings)
    async with (
        open_app(app),
        open_exchange(app, "/compare-stream", json_body=asking("a:1")) as exchange,
    ):
        await stream_begun(exchange)
        await delete(app, f"/comparisons/{exchange.headers['x-comparison-id']}")
        await exchange.read()
        assert (await call(app, "GET", "/model-stats")).json()["model_stats"] == {}
        assert (await call(app, "GET", "/rate-limit-status")).json()["daily_usage"] == 1


async def test_a_stop_may_come_over_the_connection_of_the_stream() -> None:
    app = app_for(Script("a", (0, "x"), (0, Stall())))
    with trio.fail_after(5):
        async with open_server(app) as url, open_h2(await connect(url), url) as client:
            stream = await client.post("/compare-stream", asking("a:1", "a:2"))
            await client.until(lambda: stream.body.count(b'"type":"chunk"') == 2)
            path = f"/comparisons/{stream.headers['x-comparison-id']}"
            one = await client.delete(f"{path}/models/a:2")
            await client.until(lambda: one.ended and b'"type":"done"' in stream.body)
            rest = await client.delete(path)
            await client.finish(rest, stream)
    assert one.headers[":status"] == rest.headers[":status"] == "202"
    assert check_stream(bytes(stream.body), ["a:1", "a:2"]) == {"a:1": "x", "a:2": "x"}
    dones = [event for event in legacy_events(bytes(stream.body)) if event["type"] == "done"]
    assert [(done["model"], done["code"]) for done in dones] == [
        ("a:2", "cancelled"),
        ("a:1", "cancelled"),
    ]


async def test_the_request_to_the_provider_is_closed_within_a_tenth_of_a_second() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    goes_on = [step for _ in range(2000) for step in (chunk("x"), Pause(0.005))]
    with trio.fail_after(10):
        async with open_wire(head, *goes_on) as wire, open_wire(head, *goes_on) as other:
            settings = Settings(
                default_provider="wire",
                providers={
                    name: ProviderSettings(dialect="openai", base_url=provider.base_url)
                    for name, provider in (("wire", wire), ("other", other))
                },
            )
            async with open_server(create_app(settings)) as url, await connect(url) as stream:
                await stream.send_all(http1_request("wire:m", "other:m"))
                head = await read_until(stream, b'"wire:m","type":"chunk"', times=3)
                path = f"/comparisons/{id_of(head)}/models/wire:m"
                assert b" 202 " in await over_a_socket(url, "DELETE", path)
                with trio.fail_after(0.1):
                    await wire.all_closed()
                await read_until(stream, b'"wire:m","type":"done"')
                await read_until(stream, b'"other:m","type":"chunk"', times=20)
                assert other.open == 1


def id_of(head: bytes) -> str:
    [line] = [line for line in head.split(b"\r\n") if line.lower().startswith(b"x-comparison-id:")]
    return line.partition(b":")[2].strip().decode()


async def over_a_socket(url: str, method: str, path: str) -> bytes:
    async with await connect(url) as stream:
        request = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        await stream.send_all(request.encode())
        return b"".join([part async for part in stream])


def admission_of(app: object) -> Admission:
    shared = Shared.of(app)
    assert shared is not None
    return shared.admission
