"""Requests to a provider that answers in every way, cancelled at any moment.

    python -m tests.soak_transport --cancellations 10000
    python -m tests.soak_transport --cancellations 2000 --tls

Afterwards every connection that the provider began has ended, the process holds none, and the same
transport answers the next request. A seed chooses the moments: half of them in steps of the
scheduler, which finds the narrow ones, and half in time.
"""

from __future__ import annotations

import argparse
import gc
import random
import re
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import trio
import trustme

from service.testing.wire import Stream
from service.upstream.transport import StreamTransport
from tests.calling import HEAD, LAST, PATIENCE, chunked, response
from tests.conftest import connections

__all__ = ["Figures", "soak"]

AT_ONCE = 24
"""Requests under way at the same time."""
LONGEST_STEPS = 200
LONGEST_SECONDS = 0.03
"""How far from its beginning a request is cancelled at most."""
SIZES = (0, 0, 500, 400_000)
"""Bytes of a request's body; the last is more than a connection takes at once."""


@dataclass(slots=True)
class Figures:
    """What came of it."""

    cancelled: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Requests that the provider broke, by error."""
    wrong: list[bytes] = field(default_factory=list)
    """Answers that were those of other requests."""
    opened: int = 0
    closed: int = 0
    """Connections at the provider."""
    idle: int = 0
    """Of them, those that were open when nobody asked any more."""
    left: int = 0
    """Sockets of this process at the end that were not there at the beginning."""
    answers_next: bool = False
    seconds: float = 0.0


async def soak(cancellations: int, *, tls: bool = False, seed: int = 1) -> Figures:
    """Cancel so many requests."""
    figures = Figures()
    served, trusting = contexts(tls)
    began, before = time.monotonic(), connections()
    gc.disable()  # what only the collector would close is lost
    try:
        async with open_provider(figures, served) as url:
            async with StreamTransport(trusting) as streams:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(streams.close_what_expires)
                    async with trio.open_nursery() as asking:
                        for number in range(AT_ONCE):
                            choose = random.Random(f"{seed} {number}")
                            asking.start_soon(
                                keep_asking, streams, url, choose, figures, cancellations
                            )
                    nursery.cancel_scope.cancel("all are cancelled")
                with trio.fail_after(PATIENCE):
                    # Who keeps a connection has read an answer over it to its end.
                    await until(lambda: figures.opened - figures.closed <= AT_ONCE)
                    figures.idle = figures.opened - figures.closed
                    figures.answers_next = await answer(streams, f"{url}whole?next") == b"next"
            with trio.fail_after(PATIENCE):
                await until(lambda: figures.opened == figures.closed)
        figures.left = len(connections() - before)
    finally:
        gc.enable()
    figures.seconds = time.monotonic() - began
    return figures


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # it holds for no event's sake, and soon
        await trio.lowlevel.checkpoint()


# --- whoever asks --------------------------------------------------------------------------------


async def keep_asking(
    streams: StreamTransport,
    url: str,
    choose: random.Random,
    figures: Figures,
    cancellations: int,
) -> None:
    """Ask and be cancelled, until there are so many cancellations of all."""
    while figures.cancelled < cancellations:
        way, number = choose.choice(list(WAYS)), choose.randrange(10**12)
        content = b"x" * choose.choice(SIZES)
        with trio.CancelScope() as scope:  # noqa: ASYNC912  # asking is one
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_later, scope, choose)
                try:
                    said = await answer(streams, f"{url}{way}?{number}", content)
                except httpx.TransportError as exc:
                    figures.failed[type(exc).__name__] += 1
                else:
                    figures.answered += 1
                    if said != b"%d" % number:
                        figures.wrong.append(said)
                nursery.cancel_scope.cancel("it came first")
        figures.cancelled += scope.cancelled_caught


async def cancel_later(scope: trio.CancelScope, choose: random.Random) -> None:
    if choose.random() < 0.5:
        for _ in range(choose.randrange(LONGEST_STEPS)):
            await trio.lowlevel.checkpoint()
    else:
        await trio.sleep(choose.uniform(0, LONGEST_SECONDS))
    scope.cancel("at any moment")


async def answer(streams: StreamTransport, url: str, content: bytes = b"") -> bytes:
    got = await streams.handle_async_request(httpx.Request("POST", url, content=content))
    try:
        return b"".join([piece async for piece in got.aiter_raw()])
    finally:
        await got.aclose()


# --- whoever answers -----------------------------------------------------------------------------

REQUEST = re.compile(rb"POST /(\w+)\?(\w+) .*?\r\ncontent-length: (\d+)\r\n", re.I | re.S)
DRIP = (0.0, 0.001, 0.002)
"""Seconds between the chunks of an answer."""


async def whole(stream: Stream, me: bytes) -> None:
    await stream.send_all(response(me))


async def drip(stream: Stream, me: bytes) -> None:
    await stream.send_all(HEAD)
    for at, seconds in zip(range(len(me)), DRIP * len(me), strict=False):
        await trio.sleep(seconds)
        await stream.send_all(chunked(me[at : at + 1]))
    await stream.send_all(LAST)


async def interim(stream: Stream, me: bytes) -> None:
    await stream.send_all(b"HTTP/1.1 102 Processing\r\n\r\n")
    await trio.sleep(0.001)
    await whole(stream, me)


async def say_more(stream: Stream, me: bytes) -> None:
    """At once: what comes when the next request is under way already, nobody can tell apart."""
    await stream.send_all(response(me) + response(b"not for you"))


async def hang(stream: Stream, me: bytes) -> None:
    await trio.sleep(LONGEST_SECONDS * 2)
    await whole(stream, me)


async def close(stream: Stream, me: bytes) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + me)
    await stream.aclose()


async def reset(stream: Stream, me: bytes) -> None:
    await stream.send_all(HEAD + chunked(me))
    tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await tcp.aclose()


async def refuse(stream: Stream, me: bytes) -> None:
    """Before the request is read."""
    await whole(stream, me)
    await (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).aclose()


WAYS = {way.__name__: way for way in (whole, drip, interim, say_more, hang, close, reset, refuse)}


@asynccontextmanager
async def open_provider(figures: Figures, served: ssl.SSLContext | None) -> AsyncIterator[str]:
    """A provider that answers in the way that the path names, with what stands behind it."""

    async def serve(tcp: trio.SocketStream) -> None:
        figures.opened += 1
        stream: Stream = tcp
        if served is not None:
            stream = trio.SSLStream(tcp, served, server_side=True, https_compatible=True)
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the client left
                async with tcp:
                    await converse(stream)
        finally:
            figures.closed += 1

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield f"{'https' if served else 'http'}://127.0.0.1:{port}/"
        nursery.cancel_scope.cancel("all have asked")


async def converse(stream: Stream) -> None:
    received = b""
    while True:
        head, end, body = received.partition(b"\r\n\r\n")
        asked = REQUEST.match(head + b"\r\n")
        if end and asked:
            way = WAYS[asked[1].decode()]
            while len(body) < int(asked[3]) and way is not refuse:
                more = bytes(await stream.receive_some())
                if not more:
                    return
                body += more
            await way(stream, asked[2])
            received = b""
        more = bytes(await stream.receive_some())
        if not more:
            return
        received += more


def contexts(tls: bool) -> tuple[ssl.SSLContext | None, ssl.SSLContext]:
    """The provider's, and ours."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not tls:
        return None, trusting
    authority = trustme.CA()
    authority.configure_trust(trusting)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    return served, trusting


def main() -> None:
    """Soak, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cancellations", type=int, default=10_000)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    figures = trio.run(lambda: soak(chosen.cancellations, tls=chosen.tls, seed=chosen.seed))
    print(figures)  # noqa: T201  # what is measured is printed


if __name__ == "__main__":
    main()
