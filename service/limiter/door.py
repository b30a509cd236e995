"""When a provider may be asked, by its own words: the same for everybody who waits for it.

`Retry-After` and `x-ratelimit-reset` close the door until then; `x-ratelimit-remaining` is counted
down. A refusal without such a word means "in a moment".

The moment is a pause for all, because one refusal is told while others are about to be sent: to
pour them after it would bring as many refusals and no news. Its length is drawn by lot, so that
several processes that were refused together do not come back together.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

__all__ = ["Door"]

LONGEST_HOLD = 30.0
"""Seconds that a provider's word may keep everybody from asking. One that says "in an hour" is
asked again after this: it may have meant one model, and a process must not stand still on one
header."""
PAUSE_SECONDS = 0.1
"""After a refusal without a word; and up to as much again. Longer than all refusals of a burst take
to arrive, shorter than a reader notices."""


class Door:
    """One provider's; closed for a time, or when what it said to be left is used up."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._held_until = -math.inf
        self._left: int | None = None
        """Requests that the provider takes until `_left_until`; None: it did not say."""
        self._left_until = -math.inf

    def is_open(self, now: float) -> bool:
        """Whether somebody may ask."""
        if now < self._held_until:
            return False
        if self._left is not None and now >= self._left_until:
            self._left = None
        return self._left is None or self._left > 0

    def opens_at(self, now: float) -> float:
        """When it opens; the past if it is open."""
        if self._left == 0 and now < self._left_until:
            return max(self._held_until, self._left_until)
        return self._held_until

    def passed(self) -> None:
        """Somebody asks."""
        if self._left is not None:
            self._left -= 1

    def hold(self, seconds: float, now: float) -> None:
        """The provider asks for a wait."""
        self._held_until = max(self._held_until, now + min(seconds, LONGEST_HOLD))

    def pause(self, now: float) -> None:
        """It has refused somebody."""
        self.hold(PAUSE_SECONDS * (1 + self._draw()), now)

    def budget(self, left: int, resets_in: float, now: float) -> None:
        """It takes so many more until then, in seconds; newer words replace older ones."""
        self._left = max(0, left)
        self._left_until = now + min(resets_in, LONGEST_HOLD)
