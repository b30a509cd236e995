"""The keys that callers have, known by their digests only.

A key is 256 random bits, so a fast hash is enough: slow ones (scrypt, Argon2) make guessing costly
where there is something to guess, such as a person's password. To whoever steals the settings a
digest of random bits is worth nothing, and a request costs a microsecond, not a tenth of a second.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from structlog.contextvars import bound_contextvars

from service.surface.asgi import Asgi, Denial, Receive, Scope, Send, deny, path_of, values_of

__all__ = ["Keys", "guarded", "key_name", "make_key", "parse_digest"]

PREFIX = "csk-"
"""By it a key is known where it must not be: in a log, in a repository."""
EXPECTED = 'expected "sha256:" and 64 hexadecimal digits, as `compare-stream key` prints them'
KEY_NAME = "compare.key_name"

# Everything else needs a key: a route that is added is closed until somebody opens it, and no way
# to spell an address leads past the check.
OPEN = frozenset(
    {prefix + path for prefix in ("", "/api") for path in ("/", "/health", "/readyz")}
    | {"/docs", "/openapi.json"}
)
ASSETS = re.compile("/(?:docs|web)/[^/]+")

UNAUTHORIZED = Denial(
    401,
    "unauthorized",
    "This needs a valid key, as Authorization: Bearer <key> or X-API-Key: <key>.",
    ((b"www-authenticate", b"Bearer"),),
)

_DIGEST = re.compile("sha256:([0-9a-fA-F]{64})")


def make_key() -> tuple[str, str]:
    """A new key, and its digest as the settings have it."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, f"sha256:{sha256(key.encode()).hexdigest()}"


def parse_digest(text: str) -> bytes:
    """A key's digest as the settings have it; raises `ValueError` with what was expected."""
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise ValueError(EXPECTED)  # and not what was found: it may be a key in clear
    return bytes.fromhex(found[1])


class Keys:
    """The digests of the keys that are valid, by the keys' names."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = {name: parse_digest(digest) for name, digest in digests.items()}

    def name_of(self, offered: Iterable[bytes]) -> str | None:
        """The name of the first valid key among these; None: none is.

        Every digest is looked at, whichever fits, and each in constant time.
        """
        names = [
            name
            for key in offered
            for digest in (sha256(key).digest(),)
            for name, expected in self._digests.items()
            if compare_digest(digest, expected)
        ]
        return names[0] if names else None


def _offered(scope: Scope) -> Iterator[bytes]:
    for value in values_of(scope, b"authorization"):
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer":
            yield key.strip()
    yield from values_of(scope, b"x-api-key")


def key_name(scope: Any) -> str | None:
    """The name of the key that a request came with; None: it needed none."""
    name: str | None = scope.get(KEY_NAME)
    return name


def guarded(app: Asgi, keys: Keys) -> Asgi:
    """`app`, closed but for `OPEN` to whoever has no key; nothing else is looked at before."""

    async def with_a_key(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        name = keys.name_of(_offered(scope))
        if name is None:
            if _is_open(path_of(scope)):
                await app(scope, receive, send)
            else:
                await deny(scope, send, UNAUTHORIZED)
            return
        scope[KEY_NAME] = name
        with bound_contextvars(key_name=name):
            await app(scope, receive, send)

    return with_a_key


def _is_open(path: str) -> bool:
    return path in OPEN or ASSETS.fullmatch(path) is not None
