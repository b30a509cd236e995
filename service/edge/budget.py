"""A budget that fills again with time: what may be done in bursts, but not for ever."""

from __future__ import annotations

import trio

__all__ = ["Budget"]


class Budget:
    """A token bucket of `most`, which `per_second` fills."""

    def __init__(self, most: float, per_second: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._counted_at = trio.current_time()

    def spend(self) -> bool:
        """Take one; False when none is left."""
        now = trio.current_time()
        filled = (now - self._counted_at) * self._per_second
        self._left = min(self._most, self._left + filled)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
