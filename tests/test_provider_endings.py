"""Calls to a provider over real sockets: every way in which a response can begin, break and end.

V, S and U name the rows of docs/corner-cases.md. After every test no task and no connection is
left; `ask_wire` sees besides that it is we who have closed it, while the client was still open.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trustme
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked

from service.comparison import Comparison, Entrant
from service.errors import ProviderError
from service.events import Chunk, Done, ErrorChunk, ErrorCode, Usage
from service.patience import Patience
from service.providers import Ending, Message, Prompt, call
from service.providers.call import HTTPProvider
from service.providers.openai import ChatCompletions
from service.testing import Close, Pause, Reset, open_wire
from service.testing.wire import Step
from service.upstream import open_client
from tests.asking import question
from tests.calling import (
    DONE,
    HEAD,
    KEY,
    LAST,
    PROMPT,
    STOP,
    Heard,
    all_closed,
    ask,
    ask_wire,
    chunk,
    chunked,
    open_provider,
    response,
)
from tests.conftest import connections

MIB = 1024 * 1024
HELD_BY_THE_SYSTEM = 30 * MIB
"""More than the buffers of a loopback connection, much less than what is sent there."""
WHOLE = HEAD + chunked(chunk("a"), STOP, DONE) + LAST
OLD_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CLOSING_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def fault(heard: Heard) -> tuple[str, ErrorCode | None]:
    """The text that had come, and the fault after it."""
    return heard.content, heard.code


# --- answers that are whole --------------------------------------------------------------------


async def test_V01_the_connection_of_a_whole_answer_serves_the_next_one() -> None:
    async with open_wire(WHOLE) as wire, open_provider(wire.base_url) as provider:
        for _ in range(3):
            heard = await ask(provider)
            assert (heard.content, heard.ending) == ("a", Ending(finish_reason="stop"))
            assert (heard.connected_times, heard.first_bytes) == (1, 1)
        assert (wire.opened, wire.closed) == (1, 0)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(chunked(chunk("b"), b'data: {"error":"late"}\n\n'), id="V03 events"),
        pytest.param(chunked(b"x" * 100_000) + LAST, id="V03 noise"),
        pytest.param(b"no chunk at all\r\n", id="V03 what is no HTTP"),
    ],
)
async def test_bytes_after_the_marker_are_ignored_and_their_connection_is_not_used_again(
    after: bytes,
) -> None:
    first = (HEAD, chunked(chunk("a"), STOP, DONE), Pause(0.005), after)
    async with (
        open_wire(answers=[first, [WHOLE]]) as wire,
        open_provider(wire.base_url) as provider,
    ):
        heard = await ask(provider)
        assert (heard.content, heard.ending) == ("a", Ending(finish_reason="stop"))
        await all_closed(wire)
        assert (await ask(provider)).content == "a"
        assert wire.opened == 2


async def test_V03_bytes_behind_the_marker_in_its_own_packet_are_ignored() -> None:
    heard = await ask_wire(HEAD + chunked(chunk("a") + DONE + chunk("b")) + LAST, kept=True)
    assert (heard.content, heard.ending) == ("a", Ending(finish_reason=None))


async def test_V04_nobody_waits_for_the_end_of_the_body_after_the_marker() -> None:
    began = trio.current_time()
    heard = await ask_wire(HEAD, chunked(chunk("a"), STOP, DONE))
    assert (heard.content, heard.ending) == ("a", Ending(finish_reason="stop"))
    assert trio.current_time() - began < 2


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((HEAD + chunked(chunk("a"), STOP) + LAST,), id="V05 clean end"),
        pytest.param((HEAD + chunked(chunk("a"), STOP), Close()), id="V05 FIN inside the body"),
        pytest.param(
            (HEAD + chunked(chunk("a"), STOP), Pause(0.02), Reset()), id="V05 RST after the reason"
        ),
        pytest.param(
            (HEAD + chunked(chunk("a"), STOP, DONE), Reset()), id="V05 RST after the marker"
        ),
        pytest.param(
            (HEAD + chunked(chunk("a"), STOP[:-2]), Close()),
            id="S29 the last event without its end",
        ),
        pytest.param((OLD_HEAD + chunk("a") + STOP + DONE, Close()), id="V50 HTTP/1.0"),
        pytest.param((OLD_HEAD + chunk("a") + STOP, Close()), id="V50 HTTP/1.0, no marker"),
        pytest.param((CLOSING_HEAD + chunk("a") + STOP + DONE, Close()), id="V50 to the end"),
        pytest.param(
            (b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + WHOLE,), id="V42 103"
        ),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE), id="V42 100"),
        pytest.param(
            (b"HTTP/1.1 102 Processing\r\n\r\n" * 500 + WHOLE,), id="V42 many, but not endless"
        ),
        pytest.param((response(chunk("a") + STOP),), id="V35 no media type, but an answer"),
        pytest.param(
            (response(chunk("a") + STOP, media_type="Text/Event-Stream ; charset=utf-16"),),
            id="S33 odd charset",
        ),
        pytest.param(
            (
                response(
                    chunk("a") + STOP, media_type="text/event-stream", Content_Encoding="identity"
                ),
            ),
            id="V30 identity is no encoding",
        ),
    ],
)
async def test_the_answer_is_whole(steps: Sequence[Step]) -> None:
    async with open_wire(*steps) as wire:
        async with open_provider(wire.base_url) as provider:
            heard = await ask(provider)
        await all_closed(wire)
    assert (heard.content, heard.ending) == ("a", Ending(finish_reason="stop"))


async def test_V29_U15_an_answer_in_packets_of_one_byte_is_the_same() -> None:
    text = "Grüße, 例 👋🏽"
    stream = HEAD + chunked(chunk(text).replace(b"\n", b"\r\n"), STOP, DONE) + LAST
    heard = await ask_wire(*(stream[i : i + 1] for i in range(len(stream))), kept=True)
    assert (heard.content, heard.ending) == (text, Ending(finish_reason="stop"))
    assert heard.signs > 50  # it was not one packet after all


async def test_V20_comments_are_signs_of_life_and_no_text() -> None:
    comments: list[Step] = [chunked(b": OPENROUTER PROCESSING\n\n"), Pause(0.005)] * 4
    heard = await ask_wire(HEAD, *comments, chunked(chunk("a"), STOP, DONE) + LAST, kept=True)
    assert heard.pieces == ["a"]
    assert heard.signs >= 4


async def test_V34_an_answer_in_one_object_is_one_piece_and_flagged(
    log_lines: list[EventDict],
) -> None:
    choice = {"index": 0, "message": {"content": "Because."}, "finish_reason": "stop"}
    body = json.dumps({"object": "chat.completion", "choices": [choice]}).encode()
    heard = await ask_wire(response(body, media_type="application/json; charset=utf-8"), kept=True)
    assert heard.pieces == ["Because."]
    assert heard.ending == Ending(finish_reason="stop")
    assert [line["streamed"] for line in log_lines if "streamed" in line] == [False]


# --- answers that break off --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "content", "code"),
    [
        pytest.param(
            (HEAD + chunked(chunk("a")) + LAST, Close()), "a", "truncated", id="V06 U-10 clean end"
        ),
        pytest.param(
            (HEAD + chunked(chunk("a")), Close()),
            "a",
            "upstream_disconnected",
            id="V08 between two HTTP chunks",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a")) + b"40\r\ndata: {", Close()),
            "a",
            "upstream_disconnected",
            id="V08 inside an HTTP chunk",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a")), Pause(0.02), Reset()),
            "a",
            "upstream_disconnected",
            id="V08 U-09 RST",
        ),
        pytest.param(
            (response(chunk("a") + STOP, media_type="text/event-stream")[: -len(STOP)], Close()),
            "a",
            "upstream_disconnected",
            id="V08 less than the length",
        ),
        pytest.param((Close(),), "", "upstream_disconnected", id="V08 no response at all"),
        pytest.param((Reset(),), "", "upstream_disconnected", id="V08 RST for a response"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nContent-Ty", Close()),
            "",
            "upstream_disconnected",
            id="V08 inside the headers",
        ),
        pytest.param((OLD_HEAD + chunk("a"), Close()), "a", "truncated", id="V50 HTTP/1.0"),
        pytest.param((CLOSING_HEAD + chunk("a"), Close()), "a", "truncated", id="V50 no length"),
        pytest.param(
            (OLD_HEAD + chunk("a") + chunk("ü")[:-5], Close()),
            "a",
            "truncated",
            id="U-11 inside the JSON",
        ),
        pytest.param(
            (OLD_HEAD + chunk("a") + chunk("ü").partition(b"\xbc")[0], Close()),
            "a",
            "truncated",
            id="U-11 inside a character",
        ),
        pytest.param(
            (OLD_HEAD + chunk("a") + chunk("b")[:3], Close()),
            "a",
            "truncated",
            id="U-11 inside the field's name",
        ),
        pytest.param(
            (OLD_HEAD + chunk("ü").partition(b"\xbc")[0], Close()),
            "",
            "truncated",
            id="U-11 inside the first event",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a"), chunk("b")[:-2]), Close()),
            "ab",
            "upstream_disconnected",
            id="V08 the text of a whole event without its end is kept",
        ),
    ],
)
async def test_what_came_before_the_break_is_kept(
    steps: Sequence[Step], content: str, code: ErrorCode
) -> None:
    heard = await ask_wire(*steps)
    assert fault(heard) == (content, code)
    assert heard.error is not None
    assert heard.error.retryable


@pytest.mark.parametrize(
    ("steps", "content", "code"),
    [
        pytest.param(
            (HEAD + chunked(chunk("a"), b'data: {"error":{"code":529}}\n\n'),),
            "a",
            "overloaded",
            id="U-12 V18 an error in the middle",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a"), b"data: " + b"x" * 10 * MIB),),
            "a",
            "frame_too_large",
            id="U-17 a line of 10 MiB",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a"), b"\n" * 200_000),),
            "a",
            "frame_too_large",
            id="S30 blank lines",
        ),
        pytest.param((b"SSH-2.0-OpenSSH_9.9\r\n\r\n",), "", "protocol_error", id="no HTTP"),
        pytest.param(
            (HEAD + b"xyz\r\ndata: 1\r\n",), "", "protocol_error", id="no length of a chunk"
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",),
            "",
            "protocol_error",
            id="length -1",
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",),
            "",
            "protocol_error",
            id="two lengths",
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",),
            "",
            "protocol_error",
            id="V30 another transfer encoding",
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,), "", "protocol_error", id="U-19 headers"
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",), "", "protocol_error", id="NUL in a header"
        ),
    ],
)
async def test_what_is_no_stream_is_refused_and_the_connection_closed(
    steps: Sequence[Step], content: str, code: ErrorCode
) -> None:
    assert fault(await ask_wire(*steps)) == (content, code)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", True, id="V35 204"),
        pytest.param(
            HEAD.replace(b"200 OK", b"204 No Content"), True, id="V35 204 with headers of a stream"
        ),
        pytest.param(response(media_type="text/event-stream"), True, id="V35 an empty stream"),
        pytest.param(HEAD + LAST, True, id="V35 an empty chunked stream"),
        pytest.param(response(), True, id="V35 no type"),
        pytest.param(response(media_type="application/json"), True, id="V35 empty JSON"),
        pytest.param(HEAD + chunked(b": ping\n\n") + LAST, True, id="V35 a comment"),
        pytest.param(HEAD + chunked(DONE) + LAST, True, id="V07 a marker alone"),
    ],
)
async def test_an_empty_response_is_a_fault(raw: bytes, kept: bool) -> None:
    async with open_wire(raw) as wire, open_provider(wire.base_url) as provider:
        heard = await ask(provider)
    assert fault(heard) == ("", "empty_response")


# --- encodings and media types -----------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "identity, gzip", "GZIP"])
async def test_V30_a_compressed_answer_is_refused(encoding: str) -> None:
    body = gzip.compress(chunk("a") + STOP + DONE)
    heard = await ask_wire(
        response(body, media_type="text/event-stream", Content_Encoding=encoding)
    )
    assert fault(heard) == ("", "protocol_error")
    assert "compressed" in heard.words


async def test_V30_compressed_bytes_without_a_word_are_no_text() -> None:
    body = gzip.compress(chunk("a") * 100 + STOP + DONE)
    heard = await ask_wire(response(body, media_type="text/event-stream"), kept=True)
    assert heard.content == ""
    assert heard.ending is None


async def test_V30_V31_the_compressed_words_of_a_refusal_are_not_unpacked() -> None:
    body = gzip.compress(b'{"error":"unpacked"}')
    heard = await ask_wire(response(body, status="500 No", Content_Encoding="gzip"), kept=True)
    assert (heard.code, heard.words) == (
        "provider_error",
        "The provider answered with status 500.",
    )


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_V31_U18_a_bomb_is_not_even_read(status: str) -> None:
    bomb = gzip.compress(b"\0" * 64 * MIB, compresslevel=1)
    head = response(status=status, media_type="text/event-stream", Content_Encoding="gzip").replace(
        b"Content-Length: 0", b"Content-Length: %d" % (1000 * len(bomb))
    )
    async with open_wire(head, *[bomb] * 1000) as wire, open_provider(wire.base_url) as provider:
        heard = await ask(provider)
        await all_closed(wire)
        assert wire.sent < HELD_BY_THE_SYSTEM
    assert heard.code in ("protocol_error", "provider_error")


PORTAL = b"<html>\x1b[2J<h1>Log in to\nairport Wi-Fi</h1>%b</html>" % (b"x" * 5000)


@pytest.mark.parametrize("media_type", ["text/html; charset=utf-8", "text/plain", "image/png"])
async def test_V32_a_page_is_no_answer_and_only_the_log_quotes_it(
    media_type: str, log_lines: list[EventDict]
) -> None:
    heard = await ask_wire(response(PORTAL, media_type=media_type), kept=True)
    assert fault(heard) == ("", "not_event_stream")
    assert media_type.partition(";")[0] in heard.words
    assert "airport" not in heard.words
    [line] = [line for line in log_lines if line["log_level"] == "warning"]
    assert line["body"].startswith("<html> <h1>Log in to airport Wi-Fi</h1>xxx")
    assert len(line["body"]) == 200


async def test_V32_a_page_without_an_end_is_read_for_so_long_only(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[EventDict]
) -> None:
    monkeypatch.setattr(call, "ERROR_BODY_SECONDS", 0.05)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 999999\r\n\r\n"
    assert (await ask_wire(head, b"<html>wait")).code == "not_event_stream"
    assert [line["body"] for line in log_lines if "body" in line] == ["<html>wait"]


async def test_V33_an_error_object_in_place_of_a_stream_has_its_own_code() -> None:
    body = b'{"error":{"code":429,"message":"Slow down","metadata":{}}}'
    heard = await ask_wire(response(body, media_type="application/json"), kept=True)
    assert (heard.code, heard.words) == ("rate_limited", "Slow down")


async def test_V34_an_answer_in_one_object_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "WHOLE_ANSWER_BYTES", 1000)
    body = json.dumps({"choices": [{"message": {"content": "x" * 2000}}]}).encode()
    heard = await ask_wire(response(body + b" " * MIB, media_type="application/json"))
    assert fault(heard) == ("", "frame_too_large")


async def test_V34_an_object_that_breaks_off_is_no_answer() -> None:
    raw = response(b'{"choices":[{"message":{"content":"a"}}]}', media_type="application/json")
    assert (await ask_wire(raw[:-4], Close())).code == "upstream_disconnected"


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        pytest.param("400 Bad Request", "bad_request", False, id="V36 400"),
        pytest.param("401 Unauthorized", "unauthorized", False, id="V36 401"),
        pytest.param("402 Payment Required", "payment_required", False, id="V37 402"),
        pytest.param("403 Forbidden", "unauthorized", False, id="V36 403"),
        pytest.param("404 Not Found", "model_not_found", False, id="V36 404"),
        pytest.param("408 Request Timeout", "provider_error", True, id="V36 408"),
        pytest.param("413 Content Too Large", "bad_request", False, id="V36 413"),
        pytest.param("422 Unprocessable Content", "bad_request", False, id="V36 422"),
        pytest.param("429 Too Many Requests", "rate_limited", True, id="V38 429"),
        pytest.param("500 Internal Server Error", "provider_error", True, id="V40 500"),
        pytest.param("502 Bad Gateway", "provider_error", True, id="V39 502"),
        pytest.param("503 Service Unavailable", "overloaded", True, id="V39 503"),
        pytest.param("504 Gateway Timeout", "provider_error", True, id="V39 504"),
        pytest.param("529 Overloaded", "overloaded", True, id="V39 529"),
    ],
)
async def test_a_status_is_an_error_in_json_or_html(
    status: str, code: ErrorCode, retryable: bool
) -> None:
    body = json.dumps({"error": {"message": f"No: {KEY}.", "code": int(status[:3])}}).encode()
    told = await ask_wire(
        response(body, status=status, media_type="application/json", Retry_After="7"), kept=True
    )
    assert told.error is not None
    assert (told.code, told.words, told.error.retry_after) == (code, "No: [hidden].", 7)
    page = await ask_wire(
        response(b"<html><h1>nginx", status=status, media_type="text/html"), kept=True
    )
    assert page.error is not None
    assert (page.code, page.error.retryable, page.error.retry_after) == (code, retryable, None)
    assert page.words == f"The provider answered with status {status[:3]}."


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            (response(b'{"error":"slow down"}' + b" " * 9, status="429 No")[:-9], Close()),
            id="V36 broken off",
        ),
        pytest.param(
            (response(b'{"error":"slow down"}' + b" " * 9, status="429 No")[:-9], Pause(9)),
            id="V39 without an end",
        ),
        pytest.param(
            (response(b'{"error":"slow down"}', status="429 No", Content_Encoding="identity"),),
            id="V36 whole",
        ),
    ],
)
async def test_the_words_of_a_refusal_are_taken_as_far_as_they_came(
    steps: Sequence[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "ERROR_BODY_SECONDS", 0.1)
    async with open_wire(*steps) as wire, open_provider(wire.base_url) as provider:
        heard = await ask(provider)
    assert (heard.code, heard.words) == ("rate_limited", "slow down")


async def test_V36_a_refusal_whose_body_is_torn_off_is_still_that_refusal() -> None:
    head = response(b"x" * 1000, status="401 No")[:-1000]
    assert (await ask_wire(head, Pause(0.02), Reset())).code == "unauthorized"


class Measuring(ChatCompletions):
    """The dialect, but it notes how much of an error's body it is shown."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.shown: list[int] = []

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        self.shown.append(len(body))
        return super().refusal(status, headers, body)


