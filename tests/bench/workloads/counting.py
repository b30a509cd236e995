"""H: what the figures of `/metrics` cost a chunk.

The steps by which a chunk is counted are timed alone, in this process; what a chunk costs
altogether is measured beside it, under a load at which every chunk comes by itself. Under more load
several come together and share one count, as they share everything else.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from statistics import median

import trio

from service.account import Account
from service.meter import Meter
from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load, Pace
from tests.bench.servers import Server

__all__ = ["what_counting_costs"]

ALONE = Load(comparisons=10, pace=Pace(chunks=100, gap_ms=60))
"""1500 chunks a second: too few for anybody to wait for a beat (`service.pulse`)."""
CHUNKS = 50_000
ROUNDS = 9
"""Of which the fastest counts: what disturbs can only add."""


def what_counting_costs(bench: Bench) -> None:
    """H."""
    with bench.serving(Server.SERVICE) as running:
        rows = [
            bench.run("H", server, process, ALONE)
            for _ in range(1 if bench.quick else 3)
            for server, process in running.items()
        ]
    counting = trio.run(_counting_us)
    bench.say(
        Figure(workload="H", name="counting a chunk that comes alone", value=counting, unit="us")
    )
    if rows:
        share = counting / median(row.cpu_us_per_chunk for row in rows)
        bench.say(
            Figure(
                workload="H",
                name="the same / CPU per chunk, service",
                value=share,
                goal=Goal(at_most=0.02),
            )
        )


async def _counting_us() -> float:
    return min(_once() for _ in range(ROUNDS))


def _once() -> float:
    """Microseconds for each chunk: what `Body`, `Account` and `Answer` do for counts."""
    meter = Meter()
    gaps = [0] * (len(Account.PACE_SECONDS) + 1)
    wrote_at = now = 0.0
    began = time.perf_counter()
    for _ in range(CHUNKS):
        came_at = trio.current_time()
        gaps[bisect_left(Account.PACE_SECONDS, came_at - wrote_at)] += 1
        wrote_at = came_at
        meter.stream_bytes += 100
        meter.added.observe(now - came_at, 1)
    return (time.perf_counter() - began) / CHUNKS * 1e6
