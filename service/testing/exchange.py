"""The application in memory: its lifespan, and one request at a time (ASGI 3, HTTP 2.4).

Written out because what exists does not fit streams: httpx's ASGI transport collects the whole
body before it hands out the response, and quart-trio's test client hangs when a client leaves in
the middle.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

__all__ = ["Exchange", "open_app", "open_exchange"]


@asynccontextmanager
async def open_app(app: Any) -> AsyncIterator[None]:
    """Run an ASGI application's lifespan: started when this is entered, shut down when left."""
    to_app, app_receive = trio.open_memory_channel[dict[str, Any]](math.inf)
    app_send, from_app = trio.open_memory_channel[dict[str, Any]](math.inf)
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app, scope, app_receive.receive, app_send.send, name="lifespan")
        to_app.send_nowait({"type": "lifespan.startup"})
        await _expect(from_app, "lifespan.startup.complete")
        try:
            yield
            to_app.send_nowait({"type": "lifespan.shutdown"})
            await _expect(from_app, "lifespan.shutdown.complete")
        finally:
            nursery.cancel_scope.cancel("the test is over")


async def _expect(from_app: trio.MemoryReceiveChannel[dict[str, Any]], expected: str) -> None:
    message = await from_app.receive()
    if message["type"] != expected:
        raise RuntimeError(f"the application said {message} instead of {expected}")


class Exchange:
    """One request under way, seen from the client's side."""

    def __init__(
        self,
        from_app: trio.MemoryReceiveChannel[dict[str, Any]],
        to_app: trio.MemorySendChannel[dict[str, Any]],
    ) -> None:
        self._from_app = from_app
        self._to_app = to_app
        self.status: int | None = None
        self.headers: dict[str, str] = {}

    async def next_body(self) -> bytes | None:
        """The next piece of the body, once the application sends it; None after the last."""
        async for message in self._from_app:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {
                    name.decode().lower(): value.decode() for name, value in message["headers"]
                }
            elif message.get("body"):
                return bytes(message["body"])
        return None

    async def read(self) -> bytes:
        """The rest of the body; returns when the application has."""
        parts = []
        while (part := await self.next_body()) is not None:
            parts.append(part)
        return b"".join(parts)

    def disconnect(self) -> None:
        """The client leaves."""
        self._to_app.send_nowait({"type": "http.disconnect"})


@asynccontextmanager
async def open_exchange(
    app: Any,
    path: str,
    *,
    method: str = "POST",
    json_body: object = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Exchange]:
    """One request to an application that `open_app` has started.

    The application feels our back-pressure: what is not read with `next_body` blocks it. Leaving
    the context cancels whatever still runs.
    """
    if body is None:
        body = json.dumps(json_body).encode() if json_body is not None else b""
    named = {"host": "test", "content-type": "application/json"}
    named.update({name.lower(): value for name, value in (headers or {}).items()})
    bare_path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": bare_path,
        "raw_path": bare_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": ("192.0.2.1", 40000),
        "server": ("test", 80),
        "extensions": {},
        "state": {},
    }
    to_app, app_receive = trio.open_memory_channel[dict[str, Any]](math.inf)
    app_send, from_app = trio.open_memory_channel[dict[str, Any]](0)

    async def run() -> None:
        with app_send:
            await app(scope, app_receive.receive, app_send.send)

    to_app.send_nowait({"type": "http.request", "body": body, "more_body": False})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, name=f"{method} {path}")
        yield Exchange(from_app, to_app)
        nursery.cancel_scope.cancel("the test is over")
