"""One run of the benchmark: its provider, its servers, and what has been measured so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

import click

from tests.bench.load import Load, Pace
from tests.bench.measuring import Measured, measured
from tests.bench.processes import DidNotStart, Process, started
from tests.bench.servers import Server, serving

__all__ = ["Bench", "Figure", "Goal", "Servers", "open_bench"]

Servers = dict[Server, Process]

WARM_UP = Load(comparisons=20, at_once=5, pace=Pace(20, 0))
"""So that what a server does only once, at its first requests, is in nobody's figures."""
PATIENCE_SECONDS = 90
"""For one load; the longest takes some 20 s on a machine that is not busy."""
ROW = "{:12} {:44} {:>8} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9} {:>7}"
HEADINGS = (
    ROW.format(
        *("", "comparisons x models x chunks", "CPU us", "", "added", "added", "first", "wall"),
        *("wall over", "idle", "peak", "others'"),
    )
    + "\n"
    + ROW.format(
        *(
            "server",
            "",
            "/chunk",
            "chunks/s",
            "p50 ms",
            "p99 ms",
            "chunk ms",
            "s",
            "slowest",
            "MiB",
        ),
        *("MiB", "CPU"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure is meant to be."""

    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Whether a figure is as good as that."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is None or value >= self.at_least

    def __str__(self) -> str:
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the figures that the whole is about."""

    workload: str
    name: str
    value: float
    unit: str = ""
    goal: Goal | None = None

    def __str__(self) -> str:
        said = f"{self.workload}  {self.name:58} {self.value:9.3f} {self.unit:10}"
        if isnan(self.value):
            return f"{self.workload}  {self.name:58} no figure, see its rows"
        if self.goal is None:
            return said.rstrip()
        return f"{said} {self.goal!s:>8}  {'met' if self.goal.met(self.value) else 'missed'}"


@dataclass(slots=True)
class Bench:
    """Runs loads, prints what came of each, and keeps it."""

    provider: Process
    service_root: Path
    quick: bool = False
    rows: list[Measured] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    left_out: dict[Server, str] = field(default_factory=dict)
    """Who could not be measured, and why."""

    @property
    def wrong(self) -> dict[str, int]:
        """What was wrong with any stream, and in how many."""
        return Counter(
            f"{row.workload} {row.server}: {said}" for row in self.rows for said in row.wrong
        )

    @contextmanager
    def serving(self, *servers: Server) -> Iterator[Servers]:
        """These servers, freshly started and warm; without those that do not start."""
        with ExitStack() as stack:
            running: Servers = {}
            for server in servers:
                try:
                    process = stack.enter_context(
                        serving(server, self.provider.port, self.service_root)
                    )
                except DidNotStart as exc:
                    self.left_out[server] = str(exc)
                    click.echo(f"{server:12} left out, it did not start: {exc}")
                    continue
                running[server] = process
                self.run("warm-up", server, process, WARM_UP)
            yield running

    def run(self, workload: str, server: Server, process: Process, load: Load) -> Measured:
        """Run a load; with `quick` a tenth of it."""
        return self._measured(workload, server, process, load.tenth() if self.quick else load)

    def say(self, figure: Figure) -> None:
        """Keep one of the figures that count."""
        self.figures.append(figure)

    def headline(self, workload: str, title: str) -> None:
        """Begin a workload's table."""
        click.echo(f"\n{workload}: {title}\n{HEADINGS}")

    def _measured(self, workload: str, server: Server, process: Process, load: Load) -> Measured:
        row = measured(workload, str(server), process, self.provider, load, PATIENCE_SECONDS)
        self.rows.append(row)
        if workload != "warm-up":
            click.echo(_as_line(row))
        for said in row.wrong[:3]:
            click.echo(f"{'':12} WRONG, one of {len(row.wrong)}: {said}")
        return row


def _as_line(row: Measured) -> str:
    return ROW.format(
        row.server,
        row.load,
        f"{row.cpu_us_per_chunk:.1f}",
        f"{row.chunks_per_second:.0f}",
        f"{row.added_p50_ms:.2f}",
        f"{row.added_p99_ms:.2f}",
        f"{row.first_chunk_p50_ms:.1f}",
        f"{row.wall_most_s:.2f}",
        f"{row.wall_over_slowest:.4f}",
        f"{row.memory_before_kib / 1024:.1f}",
        f"{row.memory_peak_kib / 1024:.1f}",
        f"{row.others_cpu_share:.0%}",
    )


@contextmanager
def open_bench(service_root: Path, *, quick: bool = False) -> Iterator[Bench]:
    """A benchmark with its provider."""
    with started("tests.bench.provider") as provider:
        yield Bench(provider, service_root, quick)
