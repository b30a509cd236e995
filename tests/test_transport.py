"""Connections of the transport made for streams, over real sockets, with TLS and without.

A connection serves another request only after a clean end; every other way out closes it at once.
Garbage is not collected meanwhile (`nothing_is_collected`): what only the collector would close is
lost.
"""

from __future__ import annotations

import gc
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from service.errors import ProviderError
from service.testing import Close, Pause, Reset, Wire, open_wire
from service.testing.wire import Step, Stream
from service.upstream import open_client, transport
from service.upstream.body import Body
from service.upstream.connection import READS_IN_A_ROW
from service.upstream.transport import KEEP_ALIVE_SECONDS, StreamTransport
from tests.calling import HEAD, LAST, PATIENCE, all_closed, chunked, response
from tests.conftest import Certificate, connections
from tests.every_step import at_step

MIB = 1024 * 1024
HELD_BY_THE_SYSTEM = 30 * MIB
"""More than the buffers of a loopback connection, much less than what is sent there."""
TLS_RECORD = 16 * 1024
"""Bytes in the largest record."""
WHOLE = HEAD + chunked(b"a") + LAST


@dataclass(frozen=True, slots=True)
class Way:
    """How to speak with a provider: in clear text, or over TLS."""

    scheme: str
    served: ssl.SSLContext | None
    """What the provider needs for it."""
    trusting: ssl.SSLContext


def ways(certificate: Certificate) -> dict[str, Way]:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate.certfile, certificate.keyfile)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate.authority.configure_trust(trusting)
    return {"clear": Way("http", None, trusting), "TLS": Way("https", served, trusting)}


@pytest.fixture(params=["clear", "TLS"])
def way(request: pytest.FixtureRequest, certificate: Certificate) -> Way:
    """Both, one after the other."""
    return ways(certificate)[request.param]


@pytest.fixture
def clear(certificate: Certificate) -> Way:
    return ways(certificate)["clear"]


@pytest.fixture
def tls(certificate: Certificate) -> Way:
    return ways(certificate)["TLS"]


@pytest.fixture(autouse=True)
def nothing_is_collected() -> Iterator[None]:
    """Only what closes its sockets itself has closed them."""
    gc.disable()
    yield
    gc.enable()


@dataclass(slots=True)
class Answer:
    """What came of a request."""

    status: int
    headers: httpx.Headers
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


@asynccontextmanager
async def asking(
    streams: StreamTransport, url: str, *, method: str = "POST", content: bytes = b"", **known: Any
) -> AsyncIterator[httpx.Response]:
    """A request's response, whose body is still to be read; left as `Client.post` leaves it."""
    request = httpx.Request(method, url, content=content, extensions=known)
    with trio.fail_after(PATIENCE):
        got = await streams.handle_async_request(request)
    try:
        yield got
    finally:
        await got.aclose()


async def ask(streams: StreamTransport, url: str, **options: Any) -> Answer:
    """A request's whole answer."""
    async with asking(streams, url, **options) as got:
        answer = Answer(got.status_code, got.headers)
        with trio.fail_after(PATIENCE):
            async for piece in got.aiter_raw():
                answer.pieces.append(piece)
    return answer


@asynccontextmanager
async def speaking(
    way: Way, *steps: Step, answers: Sequence[Sequence[Step]] = ()
) -> AsyncIterator[tuple[StreamTransport, Wire]]:
    """The transport, and a provider that answers by these steps."""
    async with (
        open_wire(*steps, answers=answers, tls=way.served) as wire,
        StreamTransport(way.trusting) as streams,
    ):
        yield streams, wire


@asynccontextmanager
async def open_provider(
    way: Way, handle: Callable[[Stream], Awaitable[None]], *, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """A provider that handles each connection by hand, and closes it then; gives its address."""

    async def serve(tcp: trio.SocketStream) -> None:
        stream: Stream = tcp
        if way.served is not None:
            stream = trio.SSLStream(tcp, way.served, server_side=True, https_compatible=True)
        try:
            async with tcp:
                await handle(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=host)
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield f"{way.scheme}://{host}:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel("the test is over")


async def until_open(wire: Wire, number: int) -> None:
    """Wait until the provider has so few connections; by the real clock, whatever Trio's says."""
    late = time.monotonic() + PATIENCE
    while wire.open > number:
        assert time.monotonic() < late
        await trio.lowlevel.checkpoint()


# --- connections that are used again ------------------------------------------------------------


async def test_one_connection_serves_one_request_after_the_other(way: Way) -> None:
    async with speaking(way, WHOLE) as (streams, wire):
        for number in range(5):
            answer = await ask(streams, wire.base_url, content=b"x" * number)
            assert (answer.status, answer.body) == (200, b"a")
        assert (wire.opened, wire.closed) == (1, 0)
        assert [body for _, body in wire.requests] == [b"x" * number for number in range(5)]
    await all_closed(wire)


async def test_requests_at_the_same_time_have_connections_of_their_own(way: Way) -> None:
    async with speaking(way, HEAD, chunked(b"a"), Pause(0.02), LAST) as (streams, wire):
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ask, streams, wire.base_url)
        assert (wire.opened, wire.closed) == (5, 0)


