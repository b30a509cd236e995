"""What the layers share: a request's head as ASGI has it, and a refusal without a framework."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "ON_DENIED",
    "Asgi",
    "Denial",
    "Header",
    "Receive",
    "Scope",
    "Send",
    "adding",
    "deny",
    "may_have_an_unread_body",
    "path_of",
    "values_of",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[..., Awaitable[None]]
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Denial:
    """A request that goes no further: the one form of every refusal."""

    status: int
    code: str
    detail: str
    headers: tuple[Header, ...] = ()


ON_DENIED = "compare.on_denied"
"""Where a request's scope says who hears the code of its denial, if anybody does."""


async def deny(scope: Scope, send: Send, denial: Denial) -> None:
    """Answer in the application's place; the request's body is not read."""
    scope.get(ON_DENIED, str)(denial.code)
    body = json.dumps({"detail": denial.detail, "code": denial.code}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *denial.headers,
    ]
    if may_have_an_unread_body(scope):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": denial.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def may_have_an_unread_body(scope: Any) -> bool:
    """Whether the client may still be sending; its next request on HTTP/1 would then be lost."""
    if not scope["http_version"].startswith("1"):
        return False
    lengths = values_of(scope, b"content-length")
    return any(length != b"0" for length in lengths) or bool(values_of(scope, b"transfer-encoding"))


def values_of(scope: Any, name: bytes) -> list[bytes]:
    """The values of a header, one for each of its lines; `name` is in lower case, as ASGI's are."""
    return [value for key, value in scope["headers"] if key.lower() == name]


def path_of(scope: Scope) -> str:
    """The path by which Quart will choose the route, also of a target such as `http://host/path`."""
    path: str = scope["path"]
    if path.startswith("/"):
        return path
    try:
        return urlsplit(path).path
    except ValueError:
        return ""


def adding(send: Send, headers: Iterable[Header]) -> Send:
    """`send`, with more headers on the response, whoever gives it."""
    more = list(headers)

    async def send_with_more(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_with_more
