"""What a process takes while a load runs: looked at now and then, by the recordings' clock."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from statistics import linear_regression

from tests.bench.processes import Process

__all__ = ["Look", "Watch", "busy_seconds"]

SECONDS_BETWEEN = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """What a process had taken at one moment."""

    moment: int
    """Monotonic nanoseconds."""
    cpu_s: float
    memory_kib: float


@dataclass(slots=True)
class Watch:
    """The looks at one process, oldest first."""

    process: Process
    looks: list[Look] = field(default_factory=list)

    def look(self) -> float:
        """Look; says in how many seconds it is time for the next.

        A process that is gone has taken nothing that could be told: NaN.
        """
        try:
            cpu_s, memory_kib = self.process.processor_seconds(), self.process.resident_kib()
        except OSError:
            cpu_s = memory_kib = nan
        self.looks.append(Look(time.monotonic_ns(), cpu_s, memory_kib))
        return SECONDS_BETWEEN

    @property
    def peak_kib(self) -> float:
        """The most memory that was seen."""
        return max(look.memory_kib for look in self.looks)

    def between(self, begin: int, end: int) -> tuple[Look, Look] | None:
        """The first and the last look between two moments; None without two."""
        inside = [look for look in self.looks if begin <= look.moment <= end]
        return (inside[0], inside[-1]) if len(inside) > 1 else None

    def kib_per_second(self) -> float:
        """How fast the memory grew in the second half, once every buffer had been there."""
        later = self.looks[len(self.looks) // 2 :]
        if len(later) < 2:
            return 0
        moments = [look.moment / 1e9 for look in later]
        return linear_regression(moments, [look.memory_kib for look in later]).slope


def busy_seconds() -> float:
    """What everything on this machine has taken of its processors, other machines' share too."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting_for_a_disk = ticks[3:5]
    return (sum(ticks) - idle - waiting_for_a_disk) / os.sysconf("SC_CLK_TCK")
