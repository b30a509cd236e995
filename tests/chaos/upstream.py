"""A provider on raw sockets that does what a script says; the model's name selects the script.

Each connection is in one of three states, and the invariants ask for them: `new`, accepted and
without a whole request yet; `busy` with a request whose response is not whole; `idle`, kept alive
for the next request. Only the last may be left when a fault is over.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Literal, TypeAlias

import trio

from tests.chaos.waiting import until

__all__ = [
    "DONE",
    "HEAD",
    "HEAD_CLOSE",
    "Script",
    "Talk",
    "Upstream",
    "chunked",
    "counting",
    "event",
    "open_upstream",
    "saying",
    "text_event",
]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
"""Without a length: the body ends where the connection does."""

Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"
State: TypeAlias = Literal["new", "busy", "idle"]


def event(value: object) -> bytes:
    """One event of a provider's stream."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def text_event(content: str) -> bytes:
    """A piece of text as the OpenAI dialect says it."""
    return event({"choices": [{"index": 0, "delta": {"content": content}}]})


DONE = (
    event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n"
)


def chunked(data: bytes) -> bytes:
    """One chunk of HTTP/1.1's chunked coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Talk:
    """One request, and the connection that it came on."""

    def __init__(
        self, stream: Stream, upstream: Upstream, body: dict[str, Any], target: str = ""
    ) -> None:
        self.body = body
        self.target = target
        """The path that was asked for."""
        self.whole = False
        """The response is whole: the connection may be used again."""
        self._stream = stream
        self._upstream = upstream

    @property
    def model(self) -> str:
        """The model's name as the provider knows it."""
        return str(self.body.get("model"))

    async def send(self, data: bytes) -> None:
        """These bytes and no others."""
        await self._stream.send_all(data)
        self._upstream.sent += len(data)

    async def begin(self) -> None:
        """The head of a stream in chunks."""
        await self.send(HEAD)

    async def say(self, text: str) -> None:
        """A piece of text, in a stream in chunks."""
        await self.send(chunked(text_event(text)))

    async def finish(self) -> None:
        """The end of a stream in chunks; the connection is kept."""
        self.whole = True
        await self.send(chunked(DONE) + b"0\r\n\r\n")

    async def close(self) -> None:
        """FIN; over TLS without a word before it, as most servers do."""
        await self._tcp.aclose()

    async def reset(self) -> None:
        """RST."""
        self._tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._tcp.aclose()

    @property
    def _tcp(self) -> trio.SocketStream:
        stream = self._stream
        return stream.transport_stream if isinstance(stream, trio.SSLStream) else stream


Script: TypeAlias = Callable[[Talk], Awaitable[None]]


def saying(*pieces: str, gap: float = 0.0) -> Script:
    """An answer of these pieces, `gap` seconds apart."""

    async def script(talk: Talk) -> None:
        await talk.begin()
        for piece in pieces:
            await talk.say(piece)
            await trio.sleep(gap)
        await talk.finish()

    return script


def counting(numbers: int, *, gap: float) -> Script:
    """An answer that counts: `1 2 3 `, one number every `gap` seconds."""

    async def script(talk: Talk) -> None:
        await talk.begin()
        began = trio.current_time()
        for number in range(1, numbers + 1):
            await trio.sleep_until(began + number * gap)
            await talk.say(f"{number} ")
        await talk.finish()

    return script


async def silent(talk: Talk) -> None:
    """Takes the request and never says a word."""
    await trio.sleep_forever()


async def flood(talk: Talk) -> None:
    """As much as is taken, for ever; a kilobyte in each event."""
    piece = chunked(b"".join([text_event("x" * 1000)] * 60))
    await talk.begin()
    while True:
        await talk.send(piece)


COMMON: dict[str, Script] = {
    "ok": saying("all ", "is ", "well"),
    "steady": counting(25, gap=0.02),
    "endless": counting(10**9, gap=0.02),
    "silent": silent,
    "flood": flood,
}


