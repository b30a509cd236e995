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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from typing import Literal, TypeAlias

import httpx
import trio

from service.upstream.faults import provider_errors
from service.upstream.names import look_names_up_apart
from service.upstream.pooled import PooledTransport, left_early
from service.upstream.transport import READ_BYTES, Body, StreamTransport

__all__ = ["Client", "Reply", "TransportName", "open_client"]

TransportName: TypeAlias = Literal["streams", "httpx"]
"""Ours, or httpx's own, which can go through a proxy."""

OUR_HEADERS = ((b"User-Agent", b"compare-stream"), (b"Connection", b"keep-alive"))
REMEMBERED = 100
"""Addresses, and sets of headers, that need not be looked at anew: each provider has one."""


class Reply:
    """A provider's response whose body has not been read yet."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._body: Body | None = response.extensions.get("body")
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def has_more(self) -> bool:
        """Whether the next piece of the body is there already, or as good as."""
        return self._body is not None and self._body.more

    def read_nowait(self) -> bytes | None:
        """The next piece of the body if it is there; None if not; b"" if only `chunks` can say.

        Raises what reading them would.
        """
        return b"" if self._body is None else self._body.read_nowait()

    @asynccontextmanager
    async def chunks(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body as it arrives, undecoded. Raises `ProviderError` when it breaks off."""
        with provider_errors():
            if self._body is not None:
                yield self._body
            else:
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

    @asynccontextmanager
    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        on_connected: Callable[[], None],
        room: Callable[[], int] = lambda: READ_BYTES,
    ) -> AsyncIterator[Reply]:
        """Send a request and hand out its reply as soon as the headers are there.

        `on_connected` is called when the connection is there and the request begins to leave.
        Before each read `room` is asked how many bytes may be taken (httpx's transport does not
        ask, and takes up to 64 KiB).
        Leaving the context before the body has ended closes the connection at once, as does
        being cancelled. Raises `ProviderError` for every fault on the way, also for one that
        the body's reader meets inside the context.
        """
        with provider_errors():
            request = httpx.Request(
                "POST",
                _parsed(url),
                headers=_encoded(tuple(headers.items())),
                content=body,
                extensions={"on_connected": on_connected, "room": room},
            )
            response = await self._transport.handle_async_request(request)
            try:
                yield Reply(response)
            finally:
                await response.aclose()  # noqa: ASYNC102  # closes at once, or is cancelled itself


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


@lru_cache(REMEMBERED)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


@lru_cache(REMEMBERED)
def _encoded(headers: tuple[tuple[str, str], ...]) -> httpx.Headers:
    """As bytes: httpx takes text for ASCII, and an application's title may be Größe."""
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return httpx.Headers([*OUR_HEADERS, *encoded])


@cache
def _usual_authorities() -> ssl.SSLContext:
    """Made once: it reads a hundred certificates."""
    return httpx.create_ssl_context(trust_env=False)