async def test_V39_V40_U19_the_endless_body_of_an_error_is_cut() -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        open_wire(head, *[chunked(b"x" * 50_000)] * 1300) as wire,
        open_client() as client,
    ):
        dialect = Measuring(wire.base_url)
        heard = await ask(HTTPProvider("acme", dialect, client))
        await all_closed(wire)
        assert dialect.shown == [64 * 1024]
        assert wire.sent < HELD_BY_THE_SYSTEM
    assert fault(heard) == ("", "provider_error")


async def test_V39_a_slow_body_of_an_error_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call, "ERROR_BODY_SECONDS", 0.05)
    head = b"HTTP/1.1 503 Oops\r\nContent-Length: 9999\r\n\r\n"
    drip: list[Step] = [b"<", Pause(0.01)]
    heard = await ask_wire(head, *drip * 1000)
    assert heard.code == "overloaded"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_V41_a_redirect_is_not_followed(status: int) -> None:
    async with open_wire(WHOLE) as other:
        moved = response(status=f"{status} Moved", Location=f"{other.base_url}/chat/completions")
        heard = await ask_wire(moved, kept=True)
        assert fault(heard) == ("", "protocol_error")
        assert "redirect" in heard.words
        assert (other.opened, other.requests) == (0, [])


@pytest.mark.parametrize("location", ["http://[", "\\\\", "ftp://x/", "http://\u2603.example:x/"])
async def test_V41_a_redirect_to_nowhere_is_the_same(location: str) -> None:
    raw = response(status="302 Moved", Location="LOCATION").replace(b"LOCATION", location.encode())
    async with open_wire(raw) as wire, open_provider(wire.base_url) as provider:
        assert fault(await ask(provider)) == ("", "protocol_error")


