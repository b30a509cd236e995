"""Clients that read slowly or not at all: what is held for them, and how long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio
import trio.testing

from service.application import create_app
from service.settings import ProviderSettings, Settings, Stream
from service.testing import app_for, open_app, open_exchange, open_server, open_wire
from tests.clients import connect, http1_request
from tests.edge.frames import RawH2, frames, get
from tests.edge.readers import KINDS, all_closed, open_kind, open_reader, question
from tests.edge.served import PIECE, Flood, open_served
from tests.grammar import check_stream

HELD = 64 * 1024
"""Bytes that a comparison may hold for a client that does not read."""
NINE = [f"flood:{n}" for n in range(9)]


@KINDS
async def test_a_reader_that_stalls_is_cut_and_everything_is_freed(
    kind: str, tmp_path: Path
) -> None:
    async with (
        open_kind(kind, tmp_path) as served,
        open_reader(served, kind, "flood"),
    ):
        with trio.fail_after(5):
            await all_closed(served)


async def test_the_log_tells_of_a_reader_that_was_cut_whoever_lost_patience_with_it(
    log_lines: list[dict[str, Any]],
) -> None:
    # With buffers of the usual size it may be the kernel (TCP_USER_TIMEOUT).
    app = app_for(Flood("flood"), settings=Settings(stream=Stream(write_timeout=0.4)))
    async with open_server(app) as url:
        clients = [await connect(url) for _ in range(5)]
        for client in clients:
            await client.send_all(http1_request(*NINE))
        with trio.fail_after(10):  # noqa: ASYNC912
            while sum(line["event"] == "comparison ended" for line in log_lines) < len(clients):  # noqa: ASYNC110
                await trio.sleep(0.02)
            for client in clients:
                await client.aclose()
    assert sum(line["event"] == "client cut" for line in log_lines) == len(clients)


@KINDS
async def test_a_reader_of_a_byte_at_a_time_is_cut_and_everything_is_freed(
    kind: str, tmp_path: Path
) -> None:
    async with (
        open_kind(kind, tmp_path) as served,
        open_reader(served, kind, "flood") as stream,
        trio.open_nursery() as nursery,
    ):

        async def read() -> None:
            while await stream.receive_some(1):  # noqa: ASYNC110  # a reader is what this is
                await trio.sleep(0.05)

        nursery.start_soon(read)
        with trio.fail_after(5):
            await all_closed(served)
        nursery.cancel_scope.cancel("it is cut")


async def test_for_a_client_that_does_not_read_little_is_held(
    autojump_clock: trio.testing.MockClock,
) -> None:
    flood = Flood("flood")
    asked = {"input_data": "q", "models": NINE}
    app = app_for(flood)
    async with open_app(app), open_exchange(app, "/compare-stream", json_body=asked) as exchange:
        received = await exchange.next_body() or b""
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked()
            in_hand = len(NINE) * len(PIECE)
            assert flood.emitted + in_hand - received.count(b"x") <= HELD
            received += await exchange.next_body() or b""
        assert flood.emitted > 2 * HELD / 10


async def test_a_provider_is_paused_while_its_client_does_not_read_and_nothing_is_lost() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    texts = [f"{n:>99}," for n in range(10_000)]
    flood = [
        b'data: {"choices": [{"delta": {"content": %s}}]}\n\n' % json.dumps(text).encode()
        for text in texts
    ]
    end = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    pieces = [b"".join(flood[n : n + 100]) for n in range(0, len(flood), 100)]
    async with open_wire(head, *pieces, end) as wire:
        settings = Settings(
            default_provider="wire",
            stream=Stream(write_timeout=60),
            providers={
                "wire": ProviderSettings(
                    dialect="openai", base_url=wire.base_url, max_concurrency=1024
                )
            },
        )
        with trio.fail_after(60):
            async with open_server(create_app(settings)) as url, await connect(url) as client:
                request = http1_request("wire:m").replace(b"HTTP/1.1", b"HTTP/1.0")
                await client.send_all(request)
                received = bytes(await client.receive_some(100))
                paused_at = await settled(wire)
                assert paused_at < sum(map(len, pieces)) / 2
                while data := await client.receive_some():
                    received += data
    answers = check_stream(received.partition(b"\r\n\r\n")[2], ["wire:m"])
    assert answers == {"wire:m": "".join(texts)}


async def settled(wire: Any) -> int:
    """How much a provider could send, once it sends no more."""
    sent = -1
    while sent != wire.sent:
        sent = wire.sent
        await trio.sleep(0.3)
    return sent


async def test_one_client_that_stalls_slows_no_other() -> None:
    async with (
        open_served("ours", write_timeout=60) as served,
        open_reader(served, "HTTP/1.1", "flood"),
        await served.connect() as other,
    ):
        await trio.sleep(0.2)  # until the buffers in between are full
        await other.send_all(http1_request("slow:m"))
        received = b""
        with trio.fail_after(1):  # noqa: ASYNC912
            while b'"complete"' not in received:
                received += await other.receive_some()


async def test_one_stream_without_a_window_slows_no_other_of_its_connection() -> None:
    async with open_served("ours", write_timeout=60) as served, await served.connect() as client:
        http = RawH2(client)
        await http.begin(INITIAL_WINDOW_SIZE=0)
        await http.send(*question(http, 1, "flood"), *question(http, 3, "slow"))
        await http.send(http.window(3, 100_000))
        with trio.fail_after(2):
            await http.until_answered(3)
        assert b'"complete"' in http.body(3)
        assert http.body(1) == b""


async def test_a_window_that_opens_slowly_and_steadily_lets_a_long_answer_through() -> None:
    async with open_served("ours", write_timeout=0.5) as served, await served.connect() as client:
        http = RawH2(client)
        await http.begin(INITIAL_WINDOW_SIZE=0)
        await http.send(http.head(1, get(b"/long")))
        while not http.has_ended(1):
            await trio.sleep(0.2)
            await http.send(http.window(0, 16 * 1024), http.window(1, 16 * 1024))
            await http.receive()
        assert len(http.body(1)) == 200_000


async def test_a_window_that_opens_by_single_bytes_is_served_by_single_bytes() -> None:
    async with open_served("ours", write_timeout=60) as served, await served.connect() as client:
        http = RawH2(client)
        await http.begin(INITIAL_WINDOW_SIZE=0)
        await http.send(*question(http, 1, "quick"))
        await http.until(frames.HeadersFrame, 1)
        with trio.fail_after(5):  # noqa: ASYNC912
            while len(http.body(1)) < 50:
                before = len(http.body(1))
                await http.send(http.window(1, 1))
                while len(http.body(1)) == before:
                    await http.receive()
        assert {frame.body_len for frame in http.found(frames.DataFrame, 1)} == {1}
        await http.send(http.window(1, 100_000))
        await http.until_answered(1)


async def test_a_client_over_http_2_that_does_not_read_has_little_held_for_it() -> None:
    async with open_served("ours", write_timeout=60) as served, await served.connect() as client:
        http = RawH2(client)
        await http.begin(INITIAL_WINDOW_SIZE=0)
        body = json.dumps({"input_data": "q", "models": NINE}).encode()
        head = [*get(b"/compare-stream", method=b"POST"), (b"content-type", b"application/json")]
        await http.send(http.head(1, head, end=False), http.data(1, body, end=True))
        await http.until(frames.HeadersFrame, 1)
        await trio.sleep(0.3)  # much more than it takes to write all that may be held
        emitted = (await served.counts())["emitted"]
        assert 0 < emitted + len(NINE) * len(PIECE) <= HELD
