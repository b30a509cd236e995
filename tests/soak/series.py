"""What is watched over time, how much of it may grow in an hour, and why so much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.soak.sampling import Sample
from tests.soak.slopes import FEWEST_BINS, Slope, Verdict, binned, judged, theil_sen

__all__ = ["SERIES", "SHORTEST", "Judgement", "Series", "judge"]

HOUR = 3600.0
SHORTEST = 120.0
"""Seconds of load. In less than that the slope of an hour is the noise of a moment, and none is
judged but that of descriptors without a connection, which have next to no noise."""


@dataclass(frozen=True, slots=True)
class Series:
    """One figure."""

    name: str
    unit: str
    of: Callable[[Sample], float | None]
    bound: float
    """The most that it may grow in an hour, where that is more than can be told from zero."""
    reason: str
    always: bool = False
    """Judged however short the run is."""
    most: float | None = None
    """Of a figure that fills up to a bound, and bends for hours before: what it may be at last.
    Then its slope is shown, and not judged."""


FOLLOWS_THE_LOAD = (
    "it follows the load, which is never the same twice; what is lost on a way that the load takes "
    "once a minute would be 60"
)
SERIES = (
    Series(
        "memory of its own",
        "MiB",
        lambda sample: sample.own_mib,
        16,
        "a day of that is 384 MiB; one task forgotten by each comparison is 100 at ten a second",
    ),
    Series("resident memory", "MiB", lambda sample: sample.rss_mib, 16, "as above"),
    Series(
        "descriptors without a connection",
        "",
        lambda sample: sample.unconnected,
        12,
        "one in five minutes: there are always the same few, and each that is lost stays",
        always=True,
    ),
    Series("descriptors", "", lambda sample: sample.descriptors, 60, FOLLOWS_THE_LOAD),
    Series("sockets", "", lambda sample: sample.sockets, 60, FOLLOWS_THE_LOAD),
    Series(
        "connections to providers",
        "",
        lambda sample: sample.provider_connections,
        60,
        FOLLOWS_THE_LOAD,
    ),
    Series("tasks", "", lambda sample: sample.tasks, 120, "two for each of those connections"),
    Series("threads", "", lambda sample: sample.threads, 4, "there are a handful"),
    Series(
        "samples at /metrics",
        "",
        lambda sample: sample.series,
        0,
        "labels are bounded whatever is asked: a hundred models, each with the four ways to end "
        "that it has here, and 70 samples for each; of the models 3 % have names never used before",
        most=40_000,
    ),
    Series(
        "answer to /health, middle",
        "ms",
        lambda sample: sample.health_p50_ms,
        5,
        "after a night of eight hours that is 40 ms, as much as a beat of the pulse",
    ),
    Series(
        "answer to /health, 99th",
        "ms",
        lambda sample: sample.health_p99_ms,
        20,
        "four times the middle's: the machine's noise is in it",
    ),
    Series("scheduler's lag, 99th", "ms", lambda sample: sample.lag_p99_ms, 20, "as above"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What came of one series."""

    name: str
    unit: str
    first: float
    last: float
    """The medians of the first and the last bin."""
    slope: Slope | None
    """For an hour; None: too few samples."""
    bound: float
    most: float | None
    reason: str
    verdict: Verdict


def judge(samples: Sequence[Sample]) -> list[Judgement]:
    """Each series over the samples of the load; those that nobody could see are left out."""
    judgements = []
    for series in SERIES:
        points = [
            (sample.at / HOUR, value)
            for sample in samples
            if (value := series.of(sample)) is not None
        ]
        bins = binned(points)
        if not bins:
            continue
        slope = theil_sen(bins) if len(bins) >= FEWEST_BINS else None
        long_enough = HOUR * (points[-1][0] - points[0][0]) >= SHORTEST
        verdict = judged(slope, series.bound)
        if series.most is not None:
            verdict = "grows" if bins[-1][1] > series.most else "below the bound"
        elif not (series.always or long_enough):
            verdict = "too short to tell"
        judgements.append(
            Judgement(
                name=series.name,
                unit=series.unit,
                first=bins[0][1],
                last=bins[-1][1],
                slope=slope,
                bound=series.bound,
                most=series.most,
                reason=series.reason,
                verdict=verdict,
            )
        )
    return judgements