async def test_V36_a_refusal_before_the_question_was_read_is_heard() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(100)
            await stream.send_all(response(b'{"error":"too long"}', status="413 Too Large"))

    long = Prompt(model="m", messages=(Message("user", "x" * 8 * MIB),), max_tokens=256)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, refuse, listeners)
        port = listeners[0].socket.getsockname()[1]
        async with open_provider(f"http://127.0.0.1:{port}/v1") as provider:
            heard = await ask(provider, long)
        nursery.cancel_scope.cancel()
    assert (heard.code, heard.words) == ("bad_request", "too long")


# --- connecting --------------------------------------------------------------------------------


class Nowhere(trio.abc.HostnameResolver):
    """A name server that knows no name."""

    async def getaddrinfo(self, *_: object) -> list[object]:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_V52_a_name_that_does_not_exist_is_a_connect_error() -> None:
    trio.socket.set_custom_hostname_resolver(Nowhere())
    async with open_provider("http://does-not-exist.invalid/v1") as provider:
        heard = await ask(provider)
    assert fault(heard) == ("", "connect_error")
    assert (heard.connected_times, heard.first_bytes) == (0, 0)
    assert "does-not-exist" not in heard.words


async def test_V52_U01_a_port_where_nobody_listens_is_a_connect_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with open_provider(f"http://127.0.0.1:{unused.getsockname()[1]}/v1") as provider:
            heard = await ask(provider)
    assert fault(heard) == ("", "connect_error")
    assert heard.error is not None
    assert heard.error.retryable
    assert heard.connected_times == 0