async def test_the_connection_that_was_used_last_is_used_first(way: Way) -> None:
    numbers = count()

    async def say_who_you_are(stream: Stream) -> None:
        me = b"%d" % next(numbers)
        while await stream.receive_some():
            await stream.send_all(response(me))

    async with (
        open_provider(way, say_who_you_are) as url,
        StreamTransport(way.trusting) as streams,
        AsyncExitStack() as open_ones,
    ):
        three = [await open_ones.enter_async_context(asking(streams, url)) for _ in range(3)]
        # What is read to its end first waits longest.
        for got in (three[1], three[2], three[0]):
            last = await got.aread()
        for _ in range(3):
            assert (await ask(streams, url)).body == last == b"0"


async def test_idle_connections_are_closed_when_their_time_is_over(
    way: Way, mock_clock: MockClock
) -> None:
    async with speaking(way, WHOLE) as (streams, wire), trio.open_nursery() as nursery:
        nursery.start_soon(streams.close_what_expires)
        for _ in range(2):  # it begins anew after none was left
            await ask(streams, wire.base_url)
            mock_clock.jump(KEEP_ALIVE_SECONDS - 0.1)
            await wait_all_tasks_blocked(0.01)
            assert wire.open == 1
            mock_clock.jump(0.2)
            await until_open(wire, 0)
        assert wire.opened == 2
        nursery.cancel_scope.cancel("seen enough")


async def test_a_request_keeps_its_connection_from_expiring(
    way: Way, mock_clock: MockClock
) -> None:
    async with speaking(way, WHOLE) as (streams, wire), trio.open_nursery() as nursery:
        nursery.start_soon(streams.close_what_expires)
        for _ in range(4):
            await ask(streams, wire.base_url)
            mock_clock.jump(KEEP_ALIVE_SECONDS - 0.1)
            await wait_all_tasks_blocked(0.01)
        assert (wire.opened, wire.closed) == (1, 0)
        nursery.cancel_scope.cancel("seen enough")


async def test_what_expired_is_not_used_though_nobody_has_closed_it_yet(
    way: Way, mock_clock: MockClock
) -> None:
    async with speaking(way, WHOLE) as (streams, wire):
        await ask(streams, wire.base_url)
        mock_clock.jump(KEEP_ALIVE_SECONDS + 0.1)
        await ask(streams, wire.base_url)
        await until_open(wire, 1)
        assert wire.opened == 2


async def test_the_transport_takes_its_idle_connections_with_it(way: Way) -> None:
    async with speaking(way, HEAD, chunked(b"a"), Pause(0.02), LAST) as (streams, wire):
        async with asking(streams, wire.base_url) as in_use, asking(streams, wire.base_url) as idle:
            await idle.aread()
            await streams.aclose()
            await until_open(wire, 1)
            assert await in_use.aread() == b"a"  # what is in use is left alone
        await all_closed(wire)


async def test_so_many_idle_connections_are_kept_and_no_more(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEPT_CONNECTIONS", 2)
    async with speaking(way, HEAD, chunked(b"a"), Pause(0.02), LAST) as (streams, wire):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, streams, wire.base_url)
        await until_open(wire, 2)
        await wait_all_tasks_blocked(0.01)
        assert (wire.opened, wire.open) == (5, 2)


async def test_a_connection_is_for_the_host_that_it_was_made_to(tls: Way) -> None:
    async with speaking(tls, WHOLE) as (streams, wire):
        await ask(streams, wire.base_url)
        await ask(streams, wire.base_url.replace("127.0.0.1", "localhost"))
        assert wire.opened == 2


# --- connections that are not --------------------------------------------------------------------

