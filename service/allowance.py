"""How many answers an address and a fingerprint may have in a day.

Counted when a comparison begins, so that many at once can't pass together; answers that failed
are given back. The day is UTC's. Held in memory: each process counts for itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta

__all__ = ["Allowance"]

MOST_KEYS = 100_000
"""Keys remembered at once; fingerprints are the caller's words, so they must be bounded."""


def utc_now() -> datetime:
    """The time by which a day is a day."""
    return datetime.now(UTC)


class Allowance:
    """Counts answers by key; `daily_limit` 0 counts, but never refuses."""

    def __init__(self, daily_limit: int, now: Callable[[], datetime] = utc_now) -> None:
        self.daily_limit = daily_limit
        self._now = now
        self._day = now().date()
        self._used: OrderedDict[str, int] = OrderedDict()

    def used(self, key: str) -> int:
        """Answers that `key` had today."""
        self._turn_the_day()
        return self._used.get(key, 0)

    def left(self, key: str) -> int | None:
        """Answers that `key` may still have today; None: as many as it likes."""
        return max(0, self.daily_limit - self.used(key)) if self.daily_limit else None

    def take(self, keys: Iterable[str], answers: int) -> bool:
        """Count `answers` for every key; False, and nothing counted, if one has too few left."""
        keys = tuple(keys)
        if any((left := self.left(key)) is not None and left < answers for key in keys):
            return False
        for key in keys:
            self._add(key, answers)
        return True

    def give_back(self, keys: Iterable[str], answers: int = 1) -> None:
        """Uncount answers that came to nothing."""
        for key in keys:
            self._add(key, -min(answers, self.used(key)))

    @property
    def resets_at(self) -> datetime:
        """When the next day begins."""
        return datetime.combine(self._now().date() + timedelta(days=1), time(), tzinfo=UTC)

    def seconds_to_reset(self) -> int:
        """Whole seconds until then, at least one: what `Retry-After` says."""
        return max(1, round((self.resets_at - self._now()).total_seconds()))

    def _add(self, key: str, answers: int) -> None:
        self._used[key] = self.used(key) + answers
        self._used.move_to_end(key)
        if len(self._used) > MOST_KEYS:
            self._used.popitem(last=False)

    def _turn_the_day(self) -> None:
        today = self._now().date()
        if today != self._day:
            self._day = today
            self._used.clear()
