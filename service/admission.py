"""Who may begin: one place for each comparison that runs, taken before its status is sent.

A place belongs to the ASGI call of its request and goes with it, whatever becomes of the request:
refused later, answered, cut, or left by a client before its response has begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

__all__ = ["Place", "placed"]

Scope = MutableMapping[str, Any]
Asgi = Callable[..., Awaitable[None]]

KEY = "compare.place"


class Place:
    """One request's place among the comparisons that run."""

    def __init__(self, running: trio.CapacityLimiter) -> None:
        self._running = running
        self._taken = False

    @staticmethod
    def of(scope: Any) -> Place:
        """The place of the request with this ASGI scope."""
        place: Place = scope[KEY]
        return place

    def take(self) -> bool:
        """Take it without waiting; False when all are taken."""
        try:
            self._running.acquire_on_behalf_of_nowait(self)
        except trio.WouldBlock:
            return False
        self._taken = True
        return True

    def leave(self) -> None:
        """Let another have it."""
        if self._taken:
            self._running.release_on_behalf_of(self)
            self._taken = False


def placed(app: Asgi, running: trio.CapacityLimiter) -> Asgi:
    """`app`, with a `Place` for each of its requests."""

    async def with_place(scope: Scope, receive: Any, send: Any) -> None:
        place = scope[KEY] = Place(running)
        try:
            await app(scope, receive, send)
        finally:
            place.leave()

    return with_place