STRAY = response(b"not for you")
SHORT = response(b"a")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((WHOLE + STRAY,), id="another response in the same packet"),
        pytest.param((SHORT + STRAY,), id="another response behind a known length"),
        pytest.param((WHOLE + b"H",), id="one byte in the same packet"),
        pytest.param((WHOLE, STRAY), id="another response at once"),
        pytest.param((WHOLE, Pause(0.02), STRAY), id="another response later"),
        pytest.param((WHOLE, Pause(0.02), b"H"), id="one byte later"),
        pytest.param((WHOLE, Close()), id="FIN"),
        pytest.param((WHOLE, Close(notify=False)), id="FIN without close_notify"),
        pytest.param((WHOLE, Pause(0.02), Close()), id="FIN later"),
        pytest.param((WHOLE, Pause(0.02), Reset()), id="RST later"),
        pytest.param((response(b"a", Connection="close"),), id="Connection: close"),
        pytest.param(
            (HEAD + chunked(b"a") + b"0\r\nConnection: close\r\n\r\n",),
            id="Connection: close in a trailer",
        ),
        pytest.param((SHORT.replace(b"1.1", b"1.0"),), id="HTTP/1.0"),
        pytest.param(
            (WHOLE.replace(b"1.1", b"1.0").replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1),),
            id="chunks in HTTP/1.0",
        ),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\na", Close()), id="a body up to the end"),
    ],
)
async def test_a_connection_that_may_not_be_clean_is_closed_and_not_used_again(
    way: Way, steps: Sequence[Step]
) -> None:
    async with speaking(way, answers=[steps, [WHOLE]]) as (streams, wire):
        assert (await ask(streams, wire.base_url)).body == b"a"
        await wait_all_tasks_blocked(0.03)
        for _ in range(2):
            assert (await ask(streams, wire.base_url)).body == b"a"
        await until_open(wire, 1)
        assert wire.opened == 2


async def test_what_came_behind_a_response_in_a_record_of_its_own_is_no_response(tls: Way) -> None:
    # TLS has it in hand with the last of the response: nothing of it is in the socket any more.
    body = b"x" * (TLS_RECORD - len(response(b"x" * 10_000)) + 10_000)
    first = response(body)
    assert len(first) == TLS_RECORD
    async with speaking(tls, answers=[[first + STRAY], [WHOLE]]) as (streams, wire):
        assert (await ask(streams, wire.base_url)).body == body
        for _ in range(2):
            assert (await ask(streams, wire.base_url)).body == b"a"
        await until_open(wire, 1)
        assert wire.opened == 2


async def test_what_came_behind_a_response_and_was_not_read_with_it_is_no_response(
    way: Way,
) -> None:
    async with speaking(way, answers=[[SHORT + STRAY], [WHOLE]]) as (streams, wire):
        assert (await ask(streams, wire.base_url, room=lambda: len(SHORT))).body == b"a"
        assert (await ask(streams, wire.base_url)).body == b"a"
        await until_open(wire, 1)
        assert wire.opened == 2


@pytest.mark.parametrize("pieces", [0, 1])
async def test_a_body_that_is_left_early_closes_its_connection_at_once(
    way: Way, pieces: int
) -> None:
    drip: list[Step] = [chunked(b"a"), Pause(0.01)]
    async with speaking(way, HEAD, *drip * 1000) as (streams, wire):
        async with asking(streams, wire.base_url) as got:
            body = aiter(got.extensions["body"])
            for _ in range(pieces):
                assert await anext(body) == b"a"
        await all_closed(wire)


async def test_a_whole_body_that_nobody_has_read_closes_its_connection(way: Way) -> None:
    async with speaking(way, WHOLE) as (streams, wire):
        async with asking(streams, wire.base_url):
            await wait_all_tasks_blocked(0.01)
        await all_closed(wire)


