"""What is known of one model's answer while it runs: its times, its size, how it ended."""

from __future__ import annotations

import trio
from msgspec import UNSET

from service.errors import ProviderError
from service.events import Done, ErrorChunk, ErrorCode, StoppedBy, Timings, Usage
from service.pricing import FREE, Price, cost_of
from service.providers import Ending, Prompt

__all__ = ["Account", "estimate", "milliseconds", "tokens_of"]

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English; used only where a provider does not report."""
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

    `price` is what the provider asks, for when it does not report what it charged.
    """

    def __init__(self, name: str, prompt: Prompt, price: Price | None = None) -> None:
        self.name = name
        self.price = price
        self.chunks = 0
        self.attempts = 0
        self.answered_by: str | None = None
        self.stopped_by: StoppedBy | None = None
        self._prompt = prompt
        self._refused = False
        self._characters = 0
        self._reasoning_characters = 0
        self._last = (0, 0, 0)
        """Chunks and characters of text, and characters of thinking, handed on last."""
        self._started_at = trio.current_time()
        self._queued_ms = 0.0
        self._queued_since: float | None = None
        self._lost: list[tuple[Usage | None, float | None, bool]] = []
        """Usage and cost of requests that came to nothing, and whether it was reported."""
        self._connect_ms: float | None = None
        self._first_byte_ms: float | None = None
        self._first_token_ms: float | None = None

    @property
    def tokens(self) -> int:
        """Estimated tokens that the model has written so far, reasoning included."""
        return _tokens(self._characters) + _tokens(self._reasoning_characters)

    @property
    def has_spoken(self) -> bool:
        """Whether anything of the answer, or of its thinking, was handed on."""
        return self._last != (0, 0, 0)

    @property
    def has_begun(self) -> bool:
        """Whether the provider began to answer the request that was made last."""
        return self._first_byte_ms is not None

    def waits(self) -> None:
        """It is in line for its provider."""
        if self._queued_since is None:
            self._queued_since = trio.current_time()

    def asks(self) -> None:
        """A request is made; what follows is told of this one."""
        self._stop_waiting()
        self.attempts += 1
        self._connect_ms = self._first_byte_ms = None
        self._refused = False

    def adopts(self, connect_ms: float | None, first_byte_ms: float | None) -> None:
        """What follows is told of a request that was made some time ago."""
        self._connect_ms, self._first_byte_ms = connect_ms, first_byte_ms

    def heard_in_vain(self, characters: int, reasoning_characters: int) -> None:
        """So much came and is not handed on; it was written, and so it is counted."""
        self._characters += characters
        self._reasoning_characters += reasoning_characters

    def loses(self, usage: Usage | None, cost_usd: float | None, price: Price | None) -> None:
        """A request came to nothing, and this is what it took; nothing of it is handed on."""
        if usage is not None or cost_usd is not None:
            reported = cost_usd is not None or price == FREE
            cost_usd = cost_of(usage, price) if cost_usd is None else cost_usd
            self._lost.append((usage, cost_usd, reported))

    def connected(self) -> None:
        """The request began to leave."""
        if self._connect_ms is None:
            self._connect_ms = self.elapsed_ms()

    def first_byte(self) -> None:
        """The response's headers are there."""
        if self._first_byte_ms is None:
            self._first_byte_ms = self.elapsed_ms()

    def refused(self) -> None:
        """The provider has said no, and charges nothing for it."""
        self._refused = True

    def text(self, contents: tuple[str, ...]) -> int:
        """Pieces of the answer are there, and are handed on together; their characters."""
        if self._first_token_ms is None:
            self._first_token_ms = self.elapsed_ms()
        size = sum(map(len, contents))
        self._last = (len(contents), size, 0)
        self.chunks += len(contents)
        self._characters += size
        return size

    def reasoning(self, content: str) -> None:
        """A piece of the thinking is handed on."""
        self._last = (0, 0, len(content))
        self._reasoning_characters += len(content)

    def take_back(self) -> None:
        """What was handed on last has not been taken, and will not be."""
        chunks, characters, reasoning = self._last
        self.chunks -= chunks
        self._characters -= characters
        self._reasoning_characters -= reasoning

    def finished(self, ending: Ending) -> Done:
        """The `done` of a whole answer."""
        return self._done(
            code=None,
            finish_reason=ending.finish_reason,
            usage=ending.usage,
            cost_usd=ending.cost_usd,
        )

    def failed(
        self, code: ErrorCode, *, usage: Usage | None = None, cost_usd: float | None = None
    ) -> Done:
        """The `done` of an answer that is not whole."""
        return self._done(code=code, finish_reason=None, usage=usage, cost_usd=cost_usd)

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
        usage = usage or self.estimated()
        reported = cost_usd is not None or self.price == FREE  # of nothing nothing is estimated
        if cost_usd is None:
            cost_usd = self._cost(usage)
        rate = self._rate(usage, duration_ms)
        usage, cost_usd, reported = self._with_what_was_lost(usage, cost_usd, reported)
        return Done(
            model=self.name,
            error=code is not None,
            code=code,
            finish_reason=finish_reason,
            timings=Timings(
                queue_ms=self._queued_ms,
                connect_ms=self._connect_ms,
                first_byte_ms=self._first_byte_ms,
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

    def _cost(self, usage: Usage | None) -> float | None:
        if self._refused and self.price is not None:
            return 0.0
        return cost_of(usage, self.price)

    def _rate(self, usage: Usage | None, duration_ms: float) -> float | None:
        """Tokens of the answer itself over the seconds in which it was written.

        What was thought before is in neither; where a provider counts it among the rest, it is
        what was heard of it.
        """
        if usage is None or self._first_token_ms is None or self.chunks < 2:
            return None
        seconds = (duration_ms - self._first_token_ms) / 1000
        thought = usage.reasoning_tokens or _tokens(self._reasoning_characters)
        written = usage.output_tokens - thought
        if seconds < SHORTEST_WRITING or written <= 0:
            return None
        return round(written / seconds, 1)

    def estimated(self) -> Usage | None:
        """What the request that was made last has taken so far; None: it never left."""
        if self._connect_ms is None:
            return None
        return estimate(self._prompt, self._characters, self._reasoning_characters)

    def _with_what_was_lost(
        self, usage: Usage | None, cost_usd: float | None, reported: bool
    ) -> tuple[Usage | None, float | None, bool]:
        """The sums; a cost that is unknown makes its sum unknown, an estimated one an estimate."""
        for more, cost, is_reported in self._lost:
            cost_usd = None if cost is None or cost_usd is None else cost_usd + cost
            reported = reported and is_reported
            if more is not None:
                usage = more if usage is None else added(usage, more)
        return usage, cost_usd, reported

    def _stop_waiting(self) -> None:
        if self._queued_since is not None:
            waited = trio.current_time() - self._queued_since
            self._queued_ms = round(self._queued_ms + waited * 1000, 1)
            self._queued_since = None

    def elapsed_ms(self) -> float:
        """Milliseconds since its task began."""
        return milliseconds(trio.current_time() - self._started_at)


def estimate(prompt: Prompt, characters: int, reasoning_characters: int) -> Usage:
    """What an answer of so many characters takes, where the provider does not say."""
    sent = sum(len(message.content) for message in prompt.messages)
    reasoning = _tokens(reasoning_characters)
    return Usage(
        input_tokens=_tokens(sent),
        output_tokens=_tokens(characters) + reasoning,
        reasoning_tokens=reasoning,
        estimated=True,
    )


def added(one: Usage, other: Usage) -> Usage:
    """The sum; estimated if any of it is."""
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        estimated=one.estimated or other.estimated,
    )


def milliseconds(seconds: float) -> float:
    """Seconds as the wire shows them."""
    return round(seconds * 1000, 1)


def tokens_of(prompt: Prompt) -> int:
    """Estimated tokens of what is sent."""
    return _tokens(sum(len(message.content) for message in prompt.messages))


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)
