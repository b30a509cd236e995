"""A and B: the processor's time for each chunk, beside that of other servers.

The servers take turns, so that a slow moment of the machine meets them all; what counts is the
median of the ratios of one turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load, Pace
from tests.bench.servers import Server

__all__ = ["FULL_SPEED", "PACED", "full_speed", "paced"]

PACED = Load(comparisons=50, pace=Pace(chunks=200, gap_ms=20))
FULL_SPEED = Load(comparisons=10, pace=Pace(chunks=2000, gap_ms=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """One load, who runs it, and how often."""

    workload: str
    load: Load
    pool_load: Load
    """For the thread pool, which asks six models at once on two processors, and would take minutes
    for the whole."""
    turns: Mapping[Server, int]
    goals: Mapping[Server, Goal]
    """For the service's share of what another takes."""


def paced(bench: Bench) -> None:
    """A."""
    _run(
        bench,
        Race(
            workload="A",
            load=PACED,
            pool_load=Load(comparisons=5, pace=Pace(chunks=50, gap_ms=20)),
            turns={Server.SERVICE: 3, Server.ASYNCIO: 3, Server.DRAFT: 2},
            goals={Server.ASYNCIO: Goal(at_most=0.40), Server.DRAFT: Goal(at_most=0.12)},
        ),
    )


def full_speed(bench: Bench) -> None:
    """B."""
    _run(
        bench,
        Race(
            workload="B",
            load=FULL_SPEED,
            pool_load=Load(comparisons=10, pace=Pace(chunks=200, gap_ms=0)),
            turns={Server.SERVICE: 3, Server.ASYNCIO: 3, Server.DRAFT: 1},
            goals={Server.ASYNCIO: Goal(at_most=0.20)},
        ),
    )


def _run(bench: Bench, race: Race) -> None:
    costs: dict[Server, list[float]] = {}
    with bench.serving(*race.turns) as running:
        for turn in range(1 if bench.quick else max(race.turns.values())):
            for server, process in running.items():
                if turn < race.turns[server]:
                    row = bench.run(race.workload, server, process, race.load)
                    costs.setdefault(server, []).append(row.cpu_us_per_chunk)
    with bench.serving(Server.POOL) as running:
        for server, process in running.items():
            row = bench.run(race.workload, server, process, race.pool_load)
            costs[server] = [row.cpu_us_per_chunk]
    for server, spent in costs.items():
        smaller = f", of {race.pool_load}" if server is Server.POOL else ""
        name = f"CPU per chunk, {server}{smaller}"
        bench.say(Figure(workload=race.workload, name=name, value=median(spent), unit="us"))
    for server in (Server.ASYNCIO, Server.DRAFT):
        turns = list(zip(costs.get(Server.SERVICE, ()), costs.get(server, ()), strict=False))
        if turns:
            bench.say(
                Figure(
                    workload=race.workload,
                    name=f"CPU per chunk, {Server.SERVICE} / {server}",
                    value=median(ours / theirs for ours, theirs in turns),
                    goal=race.goals.get(server),
                )
            )