async def test_a_connection_that_has_ended_behind_its_response_is_not_even_kept(
    way: Way, mock_clock: MockClock
) -> None:
    async with speaking(way, WHOLE, Close()) as (streams, wire):
        before = connections()
        async with asking(streams, wire.base_url) as got:
            await until_open(wire, 0)
            assert await got.aread() == b"a"
            assert connections() == before


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "status", "body", "kept"),
    [
        pytest.param((WHOLE,), 200, b"a", True, id="chunks"),
        pytest.param((HEAD, chunked(b"a", b"bc"), LAST), 200, b"abc", True, id="several"),
        pytest.param((HEAD + b"1;x=y\r\na\r\n0\r\nT: x\r\n\r\n",), 200, b"a", True, id="trailers"),
        pytest.param((HEAD + LAST,), 200, b"", True, id="no chunk"),
        pytest.param((response(b"abc"),), 200, b"abc", True, id="known length"),
        pytest.param((response(b""),), 200, b"", True, id="length 0"),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\nabc", Close()), 200, b"abc", False, id="to the end"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\n\r\nabc", Close(notify=False)),
            200,
            b"abc",
            False,
            id="to an end without close_notify",
        ),
        pytest.param((b"HTTP/1.0 200 OK\r\n\r\nabc", Close()), 200, b"abc", False, id="HTTP/1.0"),
        pytest.param(
            (response(b"abc", Connection="keep-alive").replace(b"1.1", b"1.0"),),
            200,
            b"abc",
            True,
            id="HTTP/1.0 that stays",
        ),
        pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b"", True, id="204"),
        pytest.param(
            (response(b"", status="204 No").replace(b": 0", b": 9"),), 204, b"", True, id="204, 9"
        ),
        pytest.param((HEAD.replace(b"200", b"304"),), 304, b"", True, id="304"),
        pytest.param(
            (b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n", Pause(0.01), WHOLE),
            200,
            b"a",
            True,
            id="103 first",
        ),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + WHOLE,), 200, b"a", True, id="100s"),
    ],
)
async def test_a_body_ends_where_http_says(
    way: Way, steps: Sequence[Step], status: int, body: bytes, kept: bool
) -> None:
    async with speaking(way, *steps) as (streams, wire):
        answer = await ask(streams, wire.base_url)
        assert (answer.status, answer.body) == (status, body)
        if kept:
            assert wire.open == 1
        else:
            await all_closed(wire)


async def test_a_response_to_HEAD_has_no_body_whatever_its_length(way: Way) -> None:
    head = response(b"")[:-5] + b"999\r\n\r\n"
    for raw in (head, head + b"not to be here", HEAD):
        async with speaking(way, raw) as (streams, wire):
            answer = await ask(streams, wire.base_url, method="HEAD")
            assert (answer.status, answer.body) == (200, b"")
            await all_closed(wire)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        pytest.param((HEAD + chunked(b"a"), Close()), httpx.RemoteProtocolError, id="FIN"),
        pytest.param(
            (HEAD + chunked(b"a"), Close(notify=False)),
            httpx.RemoteProtocolError,
            id="FIN without close_notify",
        ),
        pytest.param((response(b"aa")[:-1], Close()), httpx.RemoteProtocolError, id="too short"),
        pytest.param((HEAD + chunked(b"a"), Pause(0.02), Reset()), httpx.ReadError, id="RST"),
        pytest.param((HEAD + chunked(b"a") + b"x\r\n",), httpx.RemoteProtocolError, id="no chunk"),
        pytest.param((HEAD, chunked(b"a"), b"x"), httpx.RemoteProtocolError, id="no chunk later"),
    ],
)
async def test_what_came_before_a_body_broke_off_was_handed_out(
    way: Way, steps: Sequence[Step], error: type[Exception]
) -> None:
    async with speaking(way, *steps) as (streams, wire), asking(streams, wire.base_url) as got:
        body = got.extensions["body"]
        assert await anext(body) == b"a"
        with pytest.raises(error):
            await anext(body)
        await all_closed(wire)


async def test_the_head_of_a_refusal_counts_though_its_body_is_nonsense(way: Way) -> None:
    head = HEAD.replace(b"200 OK", b"429 No") + b"nonsense\r\n"
    for steps in ([head], [head[:-10], Pause(0.01), head[-10:]]):
        async with speaking(way, *steps) as (streams, wire), asking(streams, wire.base_url) as got:
            assert got.status_code == 429
            with pytest.raises(httpx.RemoteProtocolError):
                await got.aread()


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((Close(),), id="nothing"),
        pytest.param((HEAD[:40], Close()), id="half a head"),
        pytest.param((b"HTTP/1.1 101 Switching Protocols\r\n\r\n",), id="101"),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n", Close()), id="100 alone"),
        pytest.param((b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na",), id="HTTP/2.0"),
        pytest.param((HEAD.replace(b"chunked", b"gzip") + b"a",), id="compressed"),
        pytest.param((b"SSH-2.0-OpenSSH_9.9\r\n",), id="no HTTP"),
    ],
)
async def test_what_is_no_response_is_an_error_with_a_cause_and_the_connection_is_closed(
    way: Way, steps: Sequence[Step]
) -> None:
    async with speaking(way, *steps) as (streams, wire):
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await ask(streams, wire.base_url)
        assert caught.value.__cause__ is not caught.value
        await all_closed(wire)