class Upstream:
    """What has happened at the provider, and its scripts."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        scheme: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.scripts = dict(COMMON)
        self.asked: Counter[str] = Counter()
        """Requests, by model."""
        self.sent = 0
        """Bytes that the system has taken from us."""
        self.accepted = 0
        self.host = host
        self.port = 0
        self._tls = tls
        self._scheme = scheme or ("https" if tls else "http")
        self._keys = count()
        self._states: dict[int, State] = {}

    def forget(self) -> None:
        """What was asked, and the scripts that are not the common ones."""
        self.scripts = dict(COMMON)
        self.asked.clear()
        self.sent = self.accepted = 0

    @property
    def base_url(self) -> str:
        """What stands in the service's settings."""
        return f"{self._scheme}://{self.host}:{self.port}/v1"

    def connections(self, *states: State) -> int:
        """Connections in one of these states."""
        return sum(state in states for state in self._states.values())

    @property
    def idle(self) -> int:
        """Connections that are kept for a next request."""
        return self.connections("idle")

    @property
    def in_use(self) -> int:
        """Connections on which somebody still waits for something."""
        return self.connections("new", "busy")

    async def busy(self, connections: int, *, within: float = 5) -> None:
        """Wait until so many requests are being answered."""
        await until(
            lambda: self.connections("busy") >= connections,
            within=within,
            what=f"{connections} requests at the provider, {self.connections('busy')} came",
        )

    async def quiet(self, *, within: float = 1.0) -> float:
        """Wait until no request is being answered; the seconds until then."""
        return await until(
            lambda: not self.in_use, within=within, what="every request to the provider ended"
        )

    def script_for(self, talk: Talk) -> Script:
        """What is done with a request."""
        return self.scripts.get(talk.model, self.scripts["ok"])

    async def serve(self, listener: trio.SocketListener) -> None:
        """Answer every connection, until cancelled."""
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._handle, [listener])

    async def _handle(self, tcp: trio.SocketStream) -> None:
        self.accepted += 1
        key = next(self._keys)
        self._states[key] = "new"
        stream: Stream = tcp
        if self._tls:
            stream = trio.SSLStream(tcp, self._tls, server_side=True, https_compatible=True)
        try:
            await self._converse(key, stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the service left, as many faults want it to; or the script closed
        finally:
            del self._states[key]
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(tcp)

    async def _converse(self, key: int, stream: Stream) -> None:
        received = bytearray(await stream.receive_some())
        while received:
            asked = await _read_request(stream, received)
            if asked is None:
                return
            target, body = asked
            talk = Talk(stream, self, body, target)
            self._states[key] = "busy"
            self.asked[talk.model] += 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._play, talk, key, name=f"script {talk.model}")
                # The service's next request, or its leaving, ends what is still being played.
                received += await stream.receive_some()
                nursery.cancel_scope.cancel("the service has said what comes next")

    async def _play(self, talk: Talk, key: int) -> None:
        await self.script_for(talk)(talk)
        if talk.whole:
            self._states[key] = "idle"


async def _read_request(stream: Stream, received: bytearray) -> tuple[str, dict[str, Any]] | None:
    """Take one request out of the bytes, its target and body; None when the connection ends."""
    while (end := received.find(b"\r\n\r\n")) < 0:
        if not await _receive(stream, received):
            return None
    size = 0
    first, *lines = bytes(received[:end]).split(b"\r\n")
    target = first.split(b" ")[1].decode()
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    del received[: end + 4]
    while len(received) < size:
        if not await _receive(stream, received):
            return None
    body = json.loads(bytes(received[:size])) if size else {}
    del received[:size]
    return target, body if isinstance(body, dict) else {}


async def _receive(stream: Stream, received: bytearray) -> bool:
    data = await stream.receive_some()
    received += data
    return bool(data)


@asynccontextmanager
async def open_upstream(
    tls: ssl.SSLContext | None = None, *, scheme: str | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Upstream]:
    """A provider on a free loopback port, for as long as the context lasts.

    With the scheme `https` and no `tls` it takes a ClientHello for the beginning of a request.
    """
    upstream = Upstream(tls, scheme=scheme, host=host)
    [listener] = await trio.open_tcp_listeners(0, host=host, backlog=4096)
    upstream.port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.serve, listener)  # noqa: ASYNC113  # it listens already
        yield upstream
        nursery.cancel_scope.cancel("the fault is over")
