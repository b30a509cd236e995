"""When a model's next chunks are looked for: at once when idle, at a shared beat under load.

A chunk costs nearly the same whether it comes alone or with others: waking a task, a read, a write.
So under load every model that has read waits for one beat that all share. At a beat all sockets
that models wait at are looked at in one sweep, without waking anybody: what has come is several
chunks by then, and all models of a comparison go out in one write. A model's task is woken only for
what is more than text, or when its reader is behind. No text is held back here: what was read is
handed on at once. What waits is the reading, with the bytes in the kernel's hands.

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
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import trio

__all__ = ["Pulse", "Step"]

WINDOW_SECONDS = 0.1
"""Two beats at their longest; a burst is over before it counts for long."""
QUIET = 2_000.0
"""Chunks per second: two comparisons of nine models that write 100 a second each."""
STEPS_IN_A_ROW = 64
"""Steps before others have a turn: some 2 ms of work."""
BUSY = 16_000.0
"""Chunks per second: what a core can just carry one by one."""


Step: TypeAlias = Callable[[], bool]
"""Takes what has come, without waiting; False: whoever follows the beat has to look for itself."""


@dataclass(slots=True, eq=False)
class _Follower:
    """A task that waits while its step is taken at every beat."""

    step: Step
    task: trio.lowlevel.Task
    fault: Exception | None = None


class Pulse:
    """One process's beat; `most` is the longest time between two, in seconds.

    Without a task that runs `beat`, as in a test or a command, nobody ever waits.
    """

    def __init__(self, most: float) -> None:
        self.most = most
        """May be changed while it beats; the next `WINDOW_SECONDS` go by it."""
        self.interval = 0.0
        """Seconds between two beats now; 0: nobody waits."""
        self._count = 0
        self._since = -math.inf
        self._swept_at = -math.inf
        self._beats = False
        self._followers: dict[_Follower, None] = {}
        self._wanted = trio.Event()

    def count_in_step(self, chunks: int) -> float:
        """The same for a step, which is taken without looking at the clock: the sweep has."""
        self._count += chunks
        return self._swept_at

    def count(self, chunks: int, now: float | None = None) -> float:
        """So many chunks were handed on; the time, which is looked up if it is not known."""
        self._count += chunks
        if now is None:
            now = trio.current_time()
        elapsed = now - self._since
        if elapsed >= WINDOW_SECONDS:
            share = (self._count / elapsed - QUIET) / (BUSY - QUIET)
            self.interval = self.most * min(1.0, max(0.0, share)) if self._beats else 0.0
            self._count = 0
            self._since = now
        return now

    async def follow(self, step: Step) -> None:
        """Have `step` taken at every beat, until it returns False or it is quiet again.

        Raises what `step` raises. Cancelled, it is not taken any more.
        """
        if not self.interval:
            return
        follower = _Follower(step, trio.lowlevel.current_task())
        self._followers[follower] = None
        self._wanted.set()

        def leave(_: object) -> trio.lowlevel.Abort:
            del self._followers[follower]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)
        if follower.fault is not None:
            raise follower.fault

    async def beat(self) -> None:
        """Beat for as long as somebody follows; runs until it is cancelled."""
        self._beats = True
        last = -math.inf
        try:
            while True:
                await self._wanted.wait()
                # From beat to beat: what is done at one takes time as well.
                last = max(last + self.interval, trio.current_time())
                await trio.sleep_until(last)
                await self._sweep()
        finally:
            self._beats = False
            self.interval = 0.0
            for follower in list(self._followers):
                self._release(follower)

    async def _sweep(self) -> None:
        """Take the step of everybody who follows."""
        # Of nothing, or a load that has gone silent would count for ever.
        self._swept_at = self.count(0)
        for taken, follower in enumerate(list(self._followers), 1):
            if follower in self._followers and not self._goes_on(follower):
                self._release(follower)
            if taken % STEPS_IN_A_ROW == 0:
                await trio.lowlevel.checkpoint()
                self._swept_at = self.count(0)
        if not self._followers:
            self._wanted = trio.Event()

    def _goes_on(self, follower: _Follower) -> bool:
        try:
            return follower.step() and self.interval > 0
        except Exception as exc:  # it is the follower's, and is raised there
            follower.fault = exc
            return False

    def _release(self, follower: _Follower) -> None:
        if follower in self._followers:  # its own step may have had it cancelled
            del self._followers[follower]
            trio.lowlevel.reschedule(follower.task)