LONG_LINE = b"X: " + b"x" * 1000 + b"\r\n"


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n", LONG_LINE, id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 300, id="many headers"),
        pytest.param(b"HTTP/1.1 200 ", b"OK" * 500, id="a reason"),
        pytest.param(b"", b"HTTP/1.1 102 Wait\r\n\r\n" * 50, id="interim responses"),
        pytest.param(b"", b"\r\n" * 500, id="blank lines"),
        pytest.param(HEAD + b"1;", b"x" * 1000, id="a chunk's extension"),
        pytest.param(HEAD + LAST[:3], LONG_LINE, id="trailers"),
    ],
)
async def test_what_is_no_body_ends_somewhere(way: Way, first: bytes, rest: bytes) -> None:
    async with speaking(way, first, *[rest * 50] * 1000) as (streams, wire):
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(streams, wire.base_url)
        await all_closed(wire)
        assert wire.sent < HELD_BY_THE_SYSTEM


async def test_a_head_of_60_kilobytes_is_taken(way: Way) -> None:
    head = WHOLE.replace(b"\r\n", b"\r\n" + LONG_LINE * 60, 1)
    async with speaking(way, head) as (streams, wire):
        answer = await ask(streams, wire.base_url)
        assert len(answer.headers.get_list("x")) == 60
        assert answer.body == b"a"


async def test_blanks_around_a_header_are_not_of_its_value(way: Way) -> None:
    head = response(b"").replace(b"\r\n", b"\r\nRetry-After: \t 7 \t\r\n", 1)
    async with speaking(way, head) as (streams, wire):
        assert (await ask(streams, wire.base_url)).headers["retry-after"] == "7"


# --- how it is read ------------------------------------------------------------------------------


async def test_no_more_is_read_at_once_than_there_is_room_for(way: Way) -> None:
    body = bytes(range(256)) * 400
    async with speaking(way, response(body)) as (streams, wire):
        small = await ask(streams, wire.base_url, room=lambda: 1000)
        assert small.body == body
        assert max(map(len, small.pieces)) <= 1000
        usual = await ask(streams, wire.base_url)
        assert usual.body == body
        assert 1000 < max(map(len, usual.pieces)) <= transport.READ_BYTES


async def test_the_room_is_asked_for_before_each_read(way: Way) -> None:
    head = response(b"")[:-5] + b"15\r\n\r\n"
    rooms = iter([len(head), 1, 2, 4, 8])
    async with speaking(way, head + b"x" * 15) as (streams, wire):
        answer = await ask(streams, wire.base_url, room=lambda: next(rooms))
    assert list(map(len, answer.pieces)) == [1, 2, 4, 8]


async def test_a_full_read_says_that_there_is_more(way: Way) -> None:
    head = response(b"")[:-5] + b"250\r\n\r\n"
    steps = (head, Pause(0.02), b"x" * 250)
    async with (
        speaking(way, *steps) as (streams, wire),
        asking(streams, wire.base_url, room=lambda: 100) as got,
    ):
        body = got.extensions["body"]
        assert not body.more
        seen = [(len(piece), body.more) async for piece in body]
    assert seen == [(100, True), (100, True), (50, False)]


async def test_a_flood_leaves_others_their_turn(way: Way) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    # Waiting in whole before it is read: a read that finds nothing gives way of itself.
    flood = [chunked(b"x" * 50) * 20] * 40
    async with (
        speaking(way, HEAD, *flood, LAST) as (streams, wire),
        asking(streams, wire.base_url, room=lambda: 100) as got,
        trio.open_nursery() as nursery,
    ):
        await wait_all_tasks_blocked(0.02)
        assert wire.sent == sum(map(len, (HEAD, *flood, LAST)))
        nursery.start_soon(take_turns)
        reads = 0
        async for _ in got.extensions["body"]:
            reads += 1
        nursery.cancel_scope.cancel("read")
    assert reads > 100
    assert turns >= reads // (2 * READS_IN_A_ROW)


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X": "a\nY: b"},
        {"X": "a\r"},
        {"X": "a\0"},
        {"X\r\nY": "a"},
        {"X: a\nY": "b"},
    ],
)
async def test_a_header_cannot_bring_another_one(clear: Way, headers: dict[str, str]) -> None:
    async with speaking(clear, WHOLE) as (streams, wire):
        request = httpx.Request("POST", wire.base_url, headers=headers)
        with pytest.raises(httpx.LocalProtocolError):
            await streams.handle_async_request(request)
        assert wire.opened == 0


