"""One HTTP client for one provider: a request, and its reply as it comes.

The transport is asked directly. httpx's `AsyncClient` stands between a request and its transport
for what a provider's call must not have (redirects, which can carry a key to another host; cookies,
which would tie one caller's question to the next one's; proxies and passwords out of the
environment), and takes 0.3 ms for it.

One client per provider, so that a provider that hangs starves nobody else. No time-outs here: the
callers' cancel scopes are the clocks.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from types import TracebackType
from typing import Literal, TypeAlias

import httpx
import trio

from service.upstream.body import Body
from service.upstream.faults import provider_errors, raise_ours
from service.upstream.names import look_names_up_apart
from service.upstream.pooled import PooledTransport, left_early
from service.upstream.transport import (
    READ_BYTES,
    Asking,
    Origin,
    StreamTransport,
    head_of,
    length_line,
    lines_of,
    origin_of,
)

__all__ = ["Client", "Reply", "TransportName", "open_client"]

TransportName: TypeAlias = Literal["streams", "httpx"]
"""Ours, or httpx's own, which can go through a proxy."""

OUR_HEADERS = ((b"User-Agent", b"compare-stream"), (b"Connection", b"keep-alive"))
REMEMBERED = 100
"""Addresses, and sets of headers, that need not be looked at anew: each provider has one."""


class Reply:
    """A provider's response whose body has not been read yet; headers by their small names."""

    def __init__(self, body: Body | None, response: httpx.Response | None = None) -> None:
        self._body = body
        self._response = response
        self.headers: Mapping[str, str]
        if body is not None:
            self.status = body.status
            self.headers = _by_name(body.headers)
        elif response is not None:
            self.status = response.status_code
            self.headers = response.headers

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def has_more(self) -> bool:
        """Whether the next piece of the body is there already, or as good as."""
        return self._body is not None and self._body.more

    @property
    def came_at(self) -> float | None:
        """When the last piece of the body was read, by Trio's clock; None: not known."""
        return None if self._body is None else self._body.came_at

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here, and finding its end takes no waiting."""
        return self._body is not None and self._body.is_whole

    def read_nowait(self) -> bytes | None:
        """The next piece of the body if it is there; None if not; b"" if only `chunks` can say.

        Raises what reading them would.
        """
        return b"" if self._body is None else self._body.read_nowait()

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The body as it arrives, undecoded. Raises `ProviderError` when it breaks off."""
        if self._body is not None:
            return _Chunks(self._body)
        return self._chunks_of_httpx()

    @asynccontextmanager
    async def _chunks_of_httpx(self) -> AsyncIterator[AsyncIterator[bytes]]:
        if self._response is not None:
            with provider_errors():
                async with left_early(self._response.aiter_raw()) as chunks:
                    yield chunks

    async def read(self, limit: int) -> bytes:
        """The body, cut after `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async with self.chunks() as chunks:
            async for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size >= limit:
                    break
        return b"".join(parts)[:limit]


class _Chunks:
    """A body as `Reply.chunks` gives it."""

    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aenter__(self) -> Body:
        return self._body

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        raise_ours(exc)


class Client:
    """Sends requests; made by `open_client`."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        close_what_expires: Callable[[], Awaitable[None]],
    ) -> None:
        self._transport = transport
        self.close_what_expires = close_what_expires
        """Closes idle connections whose time is over, until it is cancelled; a task of whoever
        keeps the client for long. Without it they are closed when a next request finds them."""

    @property
    def connections(self) -> tuple[int, int] | None:
        """How many are busy, and how many idle; None: httpx's transport does not tell."""
        if isinstance(self._transport, StreamTransport):
            return self._transport.busy, self._transport.idle
        return None

    def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        on_connected: Callable[[], None],
        room: Callable[[], int] = lambda: READ_BYTES,
        along: Sequence[tuple[str, str]] = (),
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a request and hand out its reply as soon as the headers are there.

        `on_connected` is called when the connection is there and the request begins to leave.
        Before each read `room` is asked how many bytes may be taken (httpx's transport does not
        ask, and takes up to 64 KiB). `along` are more headers, which differ with each request.
        Leaving the context before the body has ended closes the connection at once, as does
        being cancelled. Raises `ProviderError` for every fault on the way, also for one that
        the body's reader meets inside the context.
        """
        return _Post(self._transport, url, headers, body, on_connected, room, along)

    @asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        on_connected: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Reply]:
        """Ask for what is at this address; the same holds as for `post`.

        For what is asked once in a while: it goes by httpx's request and response.
        """
        with provider_errors():
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            request = httpx.Request(
                "GET",
                url,
                headers=httpx.Headers([*OUR_HEADERS, *encoded]),
                extensions={"on_connected": on_connected},
            )
            response = await self._transport.handle_async_request(request)
            try:
                yield Reply(response.extensions.get("body"), response)
            finally:
                await response.aclose()  # noqa: ASYNC102  # as in `post`


class _Post:
    """One request and its reply; a class, as a generator's context takes ten times as long."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        on_connected: Callable[[], None],
        room: Callable[[], int],
        along: Sequence[tuple[str, str]],
    ) -> None:
        self._transport = transport
        self._url = url
        self._headers = headers
        self._body = body
        self._on_connected = on_connected
        self._room = room
        self._along = [(name.encode(), value.encode()) for name, value in along]
        self._answer: Body | None = None
        self._response: httpx.Response | None = None

    async def __aenter__(self) -> Reply:
        with provider_errors():
            request = _prepared(self._url, tuple(self._headers.items()))
            if isinstance(self._transport, StreamTransport):
                head = request.head + lines_of(self._along) + length_line(self._body)
                asking = Asking(request.origin, head, self._body, self._on_connected, self._room)
                self._answer = await self._transport.ask(asking)
                return Reply(self._answer)
            self._response = await self._transport.handle_async_request(
                httpx.Request(
                    "POST",
                    self._url,
                    headers=httpx.Headers([*request.headers.raw, *self._along]),
                    content=self._body,
                    extensions={"on_connected": self._on_connected},
                )
            )
            return Reply(None, self._response)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._answer is not None:
            self._answer.close()
        elif self._response is not None:
            with provider_errors():
                # It closes at once, or is cancelled itself.
                await self._response.aclose()  # noqa: ASYNC102
        raise_ours(exc)


