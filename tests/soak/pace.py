"""How many comparisons a second: what is asked for, or what leaves the machine some room.

Sixty per cent of a core is where a service should be run at most: above it what comes at random
begins to wait for what came before it, at eighty per cent twice as long and at ninety four times
(the queue of one server), and a soak would measure the queue. It is processor time that is counted,
not time on the wall, so that what else runs on the machine does not change the rate. The harness
needs its share too: where it is the slower one, it sets the rate, and the report says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from tests.chaos.service_under_test import processor_seconds

__all__ = ["Pace", "allowed"]

FIRST_RATE = 4.0
"""Comparisons a second until something has been measured."""
SHARE = 0.6
"""Of a core, for the service and for each of the harness's processes."""
LOWEST_RATE = 0.5
BUSY = 0.2
"""Part of the time; below it is what the processes of the harness take from each other."""
OF_ALL_CORES = 0.8
"""For all of them together; the rest is the canary's, the probe's and the system's."""


@dataclass(slots=True)
class Pace:
    """The rate, measured for as long as `adjust` is called."""

    pids: dict[str, int]
    """Of the processes that share the work, by what the report calls them."""
    begun: Callable[[], int]
    """How many comparisons have begun so far."""
    rate: float = FIRST_RATE
    why: str = "nothing has been measured yet"
    fixed: bool = False
    _before: tuple[float, int, dict[str, float]] | None = None

    @classmethod
    def of(cls, rate: float | None, pids: dict[str, int], begun: Callable[[], int]) -> Pace:
        """That rate, or one to be measured."""
        if rate is None:
            return cls(pids, begun)
        return cls(pids, begun, rate, "asked for", fixed=True)

    def adjust(self, waited: float = 0.0) -> None:
        """Take the rate from what the comparisons have cost since the last call; see `allowed`."""
        if self.fixed:
            return
        spent = {name: processor_seconds(pid) for name, pid in self.pids.items()}
        now, begun = trio.current_time(), self.begun()
        if self._before is not None and begun > self._before[1]:
            comparisons = begun - self._before[1]
            costs = {name: (spent[name] - self._before[2][name]) / comparisons for name in spent}
            rate, who = allowed(costs, len(os.sched_getaffinity(0)), waited)
            # Half of the way each time: what comes at random costs more or less from time to time.
            self.rate = max(LOWEST_RATE, round((self.rate + rate) / 2, 1))
            self.why = f"measured; {who} set it"
        self._before = now, begun, spent


def allowed(costs: Mapping[str, float], cores: int, waited: float) -> tuple[float, str]:
    """How many comparisons a second, and who allows no more.

    `costs`: processor seconds for each comparison, of each process. `waited`: the part of the time
    in which the service could have run and no core was free. It takes that part of the rate away:
    where others have the cores, less is left of them.
    """
    limits = {name: SHARE / cost for name, cost in costs.items() if cost > 0}
    limits["all of them together"] = OF_ALL_CORES * cores / max(sum(costs.values()), 1e-9)
    who = min(limits, key=lambda name: limits[name])
    if waited > BUSY:
        return limits[who] * (1 - waited), f"{who}, beside others on this machine,"
    return limits[who], who
