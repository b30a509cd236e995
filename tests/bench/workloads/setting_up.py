"""F: what a comparison costs before and after its chunks."""

from __future__ import annotations

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load, Pace
from tests.bench.servers import Server

__all__ = ["short_ones"]

SHORT = Load(comparisons=500, at_once=20, pace=Pace(chunks=1, gap_ms=0))
WARM = Load(comparisons=60, at_once=20, pace=Pace(chunks=1, gap_ms=0))
"""Before it, so that connections to the provider are there where a server keeps them."""


def short_ones(bench: Bench) -> None:
    """Comparisons of nine models with one chunk each, on connections that are there."""
    with bench.serving(Server.SERVICE, Server.ASYNCIO) as running:
        for server, process in running.items():
            bench.run("warm-up", server, process, WARM)
            row = bench.run("F", server, process, SHORT)
            goal = Goal(at_most=4) if server is Server.SERVICE else None
            bench.say(
                Figure(
                    workload="F",
                    name=f"CPU per comparison, {server}",
                    value=row.cpu_ms_per_comparison,
                    unit="ms",
                    goal=goal,
                )
            )
