"""Each correction's promise: kept by the server that we run, broken by Hypercorn as it comes.

The second changes with Hypercorn's versions only, and takes a minute of starts: CI tries it beside
the suite, and so may whoever sets COMPARE_STOCK=1.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from tests.clients import http1_request
from tests.edge.frames import RawH2, frames, get
from tests.edge.readers import all_closed, question
from tests.edge.served import Served, open_served

Promise = Callable[[Served], Awaitable[None]]
PROMISES: list[Any] = []
SOON = 1.5
"""Seconds for what happens at once, or after the half second that servers have here."""


def promise(row: str, **options: Any) -> Callable[[Promise], Promise]:
    """Name what must hold, and the options of the server that it is shown with."""

    def register(keep: Promise) -> Promise:
        name = f"{row}: {keep.__name__.replace('_', ' ')}"
        PROMISES.append(pytest.param(keep, options, id=name))
        return keep

    return register


@pytest.mark.parametrize(("keep", "options"), PROMISES)
async def test_the_server_that_we_run_keeps(keep: Promise, options: dict[str, Any]) -> None:
    async with open_served("ours", **options) as served:
        with trio.fail_after(20):
            await keep(served)


@pytest.mark.skipif(
    os.environ.get("COMPARE_STOCK") != "1", reason="tries Hypercorn as it comes: COMPARE_STOCK=1"
)
@pytest.mark.parametrize(("keep", "options"), PROMISES)
async def test_hypercorn_by_itself_does_not_keep(keep: Promise, options: dict[str, Any]) -> None:
    async with open_served("stock", **options) as served:
        with pytest.raises((AssertionError, trio.TooSlowError, OSError, trio.BrokenResourceError)):
            with trio.fail_after(20):
                await keep(served)


# --- E1, E2: an odd request ends its connection at most, never the process ----------------------


async def say(served: Served, *parts: bytes) -> bytes:
    """Send this, and read until nothing comes for a moment or the connection ends."""
    received = b""
    async with await served.connect() as client:
        for part in parts:
            await client.send_all(part)
        with trio.move_on_after(0.3):  # noqa: ASYNC912
            try:
                while data := await client.receive_some():
                    received += data
            except trio.BrokenResourceError:
                pass
    return received


def http1(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


WEBSOCKET = (
    b"GET / HTTP/1.1",
    b"Host: test",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@promise("E2.1")
async def data_behind_an_early_refusal_is_thrown_away(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(http.head(1, get(b"/nowhere", method=b"POST"), end=False))
        await http.until_answered(1)
        await http.send(http.data(1, b"x" * 100), http.data(1, b"x" * 100))
        await http.send(http.head(3, get()))
        with trio.fail_after(SOON):
            await http.until_answered(3)
        assert http.body(3) == b'{"status":"healthy"}'
    await served.is_well()


def odd_head(row: str, name: str, headers: list[tuple[bytes, bytes]], **options: Any) -> None:
    """A request of HTTP/2 that is reset, and the next one on its connection is answered."""

    async def keep(served: Served) -> None:
        async with await served.connect() as client:
            http = RawH2(client)
            await http.begin()
            await http.send(http.head(1, headers), http.head(3, get()))
            with trio.fail_after(SOON):
                await http.until_answered(3)
                reset = await http.until(frames.RstStreamFrame, 1)
            assert isinstance(reset, frames.RstStreamFrame)
            assert reset.error_code == 1
            assert http.body(3) == b'{"status":"healthy"}'
        await served.is_well()

    keep.__name__ = name
    promise(row, **options)(keep)


odd_head("E2.2", "a path beyond ASCII is reset", get(b"/\xe9"))
odd_head("E2.3", "a method beyond ASCII is reset", get(method=b"G\xcbT"))
odd_head(
    "E2.4",
    "a plain CONNECT is reset",
    [(b":method", b"CONNECT"), (b":authority", b"test:80")],
)
odd_head("E2.5", "a query beyond ASCII is reset", get(b"/health?\xff"), accesslog="/dev/null")


@promise("E2.6")
async def an_upgrade_with_settings_that_are_no_base64_is_ignored(served: Served) -> None:
    lines = (b"GET /health HTTP/1.1", b"Host: test", b"Connection: Upgrade, HTTP2-Settings")
    answer = await say(served, http1(*lines, b"Upgrade: h2c", b"HTTP2-Settings: !!!"))
    assert b"HTTP/1.1 200" in answer
    await served.is_well()


@promise("E2.7")
async def an_upgrade_with_settings_that_are_none_is_ignored(served: Served) -> None:
    lines = (b"GET /health HTTP/1.1", b"Host: test", b"Connection: Upgrade, HTTP2-Settings")
    answer = await say(served, http1(*lines, b"Upgrade: h2c", b"HTTP2-Settings: AAAA"))
    assert b"HTTP/1.1 200" in answer
    await served.is_well()


@promise("E2.8", server_names=("test",))
async def a_host_that_is_no_utf_8_ends_its_connection(served: Served) -> None:
    await say(served, http1(b"GET /health HTTP/1.1", b"Host: \xff"))
    await served.is_well()


@promise("E2.9")
async def bytes_behind_a_websocket_upgrade_do_no_harm(served: Served) -> None:
    # They do harm between the refusal and the close: where that is, nobody knows.
    for milliseconds in range(1, 20):
        async with await served.connect() as client:
            await client.send_all(http1(*WEBSOCKET))
            await trio.sleep(milliseconds / 1000)
            with suppress(trio.BrokenResourceError):
                await client.send_all(b"x" * 10)
                await client.receive_some()
    await served.is_well()


@promise("E2.10")
async def a_websocket_header_beyond_ascii_does_no_harm(served: Served) -> None:
    await say(served, http1(*WEBSOCKET, b"Sec-WebSocket-Protocol: \xff"))
    await served.is_well()


@promise("E2.11")
async def a_thousand_priorities_are_ignored(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(*(frames.PriorityFrame(n).serialize() for n in range(3, 2203, 2)))
        await http.send(http.head(2301, get()))
        with trio.fail_after(SOON):
            await http.until_answered(2301)
    await served.is_well()


async def until_draining(served: Served) -> None:
    """Wait until it says so, or, as Hypercorn by itself, listens no more."""
    with suppress(OSError):
        while b" 503 " not in await say(served, http1(b"GET /readyz HTTP/1.1", b"Host: test")):
            pass


@promise("E2.12", drain=3, write_timeout=5)
async def a_request_in_the_drain_is_refused_and_what_runs_goes_on(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(*question(http, 1, "drip"))
        await http.until(frames.DataFrame, 1)
        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(SOON):
            await until_draining(served)
        await http.send(*question(http, 3, "quick"))
        with trio.fail_after(SOON):
            reset = await http.until(frames.RstStreamFrame, 3)
        assert isinstance(reset, frames.RstStreamFrame)
        assert reset.error_code == 7
        before = len(http.body(1))
        with trio.fail_after(SOON):  # noqa: ASYNC912
            while len(http.body(1)) < before + 500:
                await http.receive()
                await http.send(http.window(0, 1000), http.window(1, 1000))
        # At a GOAWAY some clients would drop what runs.
        assert not http.found(frames.GoAwayFrame)
        assert served.process.poll() is None


# --- E3: a reader that stalls -------------------------------------------------------------------


@promise("E3")
async def a_reader_that_stalls_is_cut_after_the_write_time_out(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(http1_request("flood:m"))
        await client.receive_some(100)
        with trio.fail_after(2.5):
            await all_closed(served)
        emitted = (await served.counts())["emitted"]
        await trio.sleep(0.1)
        assert (await served.counts())["emitted"] == emitted


@promise("E3")
async def a_signal_ends_the_process_though_a_reader_stalls(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(http1_request("flood:m"))
        await client.receive_some(100)
        await trio.sleep(0.2)
        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(2):
            assert await served.process.wait() == 0


# --- E5: what is idle is closed -----------------------------------------------------------------


@promise("E5")
async def an_idle_connection_is_closed_after_its_first_response(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(http1(b"GET /health HTTP/1.1", b"Host: test"))
        await client.receive_some()
        with trio.fail_after(SOON):
            while await client.receive_some():
                pass


@promise("E5", keep_alive=30)
async def a_connection_that_the_client_wants_closed_is_closed(served: Served) -> None:
    async with await served.connect() as client:
        request = http1(b"GET /health HTTP/1.1", b"Host: test", b"Connection: close")
        await client.send_all(request)
        with trio.fail_after(2):
            while await client.receive_some():
                pass


@promise("E5", keep_alive=30)
async def a_response_of_http_1_0_ends_with_its_connection(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(http1_request("quick:m").replace(b"HTTP/1.1", b"HTTP/1.0"))
        received = b""
        with trio.fail_after(2):
            while data := await client.receive_some():
                received += data
        assert b'"complete"' in received


@promise("E5", keep_alive=30)
async def idle_connections_do_not_hold_up_the_end(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(http1(b"GET /health HTTP/1.1", b"Host: test"))
        await client.receive_some()
        served.process.send_signal(signal.SIGTERM)
        with trio.fail_after(SOON):
            assert await served.process.wait() == 0


# --- E6: HTTP/2's flow control ------------------------------------------------------------------


@promise("E6", write_timeout=30)
async def a_stream_without_a_window_is_not_written_for(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin(INITIAL_WINDOW_SIZE=0)
        await http.send(*question(http, 1, "flood"))
        await http.until(frames.HeadersFrame, 1)
        await trio.sleep(0.3)
        # What was written beyond this is what the server holds: nothing of it may be sent.
        assert (await served.counts())["emitted"] <= 64 * 1024
        assert http.body(1) == b""
        await http.send(http.window(1, 1000))
        with trio.fail_after(SOON):  # noqa: ASYNC912
            while len(http.body(1)) < 1000:
                await http.receive()


@promise("E6")
async def a_stream_whose_window_stays_shut_is_reset(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin(INITIAL_WINDOW_SIZE=0)
        await http.send(*question(http, 1, "flood"), http.head(3, get()))
        with trio.fail_after(2):
            await http.until(frames.RstStreamFrame, 1)
            await all_closed(served)


# --- E7: leaving is seen ------------------------------------------------------------------------


@promise("E7")
async def who_leaves_after_a_stray_byte_is_missed_at_once(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(http1_request("stall:m") + b"\r\n")
        received = b""
        while b'"chunk"' not in received:
            received += await client.receive_some()
    with trio.fail_after(SOON):
        await all_closed(served)


# --- E8: a response that breaks off -------------------------------------------------------------


@promise("E8")
async def a_response_that_breaks_off_is_reset(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(http.head(1, get(b"/breaks")))
        with trio.fail_after(SOON):
            reset = await http.until(frames.RstStreamFrame, 1)
        assert isinstance(reset, frames.RstStreamFrame)
        assert reset.error_code == 2
        await http.send(http.head(3, get()))
        with trio.fail_after(SOON):
            await http.until_answered(3)


# --- E9, E10, E12: connections of HTTP/2 --------------------------------------------------------


@promise("E9", max_requests=3)
async def many_requests_do_not_end_the_streams_that_run(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(*question(http, 1, "drip"))
        for stream_id in range(3, 15, 2):
            await http.send(http.head(stream_id, get()))
            with trio.fail_after(SOON):
                await http.until_answered(stream_id)
        before = len(http.body(1))
        with trio.fail_after(SOON):  # noqa: ASYNC912
            while len(http.body(1)) < before + 500:
                await http.receive()


@promise("E10")
async def a_preface_and_then_silence_is_closed(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        with trio.fail_after(SOON):
            await http.until_closed()


@promise("E12")
async def requests_that_the_client_breaks_run_out_as_well(served: Served) -> None:
    # The server resets them, at the client's wish (CVE-2025-8671).
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        for first in range(1, 2001, 100):
            ids = range(first, first + 100, 2)
            await http.send(*(http.head(n, get()) + http.window(n, 2**31 - 1) for n in ids))
        with trio.fail_after(5):
            await http.until(frames.GoAwayFrame)
    assert (await served.counts())["calls"] <= 200
    await served.is_well()


@promise("E12")
async def requests_that_are_taken_back_run_out(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        for first in range(1, 2001, 100):
            ids = range(first, first + 100, 2)
            await http.send(*(http.head(n, get()) + http.reset(n) for n in ids))
        with trio.fail_after(5):
            away = await http.until(frames.GoAwayFrame)
            await http.until_closed()
        assert isinstance(away, frames.GoAwayFrame)
        assert away.error_code == 11
    assert (await served.counts())["calls"] <= 200  # of the thousand
    await served.is_well()


@promise("E12")
async def a_frame_that_announces_too_much_is_refused_by_its_head(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        await http.send(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 1000)
        with trio.fail_after(SOON):
            away = await http.until(frames.GoAwayFrame)
            await http.until_closed()
        assert isinstance(away, frames.GoAwayFrame)
        assert away.error_code == 6
    await served.is_well()


@promise("E12")
async def a_head_that_is_too_long_ends_its_connection(served: Served) -> None:
    async with await served.connect() as client:
        http = RawH2(client)
        await http.begin()
        # One header of 3 KB, and references to it: few bytes that stand for many.
        await http.send(http.head(1, [*get(), *[(b"x-long", b"y" * 3000)] * 8]))
        with trio.fail_after(SOON):
            away = await http.until(frames.GoAwayFrame)
        assert isinstance(away, frames.GoAwayFrame)
        assert away.error_code == 11
    await served.is_well()


# --- E13: what is ambiguous ---------------------------------------------------------------------

SMUGGLED = http1(b"GET /models HTTP/1.1", b"Host: test")


def refused(row: str, name: str, status: bytes, *parts: bytes) -> None:
    """A request of HTTP/1 that gets one refusal, and no answer to what stands behind it."""

    async def keep(served: Served) -> None:
        answer = await say(served, b"".join(parts))
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b'"detail":' in answer
        assert b"connection: close" in answer.lower()
        await served.is_well()

    keep.__name__ = name
    promise(row)(keep)


refused(
    "E13",
    "two framings are refused",
    b"400",
    http1(
        b"POST /compare HTTP/1.1",
        b"Host: test",
        b"Content-Length: 4",
        b"Transfer-Encoding: chunked",
    ),
    b"0\r\n\r\n" + SMUGGLED,
)
refused(
    "E13",
    "a head of 20 KiB in one piece is refused",
    b"431",
    http1(b"GET /health HTTP/1.1", b"Host: test", *(b"X-%d: " % n + b"x" * 990 for n in range(20))),
)
refused(
    "E13",
    "a target that is no address is refused",
    b"400",
    http1(b"GET http://[/health HTTP/1.1", b"Host: test"),
)
