"""How late a task wakes up: what every answer of this process waits for, whoever asked for it."""

from __future__ import annotations

import trio

from service.histogram import Histogram

__all__ = ["measure_lag"]

EVERY_SECONDS = 0.25
"""Four looks a second find what lasts; what is shorter delays few."""


async def measure_lag(lag: Histogram) -> None:
    """Note by how many seconds a task that was due woke up late, until it is cancelled."""
    while True:
        due = trio.current_time() + EVERY_SECONDS
        await trio.sleep_until(due)
        lag.observe(max(0.0, trio.current_time() - due))
