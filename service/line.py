"""Who is next, among those who wait for one provider.

**Fair between comparisons.** The line is not one of requests but of comparisons, each with its own
requests behind it, and they take turns (deficit round robin, with requests of one size: Shreedhar
and Varghese 1996). A question to one model so waits for one request of each other comparison at
most, however many models these have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Line"]

T = TypeVar("T")


class Line(Generic[T]):
    """Those who wait, by party; its length is how many they are."""

    def __init__(self) -> None:
        self._parties: dict[object, deque[T]] = {}
        """The one whose turn it is comes first."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Everybody, party by party."""
        for own in self._parties.values():
            yield from own

    def join(self, party: object, who: T) -> None:
        """Stand behind the others of the same party."""
        self._parties.setdefault(party, deque()).append(who)
        self._length += 1

    def leave(self, party: object, who: T) -> None:
        """Go, wherever in the line that is."""
        own = self._parties[party]
        own.remove(who)
        if not own:
            del self._parties[party]
        self._length -= 1

    def next(self) -> T:
        """Take out whose turn it is; the others of its party are behind the other parties now."""
        party = next(iter(self._parties))
        own = self._parties.pop(party)
        who = own.popleft()
        if own:
            self._parties[party] = own
        self._length -= 1
        return who

    def ahead_of(self, party: object, who: T) -> int:
        """How many are taken out before this one, if nobody leaves."""
        index = self._parties[party].index(who)
        count = index
        before = True
        for other, theirs in self._parties.items():
            if other is party:
                before = False
            else:
                count += min(len(theirs), index + before)
        return count
