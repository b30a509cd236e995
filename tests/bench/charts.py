"""The charts of the README, drawn from one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from statistics import median

from tests.bench.measuring import Measured
from tests.bench.servers import Server
from tests.bench.svg import Bar, Curve, Group, bars, lines
from tests.bench.workloads.designs import DESIGNS, MODELS
from tests.bench.workloads.growth import BESIDE

__all__ = ["draw"]

COMPETITORS = {
    # Not the thread pool: at a pace it comes to 300 chunks a second, and so few cost anybody more.
    "A": (Server.SERVICE, Server.ASYNCIO, Server.DRAFT),
    "B": (Server.SERVICE, Server.ASYNCIO, Server.DRAFT, Server.POOL),
}


def draw(rows: Sequence[Measured], folder: Path) -> list[Path]:
    """Write the charts for which there are figures; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    right = [row for row in rows if not row.wrong]
    written = []
    for name, chart in (
        ("cpu-per-chunk.svg", _cpu_per_chunk(right)),
        ("wall-clock.svg", _wall_clock(right)),
        ("growth.svg", _growth(right)),
    ):
        if chart is not None:
            written.append(folder / name)
            written[-1].write_text(chart, encoding="utf-8")
    return written


def _cpu_per_chunk(rows: Sequence[Measured]) -> str | None:
    groups = []
    for workload, heading in (
        ("A", "50 comparisons of 9 models, a chunk every 20 ms"),
        ("B", "10 comparisons of 9 models, as fast as they go"),
    ):
        of_workload = [row for row in rows if row.workload == workload]
        if of_workload:
            groups.append(
                Group(
                    heading,
                    _of_each(of_workload, COMPETITORS[workload], lambda row: row.cpu_us_per_chunk),
                )
            )
    if not groups:
        return None
    return bars(
        "Processor time for each chunk",
        f"Microseconds, less is better. {_in_words(groups, 'microseconds')} "
        "The thread pool was given a tenth of the load.",
        "µs",
        groups,
    )


def _wall_clock(rows: Sequence[Measured]) -> str | None:
    single = [row for row in rows if row.workload == "M" and row.comparisons == 1]
    groups = [
        Group(f"{models} models", _of_each(asked, DESIGNS, lambda row: row.wall_p50_s))
        for models in MODELS
        if (asked := [row for row in single if row.models == models])
    ]
    if not groups:
        return None
    return bars(
        "How long one question takes, when each model writes for two seconds",
        f"Seconds, less is better. {_in_words(groups, 'seconds')}",
        "s",
        groups,
    )


def _growth(rows: Sequence[Measured]) -> str | None:
    curves = []
    for server in (Server.SERVICE, Server.ASYNCIO):
        grown = [row for row in rows if row.workload == "G" and row.server == server]
        points = [
            (float(row.comparisons), row.steady_us_per_chunk)
            for row in grown[: len(BESIDE)]
            if not isnan(row.steady_us_per_chunk)
        ]
        if len(points) > 1:
            curves.append(Curve(str(server), points, ours=server is Server.SERVICE))
    if not curves:
        return None
    said = " ".join(
        f"{curve.name}: "
        + ", ".join(f"{up:.3g} at {across:g}" for across, up in curve.points)
        + "."
        for curve in curves
    )
    return lines(
        "Processor time for each chunk, the more comparisons run",
        "Microseconds; nine models in each comparison, ten chunks a second from each. "
        f"An idle processor takes longer for everything, whoever asks it. {said}",
        ("comparisons at once", "µs a chunk"),
        curves,
    )


def _of_each(
    rows: Sequence[Measured], servers: Sequence[Server], value: Callable[[Measured], float]
) -> list[Bar]:
    """A bar for each server that ran: the median of its turns."""
    found = []
    for server in servers:
        values = [value(row) for row in rows if row.server == server]
        if values:
            found.append(Bar(str(server), median(values), ours=server is Server.SERVICE))
    return found


def _in_words(groups: Sequence[Group], unit: str) -> str:
    """The same figures for whoever does not see the chart."""
    return " ".join(
        f"{group.heading}: {', '.join(f'{bar.name} {bar.value:.3g} {unit}' for bar in group.bars)}."
        for group in groups
    )
