"""One HTTP client for one provider, over httpx.

One client per provider, so that a provider that hangs starves nobody else. No time-outs here: the
callers' cancel scopes are the clocks. No maximum of connections either: httpx's pool loses slots
for good when requests are cancelled while they wait for one, so it must never be what they wait
for. HTTP/1.1 only: over HTTP/2 httpx does not reset the stream of a cancelled request, and the
provider would go on generating and billing.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import trio

from service.upstream.faults import provider_errors
from service.upstream.names import look_names_up_apart

__all__ = ["Client", "Reply", "open_client"]

KEEP_ALIVE_SECONDS = 4
"""No connection is used again after this: servers of Python's and Node's kind close theirs after
5 s, and a request that meets their close half way is lost. It is closed when the next request
looks; until then at most `KEPT_CONNECTIONS` are open and idle."""

KEPT_CONNECTIONS = 18
"""Idle connections kept warm, two comparisons of nine models. httpx's pool looks at every pair of
idle connections whenever a request begins or ends: with 270 of them that took a fifth of the
processor. It also counts the busy ones, so above this many none is kept."""


class Reply:
    """A provider's response whose body has not been read yet."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @asynccontextmanager
    async def chunks(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body as it arrives, undecoded. Raises `ProviderError` when it breaks off."""
        with provider_errors():
            chunks = self._response.aiter_raw()
            try:
                yield chunks
            finally:
                # Left early, it is six generators deep, and closing the outermost would leave the
                # others to the garbage collector. A cancelled read unwinds them all and closes
                # the connection on its way, without waiting for anything.
                with suppress(httpx.HTTPError), trio.move_on_after(0, shield=True) as scope:
                    scope.cancel("nobody reads the rest of the body")
                    while await anext(chunks, None) is not None:
                        pass

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

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @asynccontextmanager
    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        on_connected: Callable[[], None],
    ) -> AsyncIterator[Reply]:
        """Send a request and hand out its reply as soon as the headers are there.

        `on_connected` is called when the connection is there and the request begins to leave.
        Leaving the context before the body has ended closes the connection at once, as does
        being cancelled. Raises `ProviderError` for every fault on the way, also for one that
        the body's reader meets inside the context.
        """
        tcp: Any = None
        response: httpx.Response | None = None

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal tcp
            match event.partition(".")[2]:
                case "connect_tcp.complete":
                    tcp = info["return_value"]
                case "start_tls.failed":
                    # A handshake that is cancelled leaves its socket to the garbage collector.
                    await tcp.aclose()
                case "send_request_headers.started":
                    on_connected()
                case "response_closed.started" if response is not None:
                    _distrust_what_said_more(response)

        with provider_errors():
            async with self._http.stream(
                "POST",
                url,
                # As bytes: httpx takes text for ASCII, and an application's title may be Größe.
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                content=body,
                extensions={"trace": trace},
            ) as response:
                yield Reply(response)


def _distrust_what_said_more(response: httpx.Response) -> None:
    """Have the connection closed, not kept, if bytes came behind the end of the response.

    httpcore would take them for the response to the next request. It has no public way to see
    them; should the private one go, the test of stray bytes fails.
    """
    with suppress(AttributeError):
        stream: Any = response.stream
        state = stream._stream._httpcore_stream._stream._connection._h11_state
        if state.trailing_data[0]:
            state.send_failed()


@asynccontextmanager
async def open_client(*, verify: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A client for as long as the context lasts; its idle connections are closed with it.

    `verify` says which certificates are trusted; without it, those of the usual authorities.
    """
    look_names_up_apart()
    async with httpx.AsyncClient(
        timeout=None,  # noqa: S113  # the callers' scopes are the clocks
        verify=verify or True,
        # A provider's cookies would tie one caller's question to the next one's.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=KEPT_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        ),
        http2=False,
        follow_redirects=False,  # a redirect could carry the key to another host
        trust_env=False,  # no proxy and no .netrc that the settings do not name
    ) as http:
        yield Client(http)
