"""A line that is fair between comparisons: they take turns, however many requests each has.

Deficit round robin with requests of one size (Shreedhar and Varghese 1996). A question to one model
so waits for one request of each other comparison at most, however many models these have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Line"]

T = TypeVar("T")


class Line(Generic[T]):
    """Whoever waits, by party; true while somebody does."""

    def __init__(self) -> None:
        self._parties: dict[object, deque[T]] = {}
        """The one whose turn it is comes first."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for waiting in self._parties.values():
            yield from waiting

    @property
    def first(self) -> T | None:
        """Whose turn it is; None: nobody waits."""
        return next(iter(self), None)

    def add(self, party: object, item: T) -> None:
        """Behind all others of its party; a party that is new here comes last."""
        self._parties.setdefault(party, deque()).append(item)
        self._length += 1

    def take(self) -> T:
        """The one whose turn it is, out of the line. Raises `StopIteration` when nobody waits."""
        party = next(iter(self._parties))
        waiting = self._parties.pop(party)
        item = waiting.popleft()
        if waiting:
            self._parties[party] = waiting  # behind the others
        self._length -= 1
        return item

    def remove(self, party: object, item: T) -> None:
        """Out of the line without a turn. Raises `KeyError` or `ValueError` if it is not in it."""
        waiting = self._parties[party]
        waiting.remove(item)
        if not waiting:
            del self._parties[party]
        self._length -= 1

    def ahead_of(self, party: object, item: T) -> int:
        """How many are taken before `item`, if nobody comes or leaves."""
        own = self._parties[party].index(item)
        count = own
        before = True
        for other, waiting in self._parties.items():
            if other is party:
                before = False
            else:
                count += min(len(waiting), own + before)
        return count
