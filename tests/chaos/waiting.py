"""Waiting for what nothing tells us: another process's descriptors, its log, its sockets."""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ["comes", "until"]

LOOK_EVERY = 0.01


async def comes(condition: Callable[[], object], *, within: float) -> bool:
    """Wait for the condition; whether it came in time."""
    gives_up_at = trio.current_time() + within
    while not condition():
        if trio.current_time() >= gives_up_at:
            return False
        await trio.sleep(LOOK_EVERY)
    return True


async def until(condition: Callable[[], object], *, within: float, what: str) -> float:
    """Wait for the condition; the seconds that it took. Fails with `what` if it does not come."""
    began = trio.current_time()
    if not await comes(condition, within=within):
        raise AssertionError(f"not within {within:g} s: {what}")
    return trio.current_time() - began
