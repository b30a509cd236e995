"""httpx's own transport, for who needs what ours has not: a proxy on the way to the provider.

What is mended around it: a TLS handshake that is cancelled would leave its socket to the garbage
collector; bytes behind the end of a response would be taken for the response to the next request;
a body that is left early is a stack of generators that somebody must unwind. Its pool loses
slots for good when requests are cancelled while they wait for one, so there is no maximum.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import trio

__all__ = ["PooledTransport", "left_early"]

KEEP_ALIVE_SECONDS = 4
"""As ours; but looked at only when the next request comes."""
KEPT_CONNECTIONS = 18
"""Idle connections kept warm, two comparisons of nine models. httpx's pool looks at every pair of
idle connections whenever a request begins or ends: with 270 of them that took a fifth of the
processor. It also counts the busy ones, so above this many none is kept."""


class PooledTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, which knows the request's extension `on_connected`."""

    def __init__(self, verify: ssl.SSLContext, proxy: str | None) -> None:
        super().__init__(
            verify=verify,
            http2=False,
            trust_env=False,
            proxy=proxy,
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=KEPT_CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
            ),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and return when the head of its response is there."""
        on_connected = request.extensions["on_connected"]
        tcp: Any = None
        response: httpx.Response | None = None

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal tcp
            match event.partition(".")[2]:
                case "connect_tcp.complete":
                    tcp = info["return_value"]
                case "start_tls.failed":
                    await tcp.aclose()
                case "send_request_headers.started":
                    on_connected()
                case "response_closed.started" if response is not None:
                    _distrust_what_said_more(response)

        request.extensions = {"trace": trace}
        response = await super().handle_async_request(request)
        return response


@asynccontextmanager
async def left_early(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """A body's chunks, of which whoever has read enough leaves the rest.

    It is six generators deep, and closing the outermost would leave the others to the garbage
    collector. A cancelled read unwinds them all and closes the connection on its way, without
    waiting for anything.
    """
    try:
        yield chunks
    finally:
        with suppress(httpx.HTTPError), trio.move_on_after(0, shield=True) as scope:
            scope.cancel("nobody reads the rest of the body")
            while await anext(chunks, None) is not None:
                pass


def _distrust_what_said_more(response: httpx.Response) -> None:
    """Have the connection closed, not kept, if bytes came behind the end of the response.

    httpcore would take them for the response to the next request. It has no public way to see
    them; should the private one go, the test of stray bytes fails.
    """
    with suppress(AttributeError):
        stream: Any = response.stream
        state = stream._httpcore_stream._stream._connection._h11_state
        if state.trailing_data[0]:
            state.send_failed()
