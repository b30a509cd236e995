"""What is measured, each under a letter; a workload runs loads and says what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.bench import Bench
from tests.bench.workloads import (
    counting,
    crowd,
    designs,
    growth,
    multiplexed,
    setting_up,
    single,
    throughput,
)

__all__ = ["WORKLOADS", "Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One of them."""

    title: str
    run: Callable[[Bench], None]


WORKLOADS = {
    "A": Workload("many comparisons at the pace of real models", throughput.paced),
    "B": Workload("ten comparisons as fast as they go", throughput.full_speed),
    "C": Workload("one comparison alone", single.alone),
    "D": Workload("a thousand slow comparisons", crowd.a_thousand),
    "E": Workload("A and B over HTTP/2", multiplexed.over_http2),
    "F": Workload("setting comparisons up", setting_up.short_ones),
    "G": Workload("what grows with more", growth.more_of_everything),
    "H": Workload("what counting costs", counting.what_counting_costs),
    "M": Workload("three, six and nine models, asked in three ways", designs.waiting),
}
