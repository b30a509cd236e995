"""E: the same over HTTP/2, several comparisons on a connection."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load
from tests.bench.processes import Process
from tests.bench.servers import Server
from tests.bench.workloads.throughput import FULL_SPEED, PACED

__all__ = ["over_http2"]

COMPARISONS_PER_CONNECTION = 5
TURNS = 2


def over_http2(bench: Bench) -> None:
    """Each load over HTTP/1.1 and over HTTP/2 in turn, by the same process."""
    with bench.serving(Server.SERVICE) as running:
        for process in running.values():
            for name, load in (("at a pace", PACED), ("at full speed", FULL_SPEED)):
                shared = replace(
                    load, http2_connections=load.comparisons // COMPARISONS_PER_CONNECTION
                )
                ratios = [
                    _cost(bench, process, shared) / _cost(bench, process, load)
                    for _ in range(1 if bench.quick else TURNS)
                ]
                bench.say(
                    Figure(
                        workload="E",
                        name=f"CPU per chunk, HTTP/2 / HTTP/1.1, {name}",
                        value=median(ratios),
                        goal=Goal(at_most=1.15),
                    )
                )


def _cost(bench: Bench, process: Process, load: Load) -> float:
    return bench.run("E", Server.SERVICE, process, load).cpu_us_per_chunk
