"""The transport made for streams: httpx's requests and responses over connections of our own.

A request takes a connection that is idle, or makes one; there is no maximum and no queue, for
whoever may ask is decided elsewhere. When its response has been read to a clean end the
connection is idle again. Every other way out, an error, a cancellation, a body that is left
early, closes the connection at once: a provider that is still writing must notice, for it bills.

    open ──► taken ──► request ──► head ──► body ──► whole ──► idle ──► taken ...
                 └─────────┴─────────┴───────┴──► anything else: closed

HTTP/1.1 only: over HTTP/2 one connection carries many answers, and what is cancelled there is reset
politely at best. No time-outs: the caller's cancel scopes are the clocks.
"""

from __future__ import annotations

import re
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpx
import trio

from service.upstream.body import Body
from service.upstream.connection import Connection, open_connection
from service.upstream.response import FRAMING, Response

__all__ = [
    "READ_BYTES",
    "Asking",
    "Origin",
    "StreamTransport",
    "head_of",
    "length_line",
    "origin_of",
]

KEEP_ALIVE_SECONDS = 4.0
"""An idle connection is closed after this: servers of Python's and Node's kind close theirs after
5 s, and a request that meets their close half way is lost."""
KEPT_CONNECTIONS = 512
"""Idle connections of one provider: some fifty comparisons of nine models between two questions,
and half of the descriptors that a process has as a rule."""
READ_BYTES = 16 * 1024
"""Taken in one read, unless the request says otherwise: what a TLS record holds."""

Origin: TypeAlias = tuple[str, str, int]

CHUNKED = "transfer-encoding"
_SAFE = re.compile(rb"[^\x00\r\n]*")


@dataclass(frozen=True, slots=True)
class Asking:
    """A request as it is sent, and what its sender wants to know, and be asked."""

    origin: Origin
    head: bytes
    content: bytes
    on_connected: Callable[[], object]
    """Called when the request begins to leave."""
    room: Callable[[], int]
    """Asked before each read: how many bytes may be taken."""
    has_body: bool = True
    """Whether the response may have one; that to HEAD has none."""


class StreamTransport(httpx.AsyncBaseTransport):
    """Sends requests over connections that are never lost to a cancellation.

    Of a request's extensions it knows `on_connected`, which is called when the request begins to
    leave, and `room`, which is asked before each read how many bytes may be taken. A response's
    extension `body` is its `Body`.
    """

    def __init__(self, verify: ssl.SSLContext) -> None:
        self._verify = verify
        # Said, so that no server takes what a context may offer besides (httpx's does the same).
        verify.set_alpn_protocols(["http/1.1"])
        self._closed = False
        self._idle: dict[Origin, deque[tuple[float, Connection]]] = {}
        self._kept = 0
        self.busy = 0
        """Connections that carry a request, or whose answer is being read."""
        self._has_idle = trio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and return when the head of its response is there.

        Raises `httpx.TransportError`s. Cancelled, or failing, it leaves no connection open.
        """
        content = await request.aread()
        has_length = content or any(name in request.headers for name in ("content-length", CHUNKED))
        asking = Asking(
            origin_of(request.url),
            head_of(request) + (length_line(content) if has_length else b"\r\n"),
            content,
            request.extensions.get("on_connected", lambda: None),
            request.extensions.get("room", lambda: READ_BYTES),
            has_body=request.method != "HEAD",
        )
        body = await self.ask(asking)
        return httpx.Response(
            body.status, headers=body.headers, stream=body, extensions={"body": body}
        )

    async def ask(self, asking: Asking) -> Body:
        """The same, for who has no need of httpx's requests and responses, which take 0.2 ms."""
        origin = asking.origin
        connection = self._take_idle(origin) or await self._open(origin)
        body = Body(
            connection,
            Response(has_body=asking.has_body),
            lambda whole: self._let_go(origin, connection, whole=whole),
            asking.room,
        )
        self.busy += 1
        try:
            asking.on_connected()
            broken = await _sending_breaks(connection, asking.head + asking.content)
            try:
                await body.read_head()
            except httpx.TransportError as exc:
                if broken is not None:
                    raise broken from exc
                raise
        except BaseException:
            body.close()
            raise
        return body

    async def aclose(self) -> None:
        """Close what is idle; what is in use is closed when it is let go."""
        self._closed = True
        self._drop_idle(lambda _: True)

    async def close_what_expires(self) -> None:
        """Close idle connections whose time is over; runs until it is cancelled.

        Without it they are closed when a next request finds them, or with the transport.
        """
        while True:
            first = min((kept[0][0] for kept in self._idle.values() if kept), default=None)
            if first is None:
                self._has_idle = trio.Event()
                await self._has_idle.wait()
            else:
                await trio.sleep_until(first)
                self._drop_idle(lambda expires_at: expires_at <= trio.current_time())

    async def _open(self, origin: Origin) -> Connection:
        scheme, host, port = origin
        return await open_connection(host, port, self._verify if scheme == "https" else None)

    def _take_idle(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin)
        while kept:
            # The youngest first: the others can expire.
            expires_at, connection = kept.pop()
            self._kept -= 1
            if trio.current_time() < expires_at and connection.is_quiet():
                return connection
            connection.close()
        return None

    @property
    def idle(self) -> int:
        """Connections that wait for a next request."""
        return self._kept

    def _let_go(self, origin: Origin, connection: Connection, *, whole: bool) -> None:
        self.busy -= 1
        if whole:
            self._keep(origin, connection)
        else:
            connection.close()

    def _keep(self, origin: Origin, connection: Connection) -> None:
        if self._closed or self._kept >= KEPT_CONNECTIONS or not connection.is_quiet():
            connection.close()
            return
        expires_at = trio.current_time() + KEEP_ALIVE_SECONDS
        self._idle.setdefault(origin, deque()).append((expires_at, connection))
        self._kept += 1
        self._has_idle.set()

    def _drop_idle(self, expired: Callable[[float], bool]) -> None:
        for kept in self._idle.values():
            while kept and expired(kept[0][0]):
                kept.popleft()[1].close()
                self._kept -= 1


def length_line(content: bytes) -> bytes:
    """The end of a head whose body this is."""
    return b"Content-Length: %d\r\n\r\n" % len(content)


def origin_of(url: httpx.URL) -> Origin:
    """Where a request goes. Raises `httpx.UnsupportedProtocol`."""
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("Only http:// and https:// are spoken.")
    # The host as it is in the registry: of Unicode, TLS and the resolver have their own readings.
    host = url.raw_host.decode("ascii")
    return url.scheme, host, url.port or (443 if url.scheme == "https" else 80)


def head_of(request: httpx.Request) -> bytes:
    """The head of a request as it is sent, but for the length of its body and the blank line."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if name.lower() not in FRAMING:  # the body is in hand, and its length known
            lines.append(b"%s: %s" % (name, value))
    return _joined(lines)


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """More headers of a head."""
    return _joined([b"%s: %s" % header for header in headers])


def _joined(lines: Sequence[bytes]) -> bytes:
    if not all(map(_SAFE.fullmatch, lines)):
        raise httpx.LocalProtocolError("A header must not hold a line break.")
    return b"".join(line + b"\r\n" for line in lines)


async def _sending_breaks(connection: Connection, request: bytes) -> httpx.WriteError | None:
    """Send it; what broke the sending, whose answer may have come all the same.

    A server may refuse a request before it has read it all, and then close.
    """
    try:
        await connection.send(request)
    except httpx.WriteError as exc:
        return exc
    return None
