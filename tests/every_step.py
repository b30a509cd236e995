"""Something happens before a chosen step of the scheduler: exhaustion in place of luck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

__all__ = ["Moment", "at_step"]


class Moment(trio.abc.Instrument):
    """Counts the steps that tasks take, all tasks together, and acts before one of them."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.came = False
        self._left = step
        self._act = act

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        self._left -= 1
        if self._left == 0:
            self.came = True
            self._act()


@contextmanager
def at_step(step: int, act: Callable[[], object]) -> Iterator[Moment]:
    """Do `act` before the step of that number, counted from 1, if the block takes so many.

    To try every step, count up until the moment did not come.
    """
    moment = Moment(step, act)
    trio.lowlevel.add_instrument(moment)
    try:
        yield moment
    finally:
        trio.lowlevel.remove_instrument(moment)
