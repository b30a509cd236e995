"""D: a thousand comparisons that run at the same time, slowly."""

from __future__ import annotations

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load, Pace
from tests.bench.servers import Server

__all__ = ["a_thousand"]

THOUSAND = Load(
    comparisons=1000, models=3, pace=Pace(chunks=10, gap_ms=1000), begin_within_seconds=4
)


def a_thousand(bench: Bench) -> None:
    """What each of them occupies, and whether any of them fares worse than others."""
    with bench.serving(Server.SERVICE, Server.ASYNCIO) as running:
        for server, process in running.items():
            row = bench.run("D", server, process, THOUSAND)
            goal = Goal(at_most=100) if server is Server.SERVICE else None
            spread = row.added_mean_most_ms - row.added_mean_least_ms
            for name, value, unit, meant in (
                ("memory per running comparison", row.memory_per_comparison_kib, "KiB", goal),
                ("comparisons at once", row.most_at_once, "", None),
                ("mean added latency, the best comparison", row.added_mean_least_ms, "ms", None),
                ("mean added latency, the worst comparison", row.added_mean_most_ms, "ms", None),
                ("the spread between these", spread, "ms", None),
            ):
                bench.say(
                    Figure(
                        workload="D", name=f"{name}, {server}", value=value, unit=unit, goal=meant
                    )
                )
