"""How often a provider is asked again, and when.

Exponential backoff with full jitter: a wait is drawn from all between nothing and a bound that
doubles, because waits of the same length would bring together again what had collided. Where the
provider says how long to wait, it is not asked earlier, and the jitter comes on top.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import ProviderError

__all__ = ["Persistence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """When a request that failed before its first token is made again; times in seconds."""

    attempts: int = 1
    """Requests to one model at most, the first included; 1: none is made again."""
    backoff: float = 0.5
    """The bound of the first wait; each further one's is twice as long."""
    most_backoff: float = 8
    """The bound stops doubling here."""
    longest_wait: float = 20
    """A provider that asks for a longer wait is not asked again."""
    draw: Callable[[], float] = random.random
    """A number from 0 up to 1; another one is for tests."""

    def wait_after(self, error: ProviderError, attempts: int) -> float | None:
        """Seconds until the next request after so many; None: there is none."""
        if not error.retryable or attempts >= self.attempts:
            return None
        bound = min(self.most_backoff, self.backoff * 2.0 ** min(attempts - 1, 16))
        if error.retry_after is None:
            return self.draw() * bound
        if error.retry_after > self.longest_wait:
            return None
        return error.retry_after + self.draw() * self.backoff
