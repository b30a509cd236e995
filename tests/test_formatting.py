"""`POST /format`: what it takes, what it refuses, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

from service import formatting
from service.formatting import LONGEST_TEXT_BYTES, Formatter
from service.settings import Limits, Settings
from service.testing import Script, Stall, app_for, open_app, open_exchange, open_server
from tests.clients import JSON, Reply, asking, call, connect


def app(settings: Settings | None = None) -> QuartTrio:
    return app_for(Script("a", (0, "x"), (0, Stall())), settings=settings or Settings())


async def format_text(app: QuartTrio, body: object, **more: object) -> Reply:
    return await call(app, "POST", "/format", json_body=body, **more)


@pytest.mark.parametrize("path", ["/format", "/api/format"])
async def test_a_text_comes_back_as_html(path: str) -> None:
    async with open_app(ours := app()):
        reply = await call(ours, "POST", path, json_body={"text": "a *b* <i>", "later": 1})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"html": "<p>a <em>b</em> &lt;i&gt;</p>\n"}


@pytest.mark.parametrize(
    ("status", "code", "body", "headers"),
    [
        (400, "invalid_json", b"{", JSON),
        (400, "invalid_json", b"", JSON),
        (400, "invalid_json", b'{"text": "\\ud800"}', JSON),
        (400, "invalid_json", b'{"text": "\xff"}', JSON),
        (400, "invalid_request", b"[]", JSON),
        (400, "invalid_request", b"{}", JSON),
        (400, "invalid_request", b'{"text": null}', JSON),
        (400, "invalid_request", b'{"text": ["x"]}', JSON),
        (413, "body_too_large", b'{"text": "%b"}' % (b"x" * (LONGEST_TEXT_BYTES + 1)), JSON),
        (413, "body_too_large", b'{"text": "%b"}' % ("é".encode() * 150_000), JSON),
        (413, "body_too_large", b" " * (2**20 + 1), JSON),
        (415, "not_json", b'{"text": "x"}', {"Content-Type": "text/plain"}),
    ],
)
async def test_what_is_no_text_is_refused_in_one_sentence(
    status: int, code: str, body: bytes, headers: dict[str, str]
) -> None:
    async with open_app(ours := app()):
        reply = await call(ours, "POST", "/format", body=body, headers=headers)
    refused = reply.json()
    assert (reply.status, refused["code"]) == (status, code)
    assert list(refused) == ["detail", "code"]
    assert refused["detail"].endswith(".")
    assert "\\" not in refused["detail"]


async def test_a_text_of_the_full_length_is_formatted() -> None:
    async with open_app(ours := app()):
        reply = await format_text(ours, {"text": "word " * (LONGEST_TEXT_BYTES // 5)})
    assert reply.status == 200


async def test_another_method_is_refused() -> None:
    async with open_app(ours := app()):
        reply = await call(ours, "GET", "/format")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


async def test_formatting_costs_nothing_of_the_allowance_and_takes_no_place() -> None:
    limits = Limits(max_comparisons=1, daily_model_responses=2)
    async with (
        open_app(ours := app(Settings(limits=limits))),
        open_exchange(ours, "/compare-stream", json_body=asking("a:m")) as running,
    ):
        await running.next_body()
        for _ in range(5):
            assert (await format_text(ours, {"text": "x"})).status == 200
        status = (await call(ours, "GET", "/rate-limit-status")).json()
    assert status["daily_usage"] == 1


class Gate:
    """In place of the formatting: a thread that is at work until it is told."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self.done: list[str] = []

    def to_html(self, text: str) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.go.wait(10)
        self.running -= 1
        self.done.append(text)
        return text


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(formatting, "to_html", gate.to_html)
    return gate


async def test_one_text_is_formatted_at_a_time_and_the_others_keep_their_order(gate: Gate) -> None:
    formatter = Formatter()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for n in range(9):
                nursery.start_soon(formatter.html_of, str(n))
                await trio.testing.wait_all_tasks_blocked()
            gate.go.set()
    assert gate.most == 1
    assert gate.done == [str(n) for n in range(9)]


async def test_who_leaves_the_line_is_gone_at_once_and_never_formatted(gate: Gate) -> None:
    formatter = Formatter()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(formatter.html_of, "first")
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:
                await formatter.html_of("second")
            assert scope.cancelled_caught
            assert gate.done == []
            gate.go.set()
        assert await formatter.html_of("third") == "third"
    assert gate.done == ["first", "third"]


async def test_who_leaves_at_work_leaves_no_thread_behind(gate: Gate) -> None:
    formatter = Formatter()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(formatter.html_of, "x")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel("the client has left")
            # Its thread still works, so it is still there.
            nursery.start_soon(partial(trio.to_thread.run_sync, gate.go.set))
            gate.go.set()
    assert gate.running == 0
    assert gate.done == ["x"]


async def test_a_client_that_leaves_in_the_middle_harms_nobody() -> None:
    body = json.dumps({"text": "[" * 100_000}).encode()
    head = b"POST /format HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    with trio.fail_after(20):
        async with open_server(ours := app()) as url:
            for _ in range(3):
                async with await connect(url) as client:
                    await client.send_all(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            async with await connect(url) as client:
                await client.send_all(
                    b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
                answer = b"".join([bytes(part) async for part in client])
            assert answer.startswith(b"HTTP/1.1 200 ")
    assert ours is not None


async def test_a_stream_goes_on_while_a_long_text_is_formatted() -> None:
    """The clocks of the service's own: a beat is late by what the interpreter is lent for."""
    formatter = Formatter()
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await trio.sleep(0.01)
            beats += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat)
        began = trio.current_time()
        await formatter.html_of("[" * LONGEST_TEXT_BYTES)
        lasted = trio.current_time() - began
        nursery.cancel_scope.cancel("formatted")
    assert beats > lasted / 0.01 / 20  # a twentieth at least, on a machine that is busy
