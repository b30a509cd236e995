"""What must be as before when nothing is asked any more."""

from __future__ import annotations

from collections.abc import Mapping

from tests.soak.ledger import Ledger
from tests.soak.metrics import Metrics
from tests.soak.sampling import Sample

__all__ = ["AFTER", "BEFORE", "BETWEEN", "grown_meanwhile", "left_over", "told_otherwise"]

BEFORE, BETWEEN, AFTER = "rest before", "rest between", "rest after"
STILL_MIB = 6.0
"""By how much memory differs between two moments of rest with nothing lost in between: what the
allocator keeps, and garbage that waits for its collection."""
STILL_BYTES = 256
"""More for each comparison; the smallest thing that could be forgotten of one is larger."""
FETCHING = 3
"""Tasks: lists of models are fetched all the time, also from those who can't be reached."""
WARM_MIB = 24.0
"""More where there was no warm-up: what is imported late, caches, and the first peak."""


def left_over(base: Sample | None, sample: Sample, ledger: Ledger, *, short: bool) -> list[str]:
    """What is there that should not be, against the service as it had just begun to serve.

    A connection to a provider that waits for its next request expires after 4 s, and a thread
    after 10 s: a `short` run waits for neither, and counts what the provider knows to be idle.
    """
    left = []
    if ledger.open:
        left.append(f"{ledger.open} comparisons have not ended in the log")
    if sample.comparisons:
        left.append(f"{sample.comparisons} comparisons run, by the service's own figures")
    in_use = sample.provider_busy if short else sample.provider_connections
    if in_use:
        left.append(f"{in_use} connections to providers are open")
    if base is None:
        return left
    idle = sample.provider_connections - base.provider_connections if short else 0
    for name, kept in (
        ("descriptors", idle),
        ("sockets", idle),
        ("unconnected", 0),
        ("tasks", FETCHING),
        *([] if short else [("threads", 0)]),
    ):
        before, now = getattr(base, name), getattr(sample, name)
        # Fewer is no fault: a thread that was needed for the start may have ended.
        if before is not None and now is not None and now - kept > before:
            left.append(f"{now - kept - before} {name} more than at the beginning")
    return left


def told_otherwise(metrics: Metrics | None, ledger: Ledger, asked: Mapping[str, int]) -> list[str]:
    """Where the service's own figures are not what was seen; nothing where it has none.

    `asked`: how many requests each provider has got. Among the service's are those that began to
    leave and were cut off by a client that left: of these clients many leave at once.
    """
    if metrics is None:
        return []
    found = []
    ended = metrics.total("compare_comparisons_ended_total")
    if ended is not None and ended != ledger.ended:
        found.append(f"/metrics says {ended:g} comparisons have ended, the log {ledger.ended}")
    for provider, seen in asked.items():
        told = metrics.total("compare_provider_requests_total", provider=provider)
        if told is not None and not 0.99 * seen - 3 <= told <= 1.05 * seen + 10:
            found.append(f"/metrics says {told:g} requests to {provider}, who has seen {seen}")
    return found


def grown_meanwhile(rests: Mapping[str, Sample], comparisons: int) -> list[str]:
    """Whether the load has left memory behind; the warm-up before it may fill what is kept."""
    if AFTER not in rests:
        return []
    before, may = rests.get(BETWEEN), STILL_MIB + STILL_BYTES * comparisons / (1 << 20)
    if before is None:
        before, may = rests[BEFORE], may + WARM_MIB
    grown = rests[AFTER].own_mib - before.own_mib
    return [f"{grown:.1f} MiB more at rest after the load; {may:.1f} may be"] if grown > may else []