@asynccontextmanager
async def open_client(
    *,
    verify: ssl.SSLContext | None = None,
    transport: TransportName = "streams",
    proxy: str | None = None,
) -> AsyncIterator[Client]:
    """A client for as long as the context lasts; its idle connections are closed with it.

    `verify` says which certificates are trusted; without it, those of the usual authorities.
    A `proxy` is for httpx's transport.
    """
    look_names_up_apart()
    trusted = verify or _usual_authorities()
    if transport == "httpx":
        async with PooledTransport(trusted, proxy) as pooled:
            yield Client(pooled, trio.sleep_forever)
    else:
        async with StreamTransport(trusted) as streams:
            yield Client(streams, streams.close_what_expires)


def _by_name(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What the requests of one provider have in common."""

    headers: httpx.Headers
    origin: Origin
    head: bytes


@lru_cache(REMEMBERED)
def _prepared(url: str, headers: tuple[tuple[str, str], ...]) -> _Prepared:
    # As bytes: httpx takes text for ASCII, and an application's title may be Größe.
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    ours = httpx.Headers([*OUR_HEADERS, *encoded])
    request = httpx.Request("POST", url, headers=ours)
    return _Prepared(ours, origin_of(request.url), head_of(request))


@cache
def _usual_authorities() -> ssl.SSLContext:
    """Made once: it reads a hundred certificates."""
    return httpx.create_ssl_context(trust_env=False)