AUTHORITY = trustme.CA()


def server_tls(name: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    until = datetime.now(UTC) - timedelta(days=1) if expired else None
    certificate = AUTHORITY.issue_cert(
        name, not_before=datetime.now(UTC) - timedelta(days=9), not_after=until
    )
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting() -> ssl.SSLContext:
    """A client that trusts our authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def ask_over_tls(
    tls: ssl.SSLContext | None, verify: ssl.SSLContext | None, *steps: Step
) -> Heard:
    async with open_wire(*steps, tls=tls) as wire:
        url = wire.base_url.replace("http://", "https://")
        async with open_provider(url, verify=verify) as provider:
            heard = await ask(provider)
        await all_closed(wire)
    return heard


async def test_V51_over_tls_an_answer_is_an_answer(trusting: ssl.SSLContext) -> None:
    heard = await ask_over_tls(server_tls(), trusting, WHOLE)
    assert (heard.content, heard.ending) == ("a", Ending(finish_reason="stop"))


@pytest.mark.parametrize(
    ("tls", "trusted"),
    [
        pytest.param(server_tls("other.example"), True, id="V51 wrong host"),
        pytest.param(server_tls(expired=True), True, id="V51 expired"),
        pytest.param(server_tls(), False, id="V51 U-06 unknown authority"),
        pytest.param(None, True, id="V51 no TLS there"),
    ],
)
async def test_what_cannot_be_trusted_gets_no_question(
    tls: ssl.SSLContext | None, trusted: bool, trusting: ssl.SSLContext
) -> None:
    heard = await ask_over_tls(tls, trusting if trusted else None, WHOLE)
    assert fault(heard) == ("", "tls_error")
    assert heard.connected_times == 0


async def test_V51_tls_of_an_old_version_is_refused(trusting: ssl.SSLContext) -> None:
    tls = server_tls()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    assert (await ask_over_tls(tls, trusting, WHOLE)).code == "tls_error"


@pytest.mark.parametrize(
    ("steps", "content", "code"),
    [
        pytest.param(
            (OLD_HEAD + chunk("a"), Close(notify=False)), "a", "truncated", id="V51 V06 no reason"
        ),
        pytest.param((OLD_HEAD + chunk("a"), Close()), "a", "truncated", id="V51 with notice"),
        pytest.param(
            (OLD_HEAD + chunk("a") + STOP, Close(notify=False)), "a", None, id="V51 V05 a reason"
        ),
        pytest.param(
            (HEAD + chunked(chunk("a")), Close(notify=False)),
            "a",
            "upstream_disconnected",
            id="V51 V08 inside the body",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a")), Pause(0.02), Reset()),
            "a",
            "upstream_disconnected",
            id="V51 V08 RST",
        ),
    ],
)
async def test_the_end_of_a_tls_connection_is_no_end_of_an_answer(
    steps: Sequence[Step], content: str, code: ErrorCode | None, trusting: ssl.SSLContext
) -> None:
    assert fault(await ask_over_tls(server_tls(), trusting, *steps)) == (content, code)


# --- connections that were kept ----------------------------------------------------------------


async def test_V53_U22_a_connection_that_the_provider_closed_meanwhile_is_not_used() -> None:
    async with (
        open_wire(answers=[[WHOLE, Pause(0.01), Close()], [WHOLE]]) as wire,
        open_provider(wire.base_url) as provider,
    ):
        assert (await ask(provider)).content == "a"
        await all_closed(wire)
        assert (await ask(provider)).ending == Ending(finish_reason="stop")
        assert len(wire.requests) == wire.opened == 2


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["FIN", "RST"])
async def test_V53_U22_a_connection_that_closes_at_the_next_question_is_a_clean_error(
    end: Step,
) -> None:
    async with (
        open_wire(answers=[[WHOLE], [end], [WHOLE]]) as wire,
        open_provider(wire.base_url) as provider,
    ):
        assert (await ask(provider)).content == "a"
        heard = await ask(provider)
        assert fault(heard) == ("", "upstream_disconnected")
        assert heard.error is not None
        assert heard.error.retryable
        # The question had left and may have been worked on: it is not asked twice in secret.
        assert len(wire.requests) == 2
        assert (await ask(provider)).content == "a"


@pytest.mark.parametrize(
    "stray",
    [b"noise", WHOLE.replace(b'"a"', b'"b"')],
    ids=["noise", "a response that nobody asked for"],
)
async def test_V03_bytes_behind_a_response_never_answer_the_next_question(stray: bytes) -> None:
    async with (
        open_wire(answers=[[WHOLE + stray], [WHOLE]]) as wire,
        open_provider(wire.base_url) as provider,
    ):
        for _ in range(3):
            assert fault(await ask(provider)) == ("a", None)
        assert wire.opened == 2


async def test_V03_a_line_end_behind_a_response_is_nothing() -> None:
    async with (
        open_wire(answers=[[WHOLE + b"\r\n"], [WHOLE]]) as wire,
        open_provider(wire.base_url) as provider,
    ):
        for _ in range(3):
            assert fault(await ask(provider)) == ("a", None)
        assert len(wire.requests) == 3


async def test_a_provider_cannot_tie_questions_together_by_cookies() -> None:
    first = WHOLE.replace(b"\r\n", b"\r\nSet-Cookie: who=you; Path=/\r\n", 1)
    async with open_wire(first) as wire, open_provider(wire.base_url) as provider:
        for _ in range(2):
            assert (await ask(provider)).content == "a"
        assert [b"cookie" in dict(head.headers) for head, _ in wire.requests] == [False, False]


async def test_U23_a_provider_that_fails_every_other_time_leaves_no_connection() -> None:
    turns: list[list[Step]] = [[WHOLE], [HEAD + chunked(chunk("a")), Reset()]] * 15
    async with open_wire(answers=turns) as wire, open_provider(wire.base_url) as provider:
        codes = [(await ask(provider)).code for _ in turns]
        assert codes == [None, "upstream_disconnected"] * 15
        await all_closed(wire)
        assert wire.opened == 15


# --- leaving in the middle ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((), id="U-04 before the headers"),
        pytest.param((HEAD,), id="U-07 before the body"),
        pytest.param((HEAD, chunked(chunk("a"))), id="U-08 in the body"),
        pytest.param((b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\n",), id="U-19 in an error"),
        pytest.param((HEAD, chunked(chunk("a"), STOP, DONE)), id="V04 after the marker"),
    ],
)
async def test_leaving_closes_the_connection_at_once(steps: Sequence[Step]) -> None:
    async with open_wire(*steps) as wire, open_provider(wire.base_url) as provider:
        with trio.move_on_after(0.02):
            await provider.stream(PROMPT, Heard())
        await all_closed(wire)


@asynccontextmanager
async def open_deaf_server() -> AsyncIterator[str]:
    """A server that accepts connections, and neither reads nor writes."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def keep(stream: trio.SocketStream) -> None:
            async with stream:
                await trio.sleep_forever()

        await nursery.start(trio.serve_listeners, keep, listeners)
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_U04_leaving_while_the_question_is_stuck_closes_the_connection() -> None:
    long = Prompt(model="m", messages=(Message("user", "x" * 16 * MIB),), max_tokens=256)
    async with open_deaf_server() as address, open_provider(f"http://{address}/v1") as provider:
        with trio.fail_after(2), trio.move_on_after(0.05):
            await provider.stream(long, Heard())


async def test_U05_leaving_in_a_tls_handshake_closes_the_connection_at_once(
    trusting: ssl.SSLContext,
) -> None:
    async with (
        open_deaf_server() as address,
        open_provider(f"https://{address}/v1", verify=trusting) as provider,
    ):
        before = connections()
        heard = Heard()
        with trio.move_on_after(0.03):
            await provider.stream(PROMPT, heard)
        assert heard.connected_times == 0
        left = connections() - before
        assert len(left) <= 1, left  # the server's own end, which never reads


# --- the clocks, over sockets ------------------------------------------------------------------


async def compared(
    patience: Patience, *named: tuple[str, HTTPProvider]
) -> dict[str, tuple[str, Done]]:
    """What each model of a comparison said, and its end."""
    asked = question(*(name for name, _ in named))
    entrants = [Entrant(name, provider, PROMPT) for name, provider in named]
    said = dict.fromkeys((name for name, _ in named), "")
    dones = {}
    with trio.fail_after(5):
        async with Comparison(asked, entrants, patience).open() as inbox:
            async for event in inbox:
                match event:
                    case Chunk(model=model, content=content):
                        said[model] += content
                    case ErrorChunk(model=model, content=content):
                        said[model] += f"[{content}]"
                    case Done(model=model):
                        dones[model] = event
    return {name: (said[name], dones[name]) for name in said}


DRIP = [chunked(chunk("a")), Pause(0.02)] * 100
COMMENTS = [chunked(b": OPENROUTER PROCESSING\n\n"), Pause(0.02)] * 100


@pytest.mark.parametrize(
    ("steps", "patience", "code"),
    [
        pytest.param((), Patience(first_token=0.1), "first_token_timeout", id="U-04 no answer"),
        pytest.param(
            (HEAD,),
            Patience(first_token=0.1),
            "first_token_timeout",
            id="V43 headers, then silence",
        ),
        pytest.param(
            (HEAD, *COMMENTS),
            Patience(first_token=0.1),
            "first_token_timeout",
            id="V20 U-07 S31 only comments",
        ),
        pytest.param(
            (b"HTTP/1.1 102 Wait\r\n\r\n", Pause(0.02)) * 100,
            Patience(first_token=0.1),
            "first_token_timeout",
            id="V42 U-19 endless 1xx",
        ),
        pytest.param(
            (HEAD, chunked(chunk("a"))),
            Patience(idle=0.1),
            "idle_timeout",
            id="V44 U-08 a token, then silence",
        ),
        pytest.param(
            (HEAD, *DRIP),
            Patience(total=0.15),
            "total_timeout",
            id="V45 U-20 a token now and then",
        ),
        pytest.param(
            (HEAD, chunked(chunk("a")), *COMMENTS),
            Patience(idle=0.5, total=0.8),
            "total_timeout",
            id="V20 comments keep a begun answer alive",
        ),
    ],
)
async def test_the_clock_that_runs_out_closes_the_connection(
    steps: Sequence[Step], patience: Patience, code: ErrorCode
) -> None:
    async with open_wire(*steps) as wire, open_provider(wire.base_url) as provider:
        answers = await compared(patience, ("m", provider))
        await all_closed(wire)
    said, done = answers["m"]
    assert done.code == code
    assert said.endswith("s)]")


# --- back-pressure -----------------------------------------------------------------------------


async def test_V46_U16_a_client_that_does_not_read_stops_the_provider() -> None:
    blocked = trio.Event()

    class Reader(Heard):
        async def text(self, *contents: str, **how: object) -> None:
            self.pieces += contents
            blocked.set()
            await trio.sleep_forever()

    flood = [chunked(*[chunk("x" * 1000)] * 60)] * 4000  # some 250 MB
    reader = Reader()
    async with open_wire(HEAD, *flood) as wire, open_provider(wire.base_url) as provider:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.stream, PROMPT, reader)
            await blocked.wait()
            await wait_all_tasks_blocked(0.05)
            held = wire.sent
            await wait_all_tasks_blocked(0.05)
            assert wire.sent == held < HELD_BY_THE_SYSTEM
            assert set(reader.pieces) == {"x" * 1000}
            assert len("".join(reader.pieces)) <= reader.room()
            nursery.cancel_scope.cancel()
        await all_closed(wire)


