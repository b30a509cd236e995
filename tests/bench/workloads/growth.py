"""G: does a chunk cost more when there are more comparisons, or more models in each?

And does the service occupy more the longer it works?
"""

from __future__ import annotations

from tests.bench.bench import Bench, Figure
from tests.bench.load import Load, Pace
from tests.bench.measuring import Measured
from tests.bench.processes import Process
from tests.bench.servers import Server

__all__ = ["BESIDE", "more_of_everything"]

TEN_A_SECOND = Pace(chunks=40, gap_ms=100)
"""Slow enough for a hundred comparisons to leave one processor some air."""
LONGER = Pace(chunks=80, gap_ms=100)
"""For a hundred, so that the last has begun long before the first ends."""
BESIDE = (1, 10, 30, 100)
MODELS = (1, 3, 6, 9)
STEADY = Load(comparisons=400, at_once=10, pace=Pace(chunks=30, gap_ms=10))
"""One comparison after the other on ten connections, each a third of a second long."""


def more_of_everything(bench: Bench) -> None:
    """Three rows of loads, in which one number grows; beside the first, asyncio's.

    What it takes to set a comparison up is F's figure, and left out of these. A chunk costs every
    server less when more of them come: an idle processor has to be woken, and its caches are cold.
    """
    with bench.serving(Server.SERVICE, Server.ASYNCIO) as running:
        for server, process in running.items():
            for comparisons in BESIDE:
                pace = LONGER if comparisons == max(BESIDE) else TEN_A_SECOND
                load = Load(comparisons=comparisons, pace=pace)
                row = bench.run("G", server, process, load)
                _say(bench, f"CPU per chunk, {comparisons} comparisons x 9 models, {server}", row)
        if Server.SERVICE in running:
            _grow_in_other_ways(bench, running[Server.SERVICE])


def _grow_in_other_ways(bench: Bench, process: Process) -> None:
    for models in MODELS:
        load = Load(comparisons=10, models=models, pace=TEN_A_SECOND)
        row = bench.run("G", Server.SERVICE, process, load)
        _say(bench, f"CPU per chunk, 10 comparisons x {models} models, {Server.SERVICE}", row)
    row = bench.run("G", Server.SERVICE, process, STEADY)
    bench.say(
        Figure(
            workload="G",
            name="memory gained by 100 comparisons at a steady load",
            value=100 * row.memory_kib_per_second * row.all_s / row.comparisons,
            unit="KiB",
        )
    )


def _say(bench: Bench, name: str, row: Measured) -> None:
    bench.say(Figure(workload="G", name=name, value=row.steady_us_per_chunk, unit="us"))
