"""A provider over real sockets that sends exactly the bytes that a test says."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import h11
import trio

__all__ = ["Close", "Pause", "Reset", "Wire", "open_wire"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds by the real clock."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in order (FIN)."""

    notify: bool = True
    """Over TLS: say so first (close_notify), as few servers do."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Tear the connection down (RST)."""


Step: TypeAlias = bytes | Pause | Close | Reset
Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


@dataclass(slots=True)
class Wire:
    """What happened at a scripted provider."""

    base_url: str
    requests: list[tuple[h11.Request, bytes]] = field(default_factory=list)
    """Each request's head and body."""
    opened: int = 0
    closed: int = 0
    sent: int = 0
    """Bytes of the steps that the system has taken from us."""
    _quiet: trio.Event = field(default_factory=trio.Event)

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return self.opened - self.closed

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self._quiet = trio.Event()
            await self._quiet.wait()

    def _close_one(self) -> None:
        self.closed += 1
        self._quiet.set()


@asynccontextmanager
async def open_wire(
    *steps: Step, answers: Sequence[Sequence[Step]] = (), tls: ssl.SSLContext | None = None
) -> AsyncIterator[Wire]:
    """A server on a free loopback port that answers every request by `steps`.

    With `answers`, the first request gets the first of them and so on; the last one is repeated.
    The steps are raw: status line and headers are theirs to send. After the last step the
    connection stays open until the client closes it, whose leaving is noticed at every moment.
    With `tls` it speaks TLS with the certificate in there, whose name the test has to know.
    """
    scripts = [tuple(answer) for answer in answers] or [steps]
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    wire = Wire(f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1")

    async def handle(tcp: trio.SocketStream) -> None:
        wire.opened += 1
        stream: Stream = tcp
        if tls:
            stream = trio.SSLStream(tcp, tls, server_side=True, https_compatible=True)
        try:
            async with stream:
                await _converse(stream, wire, scripts)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # the client left, as many tests want it to
        finally:
            wire._close_one()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, listeners)
        yield wire
        nursery.cancel_scope.cancel("the test is over")


async def _converse(stream: Stream, wire: Wire, scripts: list[tuple[Step, ...]]) -> None:
    received = bytes(await stream.receive_some())
    while received:
        # A fresh parser for each request: our answers are raw bytes of which h11 knows nothing.
        request = await _read_request(stream, h11.Connection(h11.SERVER), received)
        if request is None:
            return
        wire.requests.append(request)
        script = scripts[min(len(wire.requests), len(scripts)) - 1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_play, stream, script, wire)
            # The client's next request, or its leaving, ends whatever is still being played.
            received = bytes(await stream.receive_some())
            nursery.cancel_scope.cancel("the client has said what comes next")


async def _read_request(
    stream: Stream, inbound: h11.Connection, received: bytes
) -> tuple[h11.Request, bytes] | None:
    inbound.receive_data(received)
    head: h11.Request | None = None
    body = bytearray()
    while True:  # noqa: ASYNC913  # turns without waiting are as few as the events in hand
        event = inbound.next_event()
        if event is h11.NEED_DATA:
            inbound.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return head, bytes(body)
        else:
            return None


async def _play(stream: Stream, script: Sequence[Step], wire: Wire) -> None:
    tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    for step in script:
        match step:
            case bytes():
                await stream.send_all(step)
                wire.sent += len(step)
            case Pause():
                await trio.sleep(step.seconds)
            case Close(notify):
                await (stream if notify else tcp).aclose()
                return
            case Reset():
                linger = struct.pack("ii", 1, 0)
                tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                await tcp.aclose()
                return
