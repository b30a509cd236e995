"""What can be said about an answer: frozen values, one small union.

A value is written to the wire as it stands: the order of its fields is the order of the JSON
object, and `msgspec.json.encode` makes the one line that a client parses. Times are milliseconds
by the service's clock, counted from the moment at which the model's task began; sizes are tokens;
money is US dollars.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args

from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "ERROR_CODES",
    "SILENCE",
    "Chunk",
    "Chunks",
    "Complete",
    "Done",
    "ErrorChunk",
    "ErrorCode",
    "Event",
    "Fallback",
    "Metadata",
    "Part",
    "Progress",
    "Queued",
    "Reasoning",
    "Silence",
    "Start",
    "StoppedBy",
    "Timings",
    "Usage",
    "as_written",
]

Outcome: TypeAlias = Literal["finished", "failed", "cancelled"]

ErrorCode: TypeAlias = Literal[
    "connect_error",
    "connect_timeout",
    "tls_error",
    "first_token_timeout",
    "idle_timeout",
    "total_timeout",
    "rate_limited",
    "unauthorized",
    "payment_required",
    "model_not_found",
    "bad_request",
    "overloaded",
    "provider_error",
    "truncated",
    "empty_response",
    "not_event_stream",
    "protocol_error",
    "frame_too_large",
    "upstream_disconnected",
    "content_filtered",
    "cancelled",
    "server_shutdown",
    "internal_error",
]
ERROR_CODES: frozenset[str] = frozenset(get_args(ErrorCode))
StoppedBy: TypeAlias = Literal["request", "first_k", "max_cost_usd"]
"""What ended an answer that would have gone on: somebody asked for it, or the question's terms."""


class Start(Struct, frozen=True, kw_only=True):
    """A model's request is about to be sent; one per model, in the order asked for."""

    model: str
    type: Literal["start"] = "start"
    provider: str
    parameters: dict[str, Any]
    """What is really sent to the provider besides the messages; nothing is added in secret."""
    simulated: bool | UnsetType = UNSET
    """True when the answer is made up by the simulator; absent otherwise."""


class Queued(Struct, frozen=True, kw_only=True):
    """A model waits until its provider may be asked; told when it begins to, and when it moves."""

    model: str
    type: Literal["queued"] = "queued"
    ahead: int
    """Requests that will be made before this one."""


class Fallback(Struct, frozen=True, kw_only=True):
    """Another model answers in a model's place, or is about to be asked to."""

    model: str
    """Whose place it is; the events go on to be called by this name."""
    type: Literal["fallback"] = "fallback"
    asked: str
    """The id of the one that is asked now, as the request spelt it."""
    provider: str
    parameters: dict[str, Any]
    simulated: bool | UnsetType = UNSET
    """True when the answer is made up by the simulator; absent otherwise."""
    code: ErrorCode | None
    """Why the one before it failed; null when it was only slow."""


class Chunk(Struct, frozen=True, kw_only=True):
    """A piece of a model's answer, exactly as the provider sent it."""

    model: str
    type: Literal["chunk"] = "chunk"
    content: str


class Chunks(Struct, frozen=True):
    """Pieces of one model's answer that came together; on the wire, a `Chunk` for each."""

    model: str
    contents: tuple[str, ...]
    came_at: float = 0.0
    """When they were read from the provider, by Trio's clock."""


class Silence(Struct, frozen=True):
    """Nobody has said anything for a while; on the wire, a comment that is no event."""


SILENCE = Silence()


class Reasoning(Struct, frozen=True, kw_only=True):
    """A piece of a model's separable thinking; never part of its answer."""

    model: str
    type: Literal["reasoning"] = "reasoning"
    content: str


class Progress(Struct, frozen=True, kw_only=True):
    """How far a model is; rides along with what it says, at most four a second."""

    model: str
    type: Literal["progress"] = "progress"
    fraction: float | None
    """Of the tokens that this model usually needs, or of `max_tokens` if that is less or nothing is
    known of it; never falls, and is below 1 until `done`. Null when it can't be known."""
    tokens: int
    """Written so far, reasoning included; four characters are taken for a token."""


