"""Whether a provider begins to answer later than it used to: a queue that it does not tell of.

A provider that takes every request and lets them wait refuses nothing. What grows is the time to
the first byte. It is held against a baseline, as TCP Vegas and Netflix's concurrency-limits
(`Gradient2Limit`) do; these hold each round trip against a long average, for the minimum of many is
an accident, and so do we. Two things differ, because models do:

- a baseline for each model: one thinks for a second before its first byte, another for a minute;
- what is averaged is the ratio to it, over all models of the provider, as all of them wait in the
  same queue.

The baseline falls quickly and rises slowly: a queue must not become what is usual. It does rise,
for a provider that has become slower for good is not to be punished for ever.
"""

from __future__ import annotations

__all__ = ["Latency"]

TOLERATED = 2.0
"""Twice the usual is no noise any more; Netflix tolerates 1.5 by default, among answers of one
kind."""
WORTH_NOTICING = 0.25
"""Seconds. From 1 ms to 5 ms is five times as long, and nobody's queue."""
SAMPLE = 1 / 8
"""The share of a new ratio in the average, as in TCP's smoothed round trip (RFC 6298)."""
MOST_RATIO = 8.0
"""Of one answer: then a single one can't lift the average over what is tolerated."""
FALL = 1 / 4
RISE = 1 / 64
REMEMBERED = 256
"""Models of one provider; the one that was heard of first is forgotten first."""


class Latency:
    """The baselines of one provider's models, and how far from them it is."""

    def __init__(self) -> None:
        self._baselines: dict[str, float] = {}
        self._ratio = 1.0

    def note(self, model: str, seconds: float) -> bool:
        """Note one time to the first byte; whether it was a late one."""
        usual = self._baselines.get(model)
        if usual is None:
            if len(self._baselines) >= REMEMBERED:
                del self._baselines[next(iter(self._baselines))]
            self._baselines[model] = seconds
            return False
        self._baselines[model] = usual + (seconds - usual) * (FALL if seconds < usual else RISE)
        ratio = _ratio(seconds, usual)
        self._ratio += (ratio - self._ratio) * SAMPLE
        return ratio > TOLERATED

    def has_grown(self) -> bool:
        """Whether it is late on average. Said once: then it takes as much evidence again."""
        if self._ratio <= TOLERATED:
            return False
        self._ratio = 1.0
        return True


def _ratio(seconds: float, usual: float) -> float:
    if seconds - usual > WORTH_NOTICING:
        return min(seconds / usual, MOST_RATIO) if usual else MOST_RATIO
    return min(seconds / usual, 1.0) if usual else 1.0
