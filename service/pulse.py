"""When a model's next chunks are looked for: at once when idle, at a shared beat under load.

A chunk costs nearly the same whether it comes alone or with others: waking a task, a read, a write.
So under load every model that has read waits for one beat that all share; at the next read it
finds several chunks, and all models of a comparison go out in one write. No text is held back
here: what was read is handed on at once. What waits is the reading, with the bytes in the kernel's
hands.

**What load is.** The chunks per second that all comparisons of this process were given, measured
every `WINDOW_SECONDS`. Up to `QUIET` nobody waits. From there the time between two beats grows in
proportion, up to `flush_ms` at `BUSY` and beyond. How many chunks come does not depend on how they
are batched, so the rule can't chase its own tail.

**Who does not wait.** A model that has not written yet: first tokens are never looked for by a
beat. One that has said why it stopped: its end is near. One whose last read was full: a beat would
only slow it down. One that writes more slowly than the beat: there would be nothing to find.
"""

from __future__ import annotations

import math

import trio

__all__ = ["Pulse"]

WINDOW_SECONDS = 0.1
"""Two beats at their longest; a burst is over before it counts for long."""
QUIET = 2_000.0
"""Chunks per second: two comparisons of nine models that write 100 a second each."""
BUSY = 16_000.0
"""Chunks per second: what a core can just carry one by one."""


class Pulse:
    """One process's beat; `most` is the longest time between two, in seconds.

    Without a task that runs `beat`, as in a test or a command, nobody ever waits.
    """

    def __init__(self, most: float) -> None:
        self.interval = 0.0
        """Seconds between two beats now; 0: nobody waits."""
        self._most = most
        self._count = 0
        self._since = -math.inf
        self._beats = False
        self._waiting = trio.lowlevel.ParkingLot()
        self._wanted = trio.Event()

    def count(self, chunks: int) -> float:
        """So many chunks were handed on just now; the time, which this had to look up."""
        self._count += chunks
        now = trio.current_time()
        elapsed = now - self._since
        if elapsed >= WINDOW_SECONDS:
            share = (self._count / elapsed - QUIET) / (BUSY - QUIET)
            self.interval = self._most * min(1.0, max(0.0, share)) if self._beats else 0.0
            self._count = 0
            self._since = now
        return now

    async def wait(self) -> None:
        """Wait for the next beat; returns at once when there is none."""
        if self.interval:
            self._wanted.set()
            await self._waiting.park()

    async def beat(self) -> None:
        """Beat for as long as somebody waits; runs until it is cancelled."""
        self._beats = True
        try:
            last = -math.inf
            while True:
                await self._wanted.wait()
                # From beat to beat: what those do that it wakes takes time as well.
                last = max(last + self.interval, trio.current_time())
                await trio.sleep_until(last)
                self._wanted = trio.Event()
                self._waiting.unpark_all()
        finally:
            self._beats = False
            self.interval = 0.0
            self._waiting.unpark_all()