async def test_V46_what_was_held_back_arrives_when_the_client_reads_again() -> None:
    class Reader(Heard):
        async def text(self, *contents: str, **how: object) -> None:
            if not self.pieces:
                await trio.sleep(0.03)
            self.pieces += contents

    pieces = [f"{number} " for number in range(5000)]
    steps = [chunked(*map(chunk, pieces[i : i + 100])) for i in range(0, 5000, 100)]
    reader = Reader()
    async with (
        open_wire(HEAD, *steps, chunked(DONE) + LAST) as wire,
        open_provider(wire.base_url) as provider,
    ):
        await provider.stream(PROMPT, reader)
    assert reader.pieces == pieces


# --- what is known of an answer that is not whole ------------------------------------------------


async def test_the_providers_reason_is_told_of_an_answer_that_failed() -> None:
    filtered = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}\n\n'
    async with (
        open_wire(HEAD, chunked(chunk("a"), filtered, DONE) + LAST) as wire,
        open_provider(wire.base_url) as provider,
    ):
        [(_, done)] = (await compared(Patience(), ("m", provider))).values()
    assert (done.code, done.finish_reason) == ("content_filtered", "content_filter")


async def test_what_a_provider_had_reported_is_told_of_an_answer_that_was_cut_short() -> None:
    so_far = b'data: {"choices":[],"usage":{"prompt_tokens":111,"completion_tokens":7}}\n\n'
    async with (
        open_wire(HEAD, chunked(chunk("a"), so_far)) as wire,
        open_provider(wire.base_url) as provider,
    ):
        [(_, done)] = (await compared(Patience(idle=0.05), ("m", provider))).values()
    assert done.code == "idle_timeout"
    assert done.usage == Usage(
        input_tokens=111, output_tokens=7, reasoning_tokens=0, estimated=False
    )


