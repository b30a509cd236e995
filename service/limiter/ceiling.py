"""How many requests at once a provider takes: a number that is learned from what it says.

No provider tells it. What it tells is a refusal (429, 503, 529), or that it begins to answer later
than it used to. So the number is found as TCP finds a network's capacity (RFC 5681): up by one for
each window of answers that came whole while all places were taken, down by a share when something
is lost.

- **Down once for each burst.** Nine requests that leave together bring four refusals, and they are
  one piece of news. A request knows the window in which it began; one from an earlier window than
  the last decrease takes no further share off (TCP: NewReno's `recover`, RFC 6582).
- **What was refused is counted.** TCP sees losses, we see a count: of `n` at once a provider that
  refuses `k` takes `n - k`. `n` is how many there were when the burst began: those that run later
  become fewer because they end, and that says nothing. So after the fourth of nine five is not a
  guess.
- **Down by how many ran well**, not by a number that nobody used (RFC 5681, `FlightSize`): a
  ceiling of 1000 is no knowledge. And not below half of it, whatever one burst brings.
- **What is answered is taken.** The limit does not fall below the number of those that were asked
  since the last news and are being answered; it rises to it, if they turn out to be answered later
  (as TCP takes back a decrease that later acknowledgements show to have been none: Eifel,
  RFC 4015). Those that run from before may be more than are taken now.
- **Who is refused alone tells nothing of how many.** A limit of requests at once has some that are
  being answered. A burst in which all were refused, be it of one request, is a limit by the minute,
  of a model, or an outage; it is taken back.
- **The wall is left alone for a while.** The number that was refused is approached, and not touched
  again before `WALL_SECONDS` are over, as CUBIC (RFC 9438) lingers below its last maximum: else
  every window of a busy provider would end in a refusal.
- **Up only when it is used**, as a number that nobody reaches for is not tested by any success.

Refusals that are explained without the number of requests do not come here: `refusals.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Ceiling"]

KEPT_AFTER_REFUSAL = 0.7
"""CUBIC's share: half would leave a provider of five with two, until ten answers later."""
KEPT_AFTER_DELAY = 0.9
"""Being late is a weaker sign than a refusal: the question may have been a long one. Netflix's
limiters (concurrency-limits, `AIMDLimit`) take the same for a slow answer."""
FEW = 8
"""As many are believed to run well before any did, if so many are allowed: of three first requests
one may be refused for reasons of its own, and that two places are all is no conclusion from it."""
WALL_SECONDS = 30.0
"""Some refusals an hour are what it costs to notice that a provider takes more than it did; each is
tried again after a second or so, and a reader hardly sees it."""


@dataclass(slots=True)
class _Burst:
    """Refusals that are one piece of news, and what was held before them."""

    at_once: int
    least: int
    limit_before: int
    wall_before: int | float
    wall_until_before: float
    refused: int = 0
    some_were_taken: bool = False


class Ceiling:
    """The number as it is now; it starts at `most`, which is what the operator believes in.

    A start from below would make the first question after every start of the process a slow one;
    from above, it costs one burst of refusals at worst, all of which are asked again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = most
        self.window = 0
        """Goes up with each piece of news; whoever begins to ask remembers it."""
        self.ran_well = 0
        """The most that were answered at once since the limit was lowered last."""
        self._burst: _Burst | None = None
        """The last piece of news, if it was refusals that told of how many."""
        self._whole = 0
        self._wall: int | float = math.inf
        self._wall_until = -math.inf

    def allow(self, most: int) -> None:
        """The operator believes in another number.

        Who has learned nothing yet believes it, too. What was learned stays as far as it may, for
        it is about the provider; from there it goes up as it always does.
        """
        if self.limit == self.most or self.limit > most:
            self.limit = most
        if self._burst is not None:  # what was held before it may be believed in again
            self._burst.limit_before = min(self._burst.limit_before, most)
            self._burst.least = min(self._burst.least, most)
        self.most = most

    def taken(self, answered: int) -> bool:
        """So many are being answered at once, one more than before; whether this raised it."""
        self.ran_well = max(self.ran_well, answered)
        if self._burst is None:
            return False
        self._burst.some_were_taken = True
        if answered <= self.limit:
            return False
        self.limit = min(answered, self.most)
        return True

    def refused(
        self,
        at_once: int,
        window: int,
        now: float,
        *,
        answered: int = 0,
        unanswered: int = 0,
        together: int = 0,
    ) -> bool:
        """One was refused, of `at_once`, which began in `window`; whether this changed the limit.

        Of the others, so many are being answered, and so many were not told anything yet. Of those
        that are answered, `together` began in the same window.
        """
        before = self.limit
        if window == self.window:
            self._begin_burst(at_once, together)
        burst = self._burst
        if burst is None:
            return False  # of a piece of news that was no such burst
        burst.refused += 1
        burst.some_were_taken = burst.some_were_taken or answered > 0
        if not unanswered and not burst.some_were_taken:
            self.limit = burst.limit_before
            self._wall, self._wall_until = burst.wall_before, burst.wall_until_before
            return self.limit != before
        took = burst.at_once - burst.refused
        self.limit = max(burst.least, min(self.limit, took))
        self.ran_well = min(self.ran_well, self.limit)
        self._wall = max(took, self.limit) + 1
        self._wall_until = now + WALL_SECONDS
        return self.limit != before

    def explained(self) -> None:
        """What is heard now is about something else, and so is what else was asked by now."""
        self.window += 1
        self._burst = None

    def late(self, running: int, window: int) -> bool:
        """One of `running` was begun late; whether this lowered the limit."""
        if window != self.window or 2 * running < self.limit:
            return False
        before = self.limit
        self._burst = None
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

    def _begin_burst(self, at_once: int, together: int) -> None:
        in_use = min(self.limit, max(at_once, self.ran_well, FEW))
        least = min(self.limit, max(1, in_use // 2, together))
        self._burst = _Burst(at_once, least, self.limit, self._wall, self._wall_until)
        self._lower(in_use, KEPT_AFTER_REFUSAL)

    def _lower(self, of: int, share: float) -> None:
        self.limit = max(1, min(self.limit, int(of * share)))
        self.window += 1
        self._whole = 0
