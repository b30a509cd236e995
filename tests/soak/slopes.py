"""Does it grow? A robust slope with its interval, and what is made of the two.

Samples that are taken every second or two are not independent: what a process holds at one moment
it holds at the next. So they are gathered in bins, each the median of its samples, and the slope is
that of the bins. It is Theil and Sen's: the median of the slopes between all pairs, which a quarter
of wild values can't move. Its interval is Sen's, from Kendall's test of order ("Estimates of the
regression coefficient based on Kendall's tau", 1968), with the variance corrected for ties, since
counts of descriptors are full of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median
from typing import Literal, TypeAlias

__all__ = ["BINS", "FEWEST_BINS", "Slope", "Verdict", "binned", "judged", "theil_sen"]

Point: TypeAlias = tuple[float, float]
Verdict: TypeAlias = Literal["flat", "below the bound", "grows", "too short to tell"]

BINS = 30
"""The longer the run, the longer a bin, and the less two of them have to do with each other. Thirty
are 435 pairs: enough for the interval's normal approximation, which holds from ten bins on."""
FEWEST_BINS = 6
"""With five the interval of 95 % is as wide as all slopes together."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Slope:
    """Per unit of the points' first coordinate."""

    middle: float
    low: float
    high: float
    """The interval that holds the true slope with a probability of 95 %."""

    @property
    def is_zero(self) -> bool:
        """Whether it can't be told from nothing."""
        return self.low <= 0 <= self.high


def binned(points: Sequence[Point], bins: int = BINS) -> list[Point]:
    """The medians of stretches of equal length; a stretch without a point is left out."""
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    width = (last - first) / bins
    gathered: dict[int, list[Point]] = {}
    for point in points:
        place = min(bins - 1, int((point[0] - first) / width)) if width > 0 else 0
        gathered.setdefault(place, []).append(point)
    return [
        (median(x for x, _ in inside), median(y for _, y in inside))
        for _, inside in sorted(gathered.items())
    ]


def theil_sen(points: Sequence[Point], confidence: float = CONFIDENCE) -> Slope:
    """The slope of these points, each with an x of its own; raises `ValueError` below two."""
    slopes = sorted(
        (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2
    )
    if not slopes:
        raise ValueError("a slope needs two points")
    count, pairs = len(points), len(slopes)
    ties = Counter(y for _, y in points).values()
    variance = (
        count * (count - 1) * (2 * count + 5) - sum(k * (k - 1) * (2 * k + 5) for k in ties)
    ) / 18
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(0.0, variance))
    # The bounds are among the slopes themselves; where the interval is wider, the outermost.
    low = max(0, round((pairs - reach) / 2) - 1)
    high = min(pairs - 1, round((pairs + reach) / 2))
    return Slope(median(slopes), slopes[low], slopes[high])


def judged(slope: Slope | None, bound: float) -> Verdict:
    """What a slope means against the most that is borne; only `grows` is a failure.

    `flat`: it can't be told from zero, or falls. `below the bound`: it is there, and is borne.
    `too short to tell`: it can't be told from zero, but neither from more than the bound: the run
    is too short, or the machine too noisy, to promise anything.
    """
    if slope is None:
        return "too short to tell"
    if slope.low > 0:
        return "grows" if slope.middle > bound else "below the bound"
    if slope.high > bound:
        return "too short to tell"
    return "flat"