async def test_a_refused_request_took_nothing() -> None:
    async with (
        open_wire(response(b"{}", status="400 No")) as wire,
        open_provider(wire.base_url) as provider,
    ):
        [(_, done)] = (await compared(Patience(), ("m", provider))).values()
    assert (done.code, done.usage) == ("bad_request", None)


# --- what is sent ------------------------------------------------------------------------------


async def test_the_request_as_the_provider_receives_it() -> None:
    attribution = {"HTTP-Referer": "https://app.example", "X-OpenRouter-Title": "Größe"}
    async with (
        open_wire(WHOLE) as wire,
        open_provider(wire.base_url, flavour="openrouter", attribution=attribution) as provider,
    ):
        await ask(provider)
        parameters = provider.parameters(PROMPT)
    [(head, body)] = wire.requests
    headers = dict(head.headers)
    assert (head.method, head.target) == (b"POST", b"/v1/chat/completions")
    assert headers.pop(b"host").startswith(b"127.0.0.1:")
    assert headers.pop(b"user-agent").startswith(b"compare-stream")
    assert headers == {
        b"accept": b"text/event-stream",
        b"accept-encoding": b"identity",
        b"authorization": f"Bearer {KEY}".encode(),
        b"connection": b"keep-alive",
        b"content-length": b"%d" % len(body),
        b"content-type": b"application/json",
        b"http-referer": b"https://app.example",
        b"x-openrouter-title": "Größe".encode(),
    }
    assert json.loads(body) == {
        "model": "acme/m",
        "messages": [{"role": "user", "content": "Why?"}],
        "stream": True,
        **parameters,
    }


