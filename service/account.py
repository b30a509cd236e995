"""What is known of one model's answer while it runs: its times, its size, how it ended."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import fsum
from typing import Final

import trio
from msgspec import UNSET

from service.errors import ProviderError
from service.events import Done, ErrorChunk, ErrorCode, StoppedBy, Timings, Usage
from service.histogram import Histogram
from service.pricing import Price
from service.providers import Ending, Prompt
from service.request import Request, added, milliseconds, tokens
from service.tracing import attempt_failed

__all__ = ["Account"]

SHORTEST_WRITING = 0.01
"""Seconds from the first token to the end by which a rate begins to be the model's: what is there
sooner came in one read, and measures our own."""
LONGEST_ERROR_TEXT = 100
"""Characters after `Error: `, as clients have always been told."""

FIXED_TEXTS: dict[ErrorCode, str] = {
    "rate_limited": "Rate limited",
    "model_not_found": "Model not available",
    "unauthorized": "Authentication failed",
}


class Account:
    """One model's figures; made when its task begins.

    `on_spent` hears when more has been spent on it than was handed on: a request was made or
    lost, or something was heard that is held back.
    """

    PACE_SECONDS: Final = (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2),
        *(0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    )
    """As OpenTelemetry's conventions have them for the time of an output chunk."""

    def __init__(self, name: str, prompt: Prompt) -> None:
        self.name = name
        self.chunks = 0
        self.answered_by: str | None = None
        self.stopped_by: StoppedBy | None = None
        self.on_spent: Callable[[], object] = lambda: None
        self._prompt = prompt
        self._characters = 0
        self._reasoning_characters = 0
        self._last = (0, 0, 0)
        """Chunks and characters of text, and characters of thinking, handed on last."""
        self._begun = (0, 0, 0)
        """The same of what went along with the first of it."""
        self._started_at = trio.current_time()
        self._queued_ms = 0.0
        self._queued_since: float | None = None
        self._requests: list[Request] = []
        self._told: Request | None = None
        """The request that the times are those of, and that what is handed on is of."""
        self._first_token_ms: float | None = None
        self._first_at = self._wrote_at = 0.0
        self._gaps = [0] * (len(self.PACE_SECONDS) + 1)
        """How many times between two texts were up to each bound; the rest of the pace follows."""
        self._taken_back = 0

    @property
    def requests(self) -> Sequence[Request]:
        """Those that were made, in that order."""
        return self._requests

    @property
    def pace(self) -> Histogram:
        """Seconds between a chunk and the one before it; 0 where they came together."""
        pace = Histogram(self.PACE_SECONDS)
        pace.counts = self._gaps.copy()
        pace.counts[0] += max(0, self.chunks + self._taken_back - 1 - sum(self._gaps))
        pace.sum = self._wrote_at - self._first_at
        return pace

    @property
    def chunks_before(self) -> int:
        """Chunks without those that were handed on last, and what went in front of the first."""
        before = self._before
        return 0 if before == self._begun else before[0]

    @property
    def _before(self) -> tuple[int, int, int]:
        """Chunks, characters, and characters of thinking without what was handed on last."""
        chunks, characters, reasoning = self._last
        return (
            self.chunks - chunks,
            self._characters - characters,
            self._reasoning_characters - reasoning,
        )

    @property
    def tokens(self) -> int:
        """Estimated tokens that the model has handed on so far, reasoning included."""
        return tokens(self._characters) + tokens(self._reasoning_characters)

    @property
    def spent_usd(self) -> float:
        """What its requests have cost so far, each at its own price, as far as is known."""
        handed_on = self._characters, self._reasoning_characters
        return fsum(
            request.costs_so_far(*(handed_on if request is self._told else (0, 0)))
            for request in self._requests
        )

    @property
    def attempts(self) -> int:
        """Requests that were made."""
        return len(self._requests)

    @property
    def has_spoken(self) -> bool:
        """Whether anything of the answer, or of its thinking, was handed on."""
        return self._last != (0, 0, 0)

    def waits(self) -> None:
        """It is in line for its provider."""
        if self._queued_since is None:
            self._queued_since = trio.current_time()

    def asks(self, provider: str, price: Price | None) -> Request:
        """A request is made to this provider, who asks so much for it."""
        self._stop_waiting()
        request = Request(self._prompt, price, self._started_at, provider)
        self._requests.append(request)
        self.on_spent()
        return request

    def tells_of(self, request: Request) -> None:
        """What is told of the model from here on is told of this request."""
        self._stop_waiting()
        self._told = request

    def loses(self, request: Request | None, error: ProviderError) -> None:
        """A request came to nothing, if any was made; nothing of it is handed on."""
        if request is not None:
            request.settle(error.usage, error.cost_usd)
            attempt_failed(error.code)
            self.on_spent()

    def begins(self, texts: tuple[str, ...], reasoning: str) -> None:
        """So much is handed on together with what comes next, in front of it."""
        self._begun = (len(texts), sum(map(len, texts)), len(reasoning))
        self.chunks += self._begun[0]
        self._characters += self._begun[1]
        self._reasoning_characters += self._begun[2]

    def text(self, contents: tuple[str, ...], now: float) -> int:
        """Pieces of the answer are there, and are handed on together; their characters."""
        if self._first_token_ms is None:
            self._first_token_ms = self.elapsed_ms()
            self._first_at = now
        else:
            self._gaps[bisect_left(self.PACE_SECONDS, now - self._wrote_at)] += 1
        self._wrote_at = now
        count = len(contents)
        size = sum(map(len, contents))
        self._last = (count, size, 0)
        self.chunks += count
        self._characters += size
        return size

    def reasoning(self, content: str) -> None:
        """A piece of the thinking is handed on."""
        self._last = (0, 0, len(content))
        self._reasoning_characters += len(content)

    def take_back(self) -> None:
        """What was handed on last has not been taken, and will not be."""
        before = self._before
        if before == self._begun:
            before = (0, 0, 0)  # that was the first
        self._taken_back = self.chunks - before[0]
        self.chunks, self._characters, self._reasoning_characters = before

    def finished(self, ending: Ending) -> Done:
        """The `done` of a whole answer."""
        return self._done(
            code=None,
            finish_reason=ending.finish_reason,
            usage=ending.usage,
            cost_usd=ending.cost_usd,
        )

    def failed(
        self,
        code: ErrorCode,
        *,
        finish_reason: str | None = None,
        usage: Usage | None = None,
        cost_usd: float | None = None,
    ) -> Done:
        """The `done` of an answer that is not whole."""
        return self._done(code=code, finish_reason=finish_reason, usage=usage, cost_usd=cost_usd)

    def timed_out(self, seconds: float) -> ErrorChunk:
        """A time-out in words."""
        return ErrorChunk(model=self.name, content=f"Error: Timeout ({seconds:g}s)")

    def error_chunk(self, error: ProviderError) -> ErrorChunk:
        """A provider's failure in words."""
        text = FIXED_TEXTS.get(error.code) or str(error)[:LONGEST_ERROR_TEXT]
        return ErrorChunk(model=self.name, content=f"Error: {text}")

    def _done(
        self,
        *,
        code: ErrorCode | None,
        finish_reason: str | None,
        usage: Usage | None,
        cost_usd: float | None,
    ) -> Done:
        self._stop_waiting()
        duration_ms = self.elapsed_ms()
        told = self._told
        if told is not None:
            told.settle(usage or self._estimated(told), cost_usd)
        for other in self._requests:  # those that are at work have been told to stop
            other.settle(other.estimated())
        rate = None if told is None else self._rate(told.usage, duration_ms)
        usage, cost_usd, reported = self._all_together()
        return Done(
            model=self.name,
            error=code is not None,
            code=code,
            finish_reason=finish_reason,
            timings=Timings(
                queue_ms=self._queued_ms,
                connect_ms=told.connect_ms if told else None,
                first_byte_ms=told.first_byte_ms if told else None,
                first_token_ms=self._first_token_ms,
                duration_ms=duration_ms,
            ),
            usage=usage,
            cost_usd=cost_usd,
            cost_estimated=UNSET if reported or cost_usd is None else True,
            chunks=self.chunks,
            attempts=self.attempts,
            tokens_per_second=rate,
            stopped_by=self.stopped_by,
            answered_by=self.answered_by or UNSET,
        )

    def _rate(self, usage: Usage | None, duration_ms: float) -> float | None:
        """Tokens of the answer itself over the seconds in which it was written.

        What was thought before is in neither; where a provider counts it among the rest, it is
        what was heard of it.
        """
        if usage is None or self._first_token_ms is None or self.chunks < 2:
            return None
        seconds = (duration_ms - self._first_token_ms) / 1000
        thought = usage.reasoning_tokens or tokens(self._reasoning_characters)
        written = usage.output_tokens - thought
        if seconds < SHORTEST_WRITING or written <= 0:
            return None
        return round(written / seconds, 1)

    def _estimated(self, told: Request) -> Usage | None:
        return told.estimated(self._characters, self._reasoning_characters)

    def _all_together(self) -> tuple[Usage | None, float | None, bool]:
        """What all requests took; a cost that is unknown makes its sum unknown, an estimated one
        an estimate."""
        took = [request for request in self._requests if request.took_something]
        usage: Usage | None = None
        for more in (request.usage for request in took if request.usage is not None):
            usage = more if usage is None else added(usage, more)
        costs = [request.cost_usd for request in took if request.cost_usd is not None]
        cost_usd = fsum(costs) if took and len(costs) == len(took) else None
        return usage, cost_usd, all(request.reported for request in took)

    def _stop_waiting(self) -> None:
        if self._queued_since is not None:
            waited = trio.current_time() - self._queued_since
            self._queued_ms = round(self._queued_ms + waited * 1000, 1)
            self._queued_since = None

    def elapsed_ms(self) -> float:
        """Milliseconds since its task began."""
        return milliseconds(trio.current_time() - self._started_at)
