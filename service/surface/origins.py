"""CORS: the pages of other origins that may read what we answer (the Fetch standard, 3.2).

No credentials mode: a key is sent by the page in a header, so cookies and what a browser keeps by
itself have no part in it, and `*` is as safe as a list.
"""

from __future__ import annotations

import re

from service.surface.asgi import Asgi, Denial, Header, Receive, Scope, Send, adding, deny, values_of

__all__ = ["parse_origin", "readable"]

ANY = "*"
EXPECTED = (
    'expected an origin as browsers send it, such as "https://app.example.org" (no path, no slash '
    'at the end, lower case, no default port), or "*"'
)

METHODS = b"GET, HEAD, POST, DELETE"
HEADERS = b"content-type, authorization, x-api-key, last-event-id, traceparent, tracestate"
EXPOSED = b"X-Comparison-Id, Retry-After"
MAX_AGE_SECONDS = 600
"""Chrome keeps a preflight's answer for two hours at most; a change of ours is seen sooner."""

VARY = (b"vary", b"Origin")
NOT_ALLOWED = Denial(
    403, "origin_not_allowed", "Pages of this origin may not ask this service.", (VARY,)
)

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS = {("http", "80"), ("https", "443")}


def parse_origin(text: str) -> str:
    """An origin as the settings name it, or `*`; raises `ValueError` with what was expected."""
    if text == ANY:
        return ANY
    found = _ORIGIN.fullmatch(text)
    # A browser leaves the default port out, so with it the origin would never be met.
    if found is None or (found["scheme"], found["port"]) in _DEFAULT_PORTS:
        raise ValueError(EXPECTED)
    return text


def readable(app: Asgi, origins: frozenset[str]) -> Asgi:
    """`app`, with its responses readable to pages of these origins, refusals included."""

    async def for_its_origin(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        allowed = _allowed(scope, origins)
        if not _is_preflight(scope):
            exposed = (*allowed, (b"access-control-expose-headers", EXPOSED)) if allowed else ()
            # Vary also where nothing is allowed: what a cache keeps must not serve another origin.
            await app(scope, receive, adding(send, (*exposed, VARY)))
        elif allowed:
            await _permit(send, allowed)
        else:
            await deny(scope, send, NOT_ALLOWED)

    return for_its_origin


def _allowed(scope: Scope, origins: frozenset[str]) -> tuple[Header, ...]:
    values = values_of(scope, b"origin")
    if len(values) != 1:
        return ()
    if ANY in origins:
        return ((b"access-control-allow-origin", b"*"),)
    if values[0].decode("latin-1") not in origins:
        return ()
    return ((b"access-control-allow-origin", values[0]),)


def _is_preflight(scope: Scope) -> bool:
    return (
        scope["method"] == "OPTIONS"
        and bool(values_of(scope, b"origin"))
        and bool(values_of(scope, b"access-control-request-method"))
    )


async def _permit(send: Send, allowed: tuple[Header, ...]) -> None:
    headers = [
        *allowed,
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", HEADERS),
        (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
        VARY,
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