async def test_a_body_of_pieces_is_sent_with_its_length(clear: Way) -> None:
    async def pieces() -> AsyncIterator[bytes]:  # noqa: ASYNC900  # what httpx takes
        for piece in (b"ab", b"c"):
            await trio.lowlevel.checkpoint()
            yield piece

    async with speaking(clear, WHOLE) as (streams, wire):
        request = httpx.Request("POST", wire.base_url, content=pieces())
        got = await streams.handle_async_request(request)
        assert await got.aread() == b"a"
        [(head, body)] = wire.requests
        assert body == b"abc"
        assert dict(head.headers)[b"content-length"] == b"3"
        assert b"transfer-encoding" not in dict(head.headers)


async def test_a_refusal_that_comes_while_the_request_is_still_sent_is_heard(way: Way) -> None:
    async def refuse(stream: Stream) -> None:
        await stream.receive_some(100)
        await stream.send_all(response(b"too long", status="413 Too Large"))

    before = connections()
    async with open_provider(way, refuse) as url, StreamTransport(way.trusting) as streams:
        listening = connections() - before
        answer = await ask(streams, url, content=b"x" * 8 * MIB)
        assert (answer.status, answer.body) == (413, b"too long")
        # What broke is not kept, though the response would allow it.
        assert connections() - before == listening


async def test_a_request_that_breaks_off_without_an_answer_is_an_error_of_writing(
    way: Way,
) -> None:
    async def leave(stream: Stream) -> None:
        await stream.receive_some(100)

    async with open_provider(way, leave) as url, StreamTransport(way.trusting) as streams:
        with pytest.raises(httpx.WriteError):
            await ask(streams, url, content=b"x" * 8 * MIB)


async def test_a_connection_that_is_reset_before_the_first_byte_is_an_error_of_writing(
    clear: Way,
) -> None:
    def reset() -> None:
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        async with StreamTransport(clear.trusting) as streams:
            with pytest.raises(httpx.WriteError):
                await ask(streams, url, on_connected=reset)


async def test_connected_is_said_when_the_request_begins_to_leave(way: Way) -> None:
    said = []
    async with speaking(way, WHOLE) as (streams, wire):
        for _ in range(2):
            await ask(streams, wire.base_url, on_connected=lambda: said.append(len(wire.requests)))
    assert said == [0, 1]


async def test_who_fails_when_told_of_the_connection_leaves_none(way: Way) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async with speaking(way, WHOLE) as (streams, wire):
        with pytest.raises(ZeroDivisionError):
            await ask(streams, wire.base_url, on_connected=fail)
        await all_closed(wire)


async def test_only_http_is_spoken(clear: Way) -> None:
    async with StreamTransport(clear.trusting) as streams:
        with pytest.raises(httpx.UnsupportedProtocol):
            await ask(streams, "ftp://127.0.0.1/")


# --- TLS -----------------------------------------------------------------------------------------


async def test_a_certificate_that_nobody_trusts_or_for_another_name_is_refused(tls: Way) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with open_wire(WHOLE, tls=context) as wire, StreamTransport(tls.trusting) as streams:
        with pytest.raises(httpx.ConnectError) as caught:
            await ask(streams, wire.base_url)
        await all_closed(wire)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert wire.requests == []