class ErrorChunk(Struct, frozen=True, kw_only=True):
    """A failure in words, where clients that know only chunks will see it."""

    model: str
    type: Literal["chunk"] = "chunk"
    content: str
    """Begins with ``Error: ``; never holds a key."""
    error: Literal[True] = True


class Timings(Struct, frozen=True, kw_only=True):
    """When a model's answer got how far, in milliseconds since its task began; null: never."""

    queue_ms: float
    connect_ms: float | None
    """The connection to the provider was there and the request began to leave."""
    first_byte_ms: float | None
    """The provider's response headers had arrived."""
    first_token_ms: float | None
    """The first text of the answer itself had arrived; reasoning does not count."""
    duration_ms: float

    @property
    def first_token_seconds(self) -> float | None:
        """Until the first text, without the wait in our line; for metrics and traces."""
        if self.first_token_ms is None:
            return None
        return (self.first_token_ms - self.queue_ms) / 1000

    @property
    def asked_seconds(self) -> float:
        """Until the end, without that wait."""
        return (self.duration_ms - self.queue_ms) / 1000


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens that an answer took."""

    input_tokens: int
    output_tokens: int
    """All tokens that the model wrote, the reasoning among them."""
    reasoning_tokens: int
    estimated: bool
    """True when the provider did not report, and four characters were taken for a token."""


class Done(Struct, frozen=True, kw_only=True):
    """The end of a model's answer: exactly one per model, after its last chunk."""

    model: str
    type: Literal["done"] = "done"
    error: bool
    code: ErrorCode | None
    finish_reason: str | None
    """The provider's own word for why it stopped; null when it gave none."""
    timings: Timings
    usage: Usage | None
    """Null when the request never reached the provider."""
    cost_usd: float | None
    """Null when no price is known."""
    cost_estimated: bool | UnsetType = UNSET
    """True when it was worked out from the list price; absent when the provider reported it."""
    chunks: int
    attempts: int
    """Requests that were made for it; 0: it never got its turn."""
    tokens_per_second: float | None = None
    """Tokens of the answer itself, from its first one to the end; null when that says nothing."""
    stopped_by: StoppedBy | None = None
    """What stopped the answer, where `code` is `cancelled`; null when nothing did."""
    answered_by: str | UnsetType = UNSET
    """The fallback that was asked last; absent when it is the model that was asked for."""

    @property
    def outcome(self) -> Outcome:
        """In one word, for logs, metrics and traces; not part of the event."""
        if not self.error:
            return "finished"
        return "cancelled" if self.code == "cancelled" else "failed"


class Metadata(Struct, frozen=True, kw_only=True):
    """What a whole comparison came to."""

    input_length: int
    """Characters of the question."""
    models_requested: int
    models_successful: int
    models_failed: int
    timestamp: str
    """When the comparison ended; ISO 8601 with offset."""
    processing_time_ms: int
    conversation_message_count: int
    is_extended_interaction: bool
    """More than ten turns of history came with the question."""
    comparison_id: str
    usage: Usage
    cost_usd: float | None
    """Null when the price of any of the answers is not known."""
    slowest_model_ms: float
    sum_of_models_ms: float
    speedup: float
    """The models' durations added up, divided by the wall clock."""


class Complete(Struct, frozen=True, kw_only=True):
    """The end of a comparison: exactly one, last."""

    type: Literal["complete"] = "complete"
    metadata: Metadata


Event: TypeAlias = (
    Start | Queued | Fallback | Chunk | Reasoning | Progress | ErrorChunk | Done | Complete
)
"""What a client is told."""
Part: TypeAlias = Event | Chunks | Silence
"""What a model, or whoever speaks of all of them, puts into the channel."""


def as_written(part: Part) -> Iterator[Event]:
    """The events that the wire has for it, one by one."""
    if isinstance(part, Chunks):
        for content in part.contents:
            yield Chunk(model=part.model, content=content)
    elif not isinstance(part, Silence):
        yield part
