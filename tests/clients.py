"""Clients for tests: one in memory, and the bytes for one with a socket in its hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import trio

from service.testing import Exchange, open_exchange

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that has come to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


def asking(*models: str, **fields: Any) -> dict[str, Any]:
    """A question to these models, with any other fields that are given."""
    return {"input_data": "Why?", "models": list(models), **fields}


async def reply_of(exchange: Exchange) -> Reply:
    """Read an exchange to its end."""
    body = await exchange.read()
    assert exchange.status is not None
    return Reply(exchange.status, exchange.headers, body)


async def call(app: Any, method: str, path: str, **request: Any) -> Reply:
    """One request to an application in memory, and its whole reply."""
    async with open_exchange(app, path, method=method, **request) as exchange:
        return await reply_of(exchange)


async def ask(app: Any, *models: str, path: str = "/compare-stream", **fields: Any) -> Reply:
    """One question to an application in memory, and its whole reply."""
    return await call(app, "POST", path, json_body=asking(*models, **fields))


async def connect(url: str) -> trio.SocketStream:
    """A connection to the server at `url`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return await trio.open_tcp_stream(parts.hostname, parts.port)


def http1_request(*models: str, **fields: Any) -> bytes:
    """A question as HTTP/1.1 in one piece."""
    body = json.dumps(asking(*models, **fields)).encode()
    head = "POST /compare-stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def read_until(stream: trio.abc.ReceiveStream, mark: bytes, *, times: int = 1) -> bytes:
    """Read until `mark` has come so many times."""
    received = b""
    while received.count(mark) < times:
        part = await stream.receive_some()
        assert part, f"it ended after {received!r}"
        received += part
    return received