async def test_a_server_that_speaks_no_tls_is_an_error_of_connecting(tls: Way) -> None:
    async def greet(stream: Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.receive_some()

    clear = Way("https", None, tls.trusting)
    async with open_provider(clear, greet) as url, StreamTransport(tls.trusting) as streams:
        with pytest.raises(httpx.ConnectError) as caught:
            await ask(streams, url)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


@pytest.mark.parametrize("notify", [True, False])
async def test_a_handshake_that_the_server_breaks_off_is_an_error_of_connecting(
    tls: Way, notify: bool
) -> None:
    async def leave(stream: Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        if notify:
            await stream.receive_some()  # otherwise what nobody has read makes it a reset

    clear = Way("https", None, tls.trusting)
    async with open_provider(clear, leave) as url, StreamTransport(tls.trusting) as streams:
        with pytest.raises(httpx.ConnectError):
            await ask(streams, url)


async def test_leaving_a_handshake_that_hangs_closes_its_socket_at_once(tls: Way) -> None:
    async def say_nothing(stream: Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        while await stream.receive_some():
            pass
        left.set()

    left = trio.Event()
    clear = Way("https", None, tls.trusting)
    async with open_provider(clear, say_nothing) as url, StreamTransport(tls.trusting) as streams:
        with trio.move_on_after(0.03):
            await ask(streams, url)
        with trio.fail_after(PATIENCE):
            await left.wait()


async def test_a_server_that_could_speak_http_2_is_asked_for_http_1(
    tls: Way, certificate: Certificate
) -> None:
    assert tls.served is not None
    tls.served.set_alpn_protocols(["h2", "http/1.1"])
    chosen = []

    async def note(stream: Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.receive_some()
        chosen.append(stream.selected_alpn_protocol())
        await stream.send_all(WHOLE)

    offering_both = certificate.trusting("h2", "http/1.1")
    async with open_provider(tls, note) as url, StreamTransport(offering_both) as streams:
        assert (await ask(streams, url)).body == b"a"
    assert chosen == ["http/1.1"]


async def test_session_tickets_are_nothing_that_nobody_asked_for(tls: Way) -> None:
    async def send_tickets_late(stream: Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        while await stream.receive_some():
            # Trio keeps the tickets back until the first record; one packet holds them and it.
            await stream.send_all(SHORT)

    assert tls.served is not None
    tls.served.num_tickets = 8
    async with (
        open_provider(tls, send_tickets_late) as url,
        StreamTransport(tls.trusting) as streams,
    ):
        before = connections()
        for _ in range(3):
            assert (await ask(streams, url)).body == b"a"
            assert len(connections() - before) == 2  # ours and the server's


# --- connecting ----------------------------------------------------------------------------------


class Names(trio.abc.HostnameResolver):
    """A name server that knows every name, and was asked for some."""

    def __init__(self, *addresses: tuple[socket.AddressFamily, str]) -> None:
        self.asked: list[object] = []
        self._addresses = addresses

    async def getaddrinfo(
        self, host: bytes | None, port: bytes | str | int | None, *_: object
    ) -> Any:
        self.asked.append(host)
        await trio.lowlevel.checkpoint()
        return [
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for family, address in self._addresses
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


BOTH = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))


def on_name(url: str, name: str = "provider.example") -> str:
    return url.replace("127.0.0.1", name)


async def test_the_next_address_of_a_name_is_tried_when_the_first_refuses(clear: Way) -> None:
    trio.socket.set_custom_hostname_resolver(Names(*BOTH))
    async with speaking(clear, WHOLE) as (streams, wire):
        assert (await ask(streams, on_name(wire.base_url))).body == b"a"
        assert wire.opened == 1


async def test_the_next_address_of_a_name_is_tried_when_the_first_does_not_answer(
    clear: Way,
) -> None:
    # A queue that is full: the system lets who knocks wait.
    silent, *knocking = (socket.socket() for _ in range(4))
    silent.bind(("127.0.0.2", 0))
    silent.listen(0)
    for client in knocking:
        client.setblocking(False)
        client.connect_ex(silent.getsockname())
    addresses = ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1"))
    trio.socket.set_custom_hostname_resolver(Names(*addresses))
    port = silent.getsockname()[1]
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(port, host="127.0.0.1")

        async def answer(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await stream.send_all(WHOLE)

        await nursery.start(trio.serve_listeners, answer, [listener])
        async with StreamTransport(clear.trusting) as streams:
            before = trio.current_time()
            assert (await ask(streams, f"http://provider.example:{port}/")).body == b"a"
            assert 0.2 < trio.current_time() - before < 0.9
        nursery.cancel_scope.cancel("answered")
    for client in (silent, *knocking):
        client.close()


async def test_a_port_where_nobody_listens_is_an_error_of_connecting(clear: Way) -> None:
    trio.socket.set_custom_hostname_resolver(Names(*BOTH))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        before = connections()
        async with StreamTransport(clear.trusting) as streams:
            with pytest.raises(httpx.ConnectError):
                await ask(streams, f"http://provider.example:{unused.getsockname()[1]}/")
        assert connections() == before


async def test_a_name_is_looked_up_and_verified_as_the_registry_writes_it(tls: Way) -> None:
    names = Names(BOTH[1])
    trio.socket.set_custom_hostname_resolver(names)
    greeted: list[str | None] = []

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        greeted.append(name)

    assert tls.served is not None
    tls.served.sni_callback = note
    async with speaking(tls, WHOLE) as (streams, wire):
        # ß is a letter of its own since 2010; to what is older, fass.example is the same name.
        with pytest.raises(httpx.ConnectError):
            await ask(streams, on_name(wire.base_url, "faß.example"))
        await all_closed(wire)
    assert greeted == ["xn--fa-hia.example"]
    assert names.asked in ([b"xn--fa-hia.example"], ["xn--fa-hia.example"])


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".example"])
async def test_what_can_be_no_name_is_an_error_of_connecting(clear: Way, name: str) -> None:
    async with open_client(verify=clear.trusting) as client:
        with pytest.raises(ProviderError) as caught:
            async with client.post(
                f"http://{name}/", headers={}, body=b"", on_connected=lambda: None
            ):
                pass
        assert caught.value.code == "connect_error"


# --- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((WHOLE,), id="a whole answer"),
        pytest.param((HEAD, chunked(b"a"), Pause(0.001), chunked(b"b"), LAST), id="a stream"),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\na", Close()), id="up to the close"),
        pytest.param((HEAD, chunked(b"a"), Reset()), id="a broken one"),
    ],
)
async def test_a_request_may_be_cancelled_at_every_step(way: Way, steps: Sequence[Step]) -> None:
    for step in count(1):
        async with speaking(way, *steps) as (streams, wire):
            before = connections()
            answer: Answer | None = None
            with (
                trio.CancelScope() as scope,  # noqa: ASYNC912  # asking is a cancel point
                at_step(step, scope.cancel) as moment,
                suppress(httpx.RemoteProtocolError, httpx.ReadError),
            ):
                answer = await ask(streams, wire.base_url, content=b"x" * 1000)
            if answer is None:
                # Not when the transport closes, not when garbage is collected: now.
                await all_closed(wire)
                await wait_all_tasks_blocked()
                await all_closed(wire)
                assert connections() - before == set(), step
        await all_closed(wire)
        if not moment.came:
            break
    assert step > 8


async def test_a_long_request_may_be_cancelled_while_it_is_sent(way: Way) -> None:
    heard = trio.Event()

    async def be_deaf(stream: Stream) -> None:
        await stream.receive_some(1)
        heard.set()
        await trio.sleep_forever()

    async with open_provider(way, be_deaf) as url, StreamTransport(way.trusting) as streams:
        before = connections()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(ask, streams, url, content=b"x" * 16 * MIB))
            await heard.wait()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel("it is in the middle of sending")
        assert len(connections() - before) == 1  # the provider's end, which is deaf