async def test_without_a_key_no_authorization_is_sent() -> None:
    async with open_wire(WHOLE) as wire, open_provider(wire.base_url, key=None) as provider:
        await ask(provider)
    [(head, _)] = wire.requests
    assert b"authorization" not in dict(head.headers)


# --- one of three ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "said", "code"),
    [
        pytest.param(
            (HEAD + chunked(chunk("a")), Pause(0.02), Reset()),
            "a[Error: The provider closed the connection before the answer was whole.]",
            "upstream_disconnected",
            id="U-09",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a")) + LAST,),
            "a[Error: The answer broke off: the provider closed it without saying that it was "
            "done.]",
            "truncated",
            id="U-10",
        ),
        pytest.param(
            (HEAD + chunked(chunk("a"), b'data: {"error":{"code":429}}\n\n'),),
            "a[Error: Rate limited]",
            "rate_limited",
            id="U-12",
        ),
        pytest.param(
            (response(status="401 No"),),
            "[Error: Authentication failed]",
            "unauthorized",
            id="U-13",
        ),
        pytest.param(
            (response(b"<html>", media_type="text/html"),),
            "[Error: The provider answered with text/html instead of an event stream.]",
            "not_event_stream",
            id="U-14",
        ),
    ],
)
async def test_the_fault_of_one_model_is_its_own(
    steps: Sequence[Step], said: str, code: ErrorCode
) -> None:
    drip: list[Step] = [chunked(chunk("b")), Pause(0.005)]
    good = [HEAD, *drip * 10, chunked(STOP, DONE) + LAST]
    async with (
        open_wire(*steps) as bad_wire,
        open_wire(*good) as good_wire,
        open_provider(bad_wire.base_url) as bad,
        open_provider(good_wire.base_url) as well,
    ):
        answers = await compared(Patience(), ("one", well), ("bad", bad), ("two", well))
    assert [(text, done.code) for text, done in answers.values()] == [
        ("b" * 10, None),
        (said, code),
        ("b" * 10, None),
    ]


