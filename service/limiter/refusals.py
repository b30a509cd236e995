"""What a refusal may be about, other than how many run: one model, or a place that is not free yet.

A provider says "too many" in the same words for all of these, and only the circumstances tell. To
take each of them for a limit of the whole provider is how one model's limit, or a counter that
lags, would take everybody's places away.

- **A model of its own limit.** It is refused, others are answered, it is refused again: `Refused`.
- **A place that is not free yet.** An answer's last byte is here before the provider's count of
  requests, which a balancer keeps or another machine, has gone down. The next request, sent at
  once, is one too many there, although no more run than ran well a moment ago: `Rest`. Fewer at
  once would be the wrong cure, as many answers may end in the same moment; a place that rests a
  moment before it is given again is the right one. How long is found by trying, as nobody tells.
"""

from __future__ import annotations

import math

__all__ = ["Refused", "Rest"]

REMEMBERED = 256
"""Models of one provider; the one that was refused first is forgotten first."""
RESTS = (0.0, 0.05, 0.15)
"""Seconds that a place rests: none until there is a reason, then enough for a count that lags by 30
to 100 ms. What takes longer is taken for a lower limit. An answer takes seconds, so that even the
longest costs a hundredth or two."""
RESTS_FOR = 300.0
"""Seconds without such a refusal until a shorter rest is tried: it may have been another reason.
One burst of refusals in five minutes is what that costs where it was the right one."""


class Refused:
    """The models of one provider whose last word was a refusal."""

    def __init__(self) -> None:
        self._answered = 0
        self._since: dict[str, int] = {}
        """For each of them, how many requests had been answered when it was refused first."""

    def answered(self, model: str) -> None:
        """The provider has begun to answer this one."""
        self._answered += 1
        self._since.pop(model, None)

    def again(self, model: str) -> bool:
        """It was refused; whether that is its own: it was before, and others were answered since.

        Its first refusal is always the provider's: where many models wait for few places, each may
        be the one that is refused.
        """
        since = self._since.get(model)
        if since is not None:
            return since < self._answered
        if len(self._since) >= REMEMBERED:
            del self._since[next(iter(self._since))]
        self._since[model] = self._answered
        return False


class Rest:
    """How long a place rests between two requests."""

    def __init__(self) -> None:
        self._step = 0
        self._until = math.inf

    def seconds(self, now: float) -> float:
        """How long that is now."""
        if now >= self._until:
            self._step -= 1
            self._until = now + RESTS_FOR if self._step else math.inf
        return RESTS[self._step]

    def is_too_short(self, since_freed: float, now: float) -> bool:
        """A request was refused that was made so many seconds after a place was given back, with
        no more at once than ran well before; whether a longer rest may be the cure, and is taken.
        """
        if self._step + 1 == len(RESTS) or since_freed >= RESTS[-1]:
            return False
        self._step += 1
        self._until = now + RESTS_FOR
        return True
