"""Providers for tests of who is asked when: one whose answers differ, one with a hidden limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import trio

from service.errors import ProviderError
from service.limiter import Limiter, Limiters
from service.providers import Ending, Prompt, Sink
from service.testing import Script
from service.testing.script import Step

__all__ = ["Capped", "OneForAll", "Turns", "too_many"]


class OneForAll(Limiters):
    """The same limiter for all providers, as if all models were those of one."""

    def __init__(self, limiter: Limiter) -> None:
        super().__init__()
        self.limiter = limiter

    def of(self, provider: str) -> Limiter:
        return self.limiter


def too_many(retry_after: float | None = None) -> ProviderError:
    """What 429 becomes."""
    return ProviderError(
        "rate_limited", "Too many requests.", retryable=True, retry_after=retry_after
    )


class Turns:
    """A provider whose first request is answered by the first of `answers`, and so on.

    The last one is repeated. An answer is the steps of a `Script`.
    """

    def __init__(self, name: str, *answers: Sequence[tuple[float, Step]]) -> None:
        self.name = name
        self.simulated = False
        self.asked_at: list[float] = []
        self._scripts = [Script(name, *steps) for steps in answers]

    @property
    def running(self) -> int:
        """Requests that have neither ended nor been cancelled."""
        return sum(script.opened - script.closed for script in self._scripts)

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        return {"max_tokens": prompt.max_tokens}

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        script = self._scripts[min(len(self.asked_at), len(self._scripts) - 1)]
        self.asked_at.append(trio.current_time())
        return await script.stream(prompt, sink)


class Capped:
    """A provider that answers so many at once, and refuses whoever comes besides; it tells nobody.

    An answer takes `seconds`, or as long as `lasts` says, and a refusal `refuses_in`. It counts an
    answer for `lag` seconds after its end. The models `refuses` are refused always.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        *,
        seconds: float = 10,
        refuses_in: float = 0.05,
        retry_after: float | None = None,
        lag: float = 0,
        lasts: Callable[[], float] | None = None,
        refuses: Collection[str] = (),
    ) -> None:
        self.name = name
        self.simulated = False
        self.limit = limit
        self.running = 0
        self.peak = 0
        self.answered = 0
        self.refused_at: list[float] = []
        self._lasts = lasts or (lambda: seconds)
        self._lag = lag
        self._counted_until: list[float] = []
        self._refuses = refuses
        self._refuses_in = refuses_in
        self._retry_after = retry_after

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        return {"max_tokens": prompt.max_tokens}

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        sink.connected()
        if prompt.model in self._refuses or self._count() >= self.limit:
            self.refused_at.append(trio.current_time())
            await trio.sleep(self._refuses_in)
            sink.refused()
            sink.first_byte()
            raise too_many(self._retry_after)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            sink.first_byte()
            seconds = self._lasts()
            for piece in ("a ", "whole ", "answer"):
                await trio.sleep(seconds / 3)
                await sink.text(piece)
            self.answered += 1
            return Ending(finish_reason="stop")
        finally:
            self.running -= 1
            self._counted_until.append(trio.current_time() + self._lag)

    def _count(self) -> int:
        now = trio.current_time()
        self._counted_until = [until for until in self._counted_until if until > now]
        return self.running + len(self._counted_until)
