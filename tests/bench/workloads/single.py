"""C: does one comparison take longer than its slowest model, and how long is a chunk on its way?"""

from __future__ import annotations

from statistics import median

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load, Pace
from tests.bench.servers import Server

__all__ = ["alone"]

ONE = Load(comparisons=1, pace=Pace(chunks=200, gap_ms=10))
TIMES = 3


def alone(bench: Bench) -> None:
    """Of the service with its goals, of asyncio beside it."""
    with bench.serving(Server.SERVICE, Server.ASYNCIO) as running:
        for server, process in running.items():
            times = 1 if bench.quick else TIMES
            rows = [bench.run("C", server, process, ONE) for _ in range(times)]
            for name, values, unit, most in (
                ("wall / slowest model", [row.wall_over_slowest for row in rows], "", 1.01),
                ("added latency, median", [row.added_p50_ms for row in rows], "ms", 1.0),
                ("added latency, 99 of 100", [row.added_p99_ms for row in rows], "ms", 5.0),
            ):
                goal = Goal(at_most=most) if server is Server.SERVICE else None
                bench.say(
                    Figure(
                        workload="C",
                        name=f"{name}, {server}",
                        value=median(values),
                        unit=unit,
                        goal=goal,
                    )
                )
