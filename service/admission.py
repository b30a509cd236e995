"""Who may begin, and how everybody ends: one place for each comparison that runs.

A place is taken before a comparison's status is sent. It belongs to the ASGI call of its request
and goes with it, whatever becomes of the request: refused later, answered, cut, or left by a
client before its response has begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from service.comparison import Comparison

__all__ = ["Admission", "Place", "placed"]

Scope = MutableMapping[str, Any]
Asgi = Callable[..., Awaitable[None]]

KEY = "compare.place"

LAST_WORDS_SECONDS = 0.3
"""For stopped comparisons to say how they ended. A reader that reads takes that in milliseconds;
with what the server needs besides it stays below one second."""


class Admission:
    """The places of one process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.draining_since: float | None = None
        """When the process began to end, by Trio's clock; None: it has not."""
        self._places: set[Place] = set()
        self._comparisons: dict[str, Comparison] = {}
        self._empty = trio.Event()

    @property
    def draining(self) -> bool:
        """Whether the process is ending: nobody may begin any more."""
        return self.draining_since is not None

    @property
    def running(self) -> int:
        """Places that are taken."""
        return len(self._places)

    def comparison(self, comparison_id: str) -> Comparison | None:
        """The comparison of this id, from its request until that has been answered."""
        return self._comparisons.get(comparison_id)

    async def drain(self, seconds: float) -> None:
        """Let nobody in, and return when nobody is left.

        After `seconds` the comparisons that still run are stopped, and say so; whoever then does
        not listen is not waited for. Cancelled, it leaves the doors closed.
        """
        self._close_the_doors()
        with trio.move_on_after(seconds):
            await self._emptied()
        self.stop()
        with trio.move_on_after(LAST_WORDS_SECONDS):
            await self._emptied()

    def stop(self) -> None:
        """Let nobody in, and end what runs with `server_shutdown`."""
        self._close_the_doors()
        for place in self._places:
            place.stop()

    def _close_the_doors(self) -> None:
        if self.draining_since is None:
            self.draining_since = trio.current_time()

    def _take(self, place: Place) -> bool:
        if self.draining or self.running >= self.limit:
            return False
        self._places.add(place)
        return True

    def _leave(self, place: Place) -> None:
        self._places.discard(place)
        if not self._places:
            self._empty.set()
            self._empty = trio.Event()

    async def _emptied(self) -> None:
        if self._places:
            await self._empty.wait()


class Place:
    """One request's place among the comparisons that run."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._comparison: Comparison | None = None

    @staticmethod
    def of(scope: Any) -> Place:
        """The place of the request with this ASGI scope."""
        place: Place = scope[KEY]
        return place

    def take(self) -> bool:
        """Take it without waiting; False when all are taken, or nobody may begin any more."""
        return self._admission._take(self)

    def hold(self, comparison: Comparison) -> None:
        """Say which comparison it is that runs here."""
        self._comparison = comparison
        self._admission._comparisons[comparison.id] = comparison

    def stop(self) -> None:
        """End its comparison, which says so to whoever reads it."""
        if self._comparison is not None:
            self._comparison.stop("server_shutdown")

    def leave(self) -> None:
        """Let another have it."""
        if self._comparison is not None:
            self._admission._comparisons.pop(self._comparison.id, None)
            self._comparison.let_go()
        self._admission._leave(self)


def placed(app: Asgi, admission: Admission) -> Asgi:
    """`app`, with a `Place` for each of its requests."""

    async def with_place(scope: Scope, receive: Any, send: Any) -> None:
        place = scope[KEY] = Place(admission)
        try:
            await app(scope, receive, send)
        finally:
            place.leave()

    return with_place