# --- without waiting ----------------------------------------------------------------------------


@asynccontextmanager
async def halves(way: Way) -> AsyncIterator[tuple[Body, trio.Event, trio.Event]]:
    """The body of a response whose second half comes when the first event is set, then its end."""
    more, end = trio.Event(), trio.Event()

    async def handle(stream: Stream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await more.wait()
        await stream.send_all(b"half")
        await end.wait()

    async with (
        open_provider(way, handle) as url,
        StreamTransport(way.trusting) as streams,
        asking(streams, url) as got,
    ):
        body: Body = got.extensions["body"]
        with trio.fail_after(PATIENCE):
            assert await anext(body) == b"half"
            yield body, more, end
            end.set()


async def looked_at(body: Body) -> bytes:
    """What a look brings, once it brings something; b"" when it takes waiting to know."""
    while (data := body.read_nowait()) is None:  # noqa: ASYNC110  # a look is what this is about
        await trio.sleep(0.001)
    return data


async def test_what_has_come_can_be_had_without_waiting(way: Way) -> None:
    async with halves(way) as (body, more, _):
        assert body.read_nowait() is None
        more.set()
        assert await looked_at(body) == b"half"
        assert body.read_nowait() is None


async def test_that_there_is_no_more_is_for_who_can_wait(way: Way) -> None:
    async with halves(way) as (body, more, end):
        more.set()
        assert await looked_at(body) == b"half"
        end.set()
        assert await looked_at(body) == b""
        assert await anext(body, None) is None
        assert body.is_whole


async def test_a_connection_that_breaks_is_an_error_to_who_looks() -> None:
    async with (
        open_wire(b"HTTP/1.1 200 OK\r\n\r\nhalf", Pause(0.05), Reset()) as wire,
        StreamTransport(ssl.create_default_context()) as streams,
        asking(streams, wire.base_url) as got,
    ):
        body: Body = got.extensions["body"]
        assert await anext(body) == b"half"
        with trio.fail_after(PATIENCE), pytest.raises(httpx.ReadError):
            await looked_at(body)


async def test_what_came_in_several_pieces_is_one_look_over_tls_too(way: Way) -> None:
    async def handle(stream: Stream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        for piece in (b"1", b"2", b"3", b"4", b"5"):
            await stream.send_all(piece)  # over TLS a record each
        await stream.send_all(b"last")
        await trio.sleep_forever()

    async with (
        open_provider(way, handle) as url,
        StreamTransport(way.trusting) as streams,
        asking(streams, url) as got,
    ):
        body: Body = got.extensions["body"]
        received = await anext(body)
        with trio.fail_after(PATIENCE):
            await trio.sleep(0.1)  # until all of it is in the kernel's hands
            received += await looked_at(body) if not received.endswith(b"last") else b""
    assert received == b"first12345last"
