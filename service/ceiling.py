"""How many requests at once a provider takes: a number that is learned from what it says.

No provider tells it. What it tells is a refusal (429, 503, 529), or that it begins to answer later
than it used to. So the number is found as TCP finds a network's capacity (RFC 5681): up by one for
each window of answers that came whole while all places were taken, down by a share when something
is lost.

- **Down once for each burst.** Nine requests that leave together bring four refusals, and they are
  one piece of news. A request knows the window in which it began; one from an earlier window than
  the last decrease takes no further share off (TCP: NewReno's `recover`, RFC 6582).
- **What was taken is known.** TCP sees losses, we see a count: a provider that refuses one of `n`
  takes fewer than `n`. So each refusal of a burst says more, and after the fourth of nine five is
  not a guess.
- **Down by how many ran**, not by a number that nobody used (RFC 5681, `FlightSize`): a ceiling of
  1000 is no knowledge.
- **The wall is left alone for a while.** The number that was refused is approached, and not touched
  again before `WALL_SECONDS` are over, as CUBIC (RFC 9438) lingers below its last maximum: else
  every window of a busy provider would end in a refusal.
- **Up only when it is used**, as a number that nobody reaches for is not tested by any success.
"""

from __future__ import annotations

import math

__all__ = ["Ceiling"]

KEPT_AFTER_REFUSAL = 0.7
"""CUBIC's share: half would leave a provider of five with two, until ten answers later."""
KEPT_AFTER_DELAY = 0.9
"""Being late is a weaker sign than a refusal: the question may have been a long one. Netflix's
limiters (concurrency-limits, `AIMDLimit`) take the same for a slow answer."""
FEW = 8
"""A refusal of fewer than this is taken for one of this many, if so many were allowed: a rate by
the minute refuses the only request as well, and that one place is too few is no conclusion from
it."""
WALL_SECONDS = 30.0
"""Some refusals an hour are what it costs to notice that a provider takes more than it did; each is
tried again after a second or so, and a reader hardly sees it."""


class Ceiling:
    """The number as it is now; it starts at `most`, which is what the operator believes in.

    A start from below would make the first question after every start of the process a slow one;
    from above, it costs one burst of refusals at worst, all of which are asked again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = most
        self.window = 0
        """Goes up with each decrease; whoever begins to ask remembers it."""
        self._least = 1
        """Less than half of what ran when a burst began is no conclusion from that burst."""
        self._whole = 0
        self._wall = math.inf
        self._wall_until = -math.inf

    def refused(self, running: int, window: int, now: float) -> bool:
        """One of `running` was refused, which began in `window`; whether this lowered the limit."""
        before = self.limit
        if window == self.window:
            in_use = min(self.limit, max(running, FEW))
            self._least = max(1, in_use // 2)
            self._lower(in_use, KEPT_AFTER_REFUSAL)
        self.limit = max(self._least, min(self.limit, running - 1))
        self._wall = max(running, self.limit + 1)
        self._wall_until = now + WALL_SECONDS
        return self.limit < before

    def late(self, running: int, window: int) -> bool:
        """One of `running` was begun late; whether this lowered the limit."""
        if window != self.window or 2 * running < self.limit:
            return False
        before = self.limit
        self._lower(self.limit, KEPT_AFTER_DELAY)
        return self.limit < before

    def whole(self, running: int, now: float) -> bool:
        """An answer came whole while `running` ran, itself among them; whether this raised it."""
        if running < self.limit or self.limit >= self.most:
            return False
        self._whole += 1
        if self._whole < self.limit or (self.limit + 1 >= self._wall and now < self._wall_until):
            return False
        self.limit += 1
        self._whole = 0
        return True

    def _lower(self, of: int, share: float) -> None:
        self.limit = max(1, min(self.limit, int(of * share)))
        self.window += 1
        self._whole = 0