# --- what a provider says beside its answer -----------------------------------------------------


async def test_a_finish_reason_is_a_word_and_holds_no_key() -> None:
    reason = f"Bearer {KEY} " + "x" * 1000
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"%b"}]}\n\n' % reason.encode()
    heard = await ask_wire(HEAD, chunked(chunk("a"), last, DONE), LAST, kept=True)
    assert heard.ending is not None
    assert heard.ending.finish_reason is not None
    assert KEY not in heard.ending.finish_reason
    assert len(heard.ending.finish_reason) == 64


@pytest.mark.parametrize(
    "ending",
    [
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}\n\n',
        b'data: {"error":{"code":502,"message":"gone"}}\n\n',
        b"",
    ],
    ids=["filtered", "error", "truncated"],
)
async def test_a_failed_answer_keeps_the_price_that_was_reported(ending: bytes) -> None:
    usage = (
        b'data: {"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":30,"cost":0.5}}\n\n'
    )
    heard = await ask_wire(HEAD, chunked(chunk("a"), usage, *([ending] if ending else [])), Close())
    assert heard.error is not None
    assert heard.error.usage is not None
    assert (heard.error.usage.input_tokens, heard.error.usage.output_tokens) == (70, 30)
    assert heard.error.cost_usd == 0.5


async def test_a_refusal_whose_words_do_not_come_is_still_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.providers.call.ERROR_BODY_SECONDS", 0.2)
    head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 100\r\n\r\n"
    asked = question("a")
    async with open_wire(head) as wire, open_provider(wire.base_url) as provider:
        entrant = Entrant("a", provider, asked.prompt_for(asked.entries[0], "a"))
        patience = Patience(first_token=0.1)  # less than the words may take
        async with Comparison(asked, [entrant], patience).open() as inbox:
            codes = [event.code async for event in inbox if isinstance(event, Done)]
        await all_closed(wire)
    assert codes == ["rate_limited"]


# --- what came together -------------------------------------------------------------------------


async def test_of_what_one_read_brought_only_the_last_may_wait_for_a_beat() -> None:
    class Noting(Heard):
        waits: tuple[bool, ...] = ()

        async def text(self, *contents: str, **how: Any) -> None:
            self.waits += (not how.get("more"),)
            await super().text(*contents)

        async def reasoning(self, content: str, *, more: bool = False) -> None:
            self.waits += (not more,)
            await super().reasoning(content)

    thinking = b'data: {"choices": [{"delta": {"reasoning": "hm"}}]}\n\n'
    noting = Noting()
    steps = (HEAD, chunked(thinking * 3 + chunk("a") + thinking), Pause(0.05))
    async with (
        open_wire(*steps, chunked(STOP, DONE) + LAST) as wire,
        open_provider(wire.base_url) as provider,
    ):
        await provider.stream(PROMPT, noting)
    assert (noting.content, len(noting.thoughts)) == ("a", 4)
    assert noting.waits == (False, False, False, False, True)
