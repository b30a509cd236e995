"""Our reading of a response beside that of h11, which httpcore reads with.

Two parsers that take the same bytes for different responses are how one response is smuggled behind
another. Ours may be the stricter one: it may refuse what h11 takes. It never takes what h11
refuses, and what both take is the same. That is promised of every damage, and of every way to cut
the bytes; the exceptions are in `as_h11_takes_it` and `in_a_trailer`.

Most of it needs no sockets. httpx's own transport is asked over real ones, for fewer examples.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, TypeAlias

import h11
import httpx
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.upstream.response import Response
from service.upstream.transport import StreamTransport
from tests.calling import PATIENCE

Fault: TypeAlias = Literal["", "early", "wrong"]
"""None; the connection ended too early; what came is no HTTP."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reader made of some bytes, and of the end of the connection behind them."""

    fault: Fault
    status: int | None
    """None: there was no whole head."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    """As far as it was handed out."""


def outcome(
    fault: Fault, status: int | None, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> Outcome:
    lower = []
    for name, value in headers if status is not None else ():
        # h11 writes "chunked" in lower case.
        small = value.lower() if name.lower() == b"transfer-encoding" else value
        lower.append((name.lower(), small))
    return Outcome(fault, status, tuple(lower), body)


def ours(pieces: Sequence[bytes]) -> Outcome:
    response, body = Response(), b""
    fault: Fault = ""
    try:
        for piece in pieces:
            body += response.feed(piece)
            if response.is_whole:
                break
        if not response.is_whole:
            response.end()
    except httpx.RemoteProtocolError as exc:
        fault = "early" if "disconnected" in str(exc) else "wrong"
    return outcome(fault, response.status if response.has_head else None, response.headers, body)


def theirs(pieces: Sequence[bytes]) -> Outcome:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=100 * 1024)  # httpcore's
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    coming = iter(pieces)
    head: h11.Response | None = None
    body = b""
    fault: Fault = ""
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = next(coming, b"")
                if not data and connection.their_state is h11.SEND_RESPONSE:
                    fault = "early"  # httpcore asks this itself
                    break
                connection.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                # 101: httpcore hands it on. Nobody has asked to switch protocols.
                assert isinstance(event, h11.InformationalResponse)
                if event.status_code == 101:
                    fault = "wrong"
                    break
    except h11.RemoteProtocolError as exc:
        fault = "early" if "closed connection" in str(exc) else "wrong"
    if head is None:
        return outcome(fault, None, (), body)
    return outcome(fault, head.status_code, head.headers.raw_items(), body)


STATUS_LINE = re.compile(rb"(HTTP/1\.[01] (\d)\d\d)([^\r\n]*)\r\n")


def as_h11_takes_it(raw: bytes) -> bytes:
    """`raw` without the two things that ours lets pass and h11 does not; neither means anything.

    Blank lines before a status line, which are left over from what came before it; and control
    characters in the words behind a status, which nobody reads.
    """
    taken, raw = b"", raw.lstrip(b"\r\n")
    while line := STATUS_LINE.match(raw):
        taken += line[1] + re.sub(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", b"?", line[3]) + b"\r\n"
        headers, end, raw = raw[line.end() - 2 :].partition(b"\r\n\r\n")
        taken += headers[2:] + (end if headers else end[2:])
        if line[2] != b"1":
            break
        raw = raw.lstrip(b"\r\n")  # behind an interim response there is another status line
    return taken + raw


def in_a_trailer(raw: bytes) -> bool:
    """Whether something behind the last chunk looks like framing: ours reads no trailers."""
    return (
        re.search(rb"\n0[^\n]*\n.*(transfer-encoding|content-length)", raw, re.I | re.S) is not None
    )


def check(raw: bytes, pieces: Sequence[bytes]) -> None:
    """Hold the two readings of `raw` side by side; ours comes in `pieces`."""
    mine, other = ours(pieces), theirs([as_h11_takes_it(raw)])
    assert mine == ours([raw]), "it matters where the bytes are cut"
    if mine == other:
        return
    if mine.fault == "wrong":
        # Stricter, or earlier: of what h11 hands out, ours handed out a beginning.
        assert mine.status in (None, other.status)
        assert mine.headers in ((), other.headers)
        assert other.body.startswith(mine.body)
    else:
        assert (mine.status, mine.headers, mine.body) == (other.status, other.headers, other.body)
        assert (mine.fault, other.fault) == ("", "wrong")
        assert in_a_trailer(raw)


def pieces_of(raw: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise(places) if start < end]


EVENTS = b'data: "\xc3\xbc"\n\ndata: [DONE]\n\n'
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'b\r\ndata: "a"\n\n\r\n%x;an=extension\r\n%b\r\n0\r\nX-Cost: 1\r\n\r\n' % (len(EVENTS), EVENTS)
)
RECORDED = {
    "a stream": STREAM,
    "known length": b"HTTP/1.1 200 OK\r\nServer:  a b \r\nContent-Length: 12\r\n\r\nhello\r\nworld",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello\r\n\r\nworld",
    "up to the close": b"HTTP/1.1 200\r\nConnection: close\r\n\r\nabc",
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "204": b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n",
    "304": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 9\r\n\r\n',
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked \r\n\r\n0\r\n\r\n",
}
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@pytest.mark.parametrize("raw", RECORDED.values(), ids=RECORDED)
def test_a_sound_response_is_the_same_response_wherever_it_is_cut_in_three(raw: bytes) -> None:
    whole = theirs([raw])
    assert whole.fault == ""
    for cuts in combinations(range(len(raw) + 1), 2):
        assert ours(pieces_of(raw, cuts)) == whole


@pytest.mark.parametrize("raw", RECORDED.values(), ids=RECORDED)
def test_a_response_that_breaks_off_anywhere_breaks_off_for_both(raw: bytes) -> None:
    for end in range(1, len(raw)):
        assert ours([raw[:end]]) == theirs([raw[:end]])


@pytest.mark.parametrize("raw", RECORDED.values(), ids=RECORDED)
@pytest.mark.parametrize("behind", RECORDED.values(), ids=RECORDED)
def test_nothing_that_comes_behind_a_whole_response_is_of_it(raw: bytes, behind: bytes) -> None:
    if raw in (RECORDED["HTTP/1.0"], RECORDED["up to the close"]):
        return  # what comes behind these is their body
    for cut in (len(raw), len(raw) + 1, len(raw + behind)):
        pieces = pieces_of(raw + behind, [cut])
        assert ours(pieces) == ours([raw])
        response = Response()
        for piece in pieces:
            response.feed(piece)
        assert not response.may_be_followed


TOKENS = st.text("abcXYZ-09_", min_size=1, max_size=8).map(str.encode)
VALUES = st.text('ab ,;="/\t:', max_size=12).map(str.encode)
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@st.composite
def sound_responses(draw: st.DrawFn) -> bytes:
    """A response that both must take."""
    status = draw(st.sampled_from([200, 201, 299, 301, 400, 429, 500, 599]))
    lines = [b"HTTP/1.%d %d %b" % (draw(st.integers(0, 1)), status, draw(VALUES))]
    lines += [b"x-%b: %b" % (draw(TOKENS), draw(VALUES)) for _ in range(draw(st.integers(0, 4)))]
    body = draw(BODIES)
    match draw(st.sampled_from(["chunked", "length", "close"])):
        case "chunked":
            lines.append(b"Transfer-Encoding: chunked")
            sizes = [draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(piece) for piece in body]
            raw = b"".join(b"%b\r\n%b\r\n" % pair for pair in zip(sizes, body, strict=True))
            raw += b"0\r\n" + draw(st.sampled_from([b"", b"X-T: a\r\n"])) + b"\r\n"
        case "length":
            raw = b"".join(body)
            lines.append(b"Content-Length: %d" % len(raw))
        case _:
            raw = b"".join(body)
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 102 Wait\r\nX: y\r\n\r\n"]))
    return interim + b"\r\n".join([*lines, b"", raw])


@given(raw=sound_responses(), cuts=CUTS)
@settings(deadline=None, max_examples=200)
def test_any_sound_response_is_the_same_to_both(raw: bytes, cuts: list[int]) -> None:
    whole = theirs([raw])
    assert whole.fault == ""
    assert ours(pieces_of(raw, cuts)) == whole


MEANT_TO_CONFUSE = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b"0",
    b"x",
    b":",
    b";",
    b", ",
    b"+",
    b"_",
    b"\xff",
    b"\x0b",
    b"chunked, ",
    b"Content-Length: 5\r\n",
    b"Content-Length: 12\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: a\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 199 Wait\r\n\r\n",
    b"ffffffffffffffff",
]
DAMAGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "remove", "insert", "insert at a line", "truncate"]),
        st.integers(0, 10_000),
        st.integers(1, 255),
        st.sampled_from(MEANT_TO_CONFUSE),
    ),
    min_size=1,
    max_size=3,
)


def damaged(raw: bytes, damages: Sequence[tuple[str, int, int, bytes]]) -> bytes:
    for kind, place, number, words in damages:
        at = place % (len(raw) + 1)
        match kind:
            case "flip":
                raw = raw[:at] + bytes(byte ^ number for byte in raw[at : at + 1]) + raw[at + 1 :]
            case "remove":
                raw = raw[:at] + raw[at + 1 + number % 4 :]
            case "insert at a line":
                lines = [found.end() for found in re.finditer(b"\r\n", raw)]
                at = lines[place % len(lines)] if lines else 0
                raw = raw[:at] + words + raw[at:]
            case "insert":
                raw = raw[:at] + words + raw[at:]
            case _:
                raw = raw[:at]
    return raw


@given(
    raw=st.one_of(st.sampled_from([*RECORDED.values(), SWITCHED]), sound_responses()),
    damages=DAMAGES,
    cuts=CUTS,
)
@settings(deadline=None, max_examples=800)
def test_of_a_damaged_response_ours_takes_nothing_that_theirs_does_not(
    raw: bytes, damages: list[tuple[str, int, int, bytes]], cuts: list[int]
) -> None:
    raw = damaged(raw, damages)
    check(raw, pieces_of(raw, cuts))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding:%b\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        pytest.param(CHUNKED % b"chunked", "", id="chunked"),
        pytest.param(CHUNKED % b" \t CHUNKED  ", "", id="blanks around it"),
        pytest.param(CHUNKED % b" chunked\t", "wrong", id="a tab behind it"),
        pytest.param(CHUNKED % b" chunked \t", "wrong", id="a blank and a tab behind it"),
        pytest.param(CHUNKED % b" identity", "wrong", id="identity"),
        pytest.param(CHUNKED % b" gzip, chunked", "wrong", id="compressed chunks"),
        pytest.param(CHUNKED % b" chunked, chunked", "wrong", id="chunked twice"),
        pytest.param(CHUNKED % b" chunked\r\nTransfer-Encoding: chunked", "wrong", id="two lines"),
        pytest.param(CHUNKED % b" xchunked", "wrong", id="something like chunked"),
        pytest.param(CHUNKED % b" chunked\r\nContent-Length: 12", "wrong", id="and a length"),
        pytest.param(CHUNKED % b" x\r\n chunked", "wrong", id="a folded line"),
        pytest.param(CHUNKED.replace(b"\r", b"") % b" chunked", "wrong", id="bare line feeds"),
        pytest.param(CHUNKED.replace(b"2\r", b"+2\r") % b" chunked", "wrong", id="+2"),
        pytest.param(CHUNKED.replace(b"2\r", b"0x2\r") % b" chunked", "wrong", id="0x2"),
        pytest.param(CHUNKED.replace(b"hi\r\n", b"hi") % b" chunked", "wrong", id="no line end"),
        pytest.param(
            b"HTTP/1.1 199 Wait\r\nContent-Length: 45\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
            "wrong",
            id="a response in the body of an interim one",
        ),
        pytest.param(
            b"HTTP/1.1 104 Wait\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
            + RECORDED["204"],
            "wrong",
            id="chunks in an interim response",
        ),
        pytest.param(b"HTTP/1.1 099 What\r\n\r\n" + RECORDED["204"], "wrong", id="099"),
        pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "wrong", id="HTTP/2.0"),
        pytest.param(SWITCHED, "wrong", id="101"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_however_it_is_cut(
    raw: bytes, fault: Fault
) -> None:
    for cut in range(len(raw)):
        check(raw, pieces_of(raw, [cut]))
    mine = ours([raw])
    assert mine.fault == fault
    if fault == "":
        assert mine.body == b"hi"
    else:
        assert b"no" not in mine.body


# --- over sockets ------------------------------------------------------------------------------


@asynccontextmanager
async def open_reciter(pieces: Sequence[bytes]) -> AsyncIterator[str]:
    """A server that sends `pieces`, whatever it is asked, and closes."""

    async def recite(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await stream.receive_some()
                for piece in pieces:
                    await stream.send_all(piece)
                    await trio.lowlevel.checkpoint()
        except trio.BrokenResourceError:
            pass  # whoever has heard enough has left

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, recite, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel("the test is over")


async def heard(transport: httpx.AsyncBaseTransport, pieces: Sequence[bytes]) -> Outcome:
    """What a whole transport makes of them."""
    response: httpx.Response | None = None
    body = b""
    fault: Fault = ""
    with trio.fail_after(PATIENCE):
        async with open_reciter(pieces) as url:
            try:
                response = await transport.handle_async_request(httpx.Request("POST", url))
                async for chunk in response.aiter_raw():
                    body += chunk
            except httpx.RemoteProtocolError as exc:
                words = str(exc).lower()
                early = "disconnected" in words or "closed connection" in words
                fault = "early" if early else "wrong"
            except httpx.ReadError:
                fault = "early"  # it closed while something was still on the way to it
            finally:
                if response is not None:
                    await response.aclose()
    if response is None:
        return outcome(fault, None, (), body)
    return outcome(fault, response.status_code, response.headers.raw, body)


@pytest.fixture(scope="module")
def nothing_trusted() -> ssl.SSLContext:
    """No certificate is needed, and reading all of them takes its time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@given(
    raw=st.sampled_from(list(RECORDED.values())),
    damages=st.one_of(st.just([]), DAMAGES),
    cuts=st.lists(st.integers(0, 10_000), max_size=4),
)
@example(raw=RECORDED["304"], damages=[], cuts=[])
@settings(deadline=None, max_examples=60)
async def test_the_two_transports_hear_the_same_over_sockets(
    raw: bytes,
    damages: list[tuple[str, int, int, bytes]],
    cuts: list[int],
    nothing_trusted: ssl.SSLContext,
) -> None:
    raw = damaged(raw, damages)
    async with StreamTransport(nothing_trusted) as streams:
        mine = await heard(streams, pieces_of(raw, cuts))
    assert mine == ours([raw])
    if mine.fault != "wrong":
        raw = as_h11_takes_it(raw)
        async with httpx.AsyncHTTPTransport(verify=nothing_trusted, trust_env=False) as pool:
            other = await heard(pool, [raw])
        if other.fault == "wrong":
            check(raw, [raw])
        else:
            assert mine == other
