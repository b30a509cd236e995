"""What the document shows: questions that the simulator answers, and answers as they look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from service.events import (
    Chunk,
    Complete,
    Done,
    ErrorChunk,
    Event,
    Metadata,
    Progress,
    Reasoning,
    Start,
    Timings,
    Usage,
)
from service.eventstream import PING, encode
from service.formatting import Formatted
from service.replies import Compared, Refused, Stopping

__all__ = [
    "COMPARED",
    "FORMATTED",
    "MARKDOWN",
    "QUESTIONS",
    "REFUSALS",
    "STOPPED",
    "STREAM",
    "RefusalKind",
    "shown",
]


def shown(value: Struct, summary: str | None = None) -> dict[str, Any]:
    """An Example Object that holds `value` as it is written."""
    example = {"value": msgspec.to_builtins(value)}
    return {"summary": summary, **example} if summary else example


QUESTIONS: dict[str, dict[str, Any]] = {
    "three models": {
        "input_data": "Why is the sky blue?",
        "models": ["sim:swift", "sim:steady", "sim:thinker"],
    },
    "a conversation goes on": {
        "input_data": "And at sunset?",
        "models": ["sim:swift", "sim:steady"],
        "conversation_history": [
            {"role": "user", "content": "Why is the sky blue?"},
            {
                "role": "assistant",
                "content": "Air scatters blue light the most.",
                "model_id": "sim:swift",
            },
            {
                "role": "assistant",
                "content": "Because of Rayleigh scattering.",
                "model_id": "sim:steady",
            },
        ],
        "tier": "brief",
        "temperature": 0.7,
        "max_tokens": 512,
    },
    "one of them fails": {
        "input_data": "Why is the sky blue?",
        "models": ["sim:swift", "sim:refuses"],
    },
    "two answers are enough": {
        "input_data": "Why is the sky blue?",
        "models": ["sim:swift", "sim:steady", "sim:thinker"],
        "mode": "first_k",
        "k": 2,
    },
    "somebody steps in": {
        "input_data": "Why is the sky blue?",
        "models": ["sim:refuses", "sim:steady"],
        "fallbacks": {"sim:refuses": ["sim:swift"]},
        "hedge_after": 10,
    },
    "the same model twice": {
        "input_data": "Why is the sky blue?",
        "models": ["sim:thinker", "sim:thinker"],
    },
}
"""Request bodies by their summary; the first is what the page offers to send."""

MARKDOWN = "Because of *scattering*: <https://example.org/sky>"
FORMATTED = Formatted(
    '<p>Because of <em>scattering</em>: <a href="https://example.org/sky" target="_blank" '
    'rel="noopener noreferrer nofollow">https://example.org/sky</a></p>\n'
)

USAGE = Usage(input_tokens=9, output_tokens=12, reasoning_tokens=4, estimated=False)
METADATA = Metadata(
    input_length=20,
    models_requested=2,
    models_successful=1,
    models_failed=1,
    timestamp="2025-06-01T12:00:00.000000+00:00",
    processing_time_ms=1804,
    conversation_message_count=0,
    is_extended_interaction=False,
    comparison_id="pgEJTUlTauePj2f3CcJX_w",
    usage=Usage(input_tokens=15, output_tokens=12, reasoning_tokens=4, estimated=True),
    cost_usd=None,
    slowest_model_ms=1803.2,
    sum_of_models_ms=1845.9,
    speedup=1.02,
)
EVENTS: tuple[Event, ...] = (
    Start(model="sim:thinker", provider="sim", parameters={"max_tokens": 4000}, simulated=True),
    Start(model="sim:refuses", provider="sim", parameters={"max_tokens": 4000}, simulated=True),
    ErrorChunk(model="sim:refuses", content="Error: Rate limited"),
    Done(
        model="sim:refuses",
        error=True,
        code="rate_limited",
        finish_reason=None,
        timings=Timings(
            queue_ms=0.0,
            connect_ms=1.4,
            first_byte_ms=42.5,
            first_token_ms=None,
            duration_ms=42.7,
        ),
        usage=Usage(input_tokens=6, output_tokens=0, reasoning_tokens=0, estimated=True),
        cost_usd=None,
        chunks=0,
        attempts=1,
    ),
    Reasoning(model="sim:thinker", content="What scatters most?"),
    Progress(model="sim:thinker", fraction=0.417, tokens=5),
    Chunk(model="sim:thinker", content="Air scatters blue light "),
    Chunk(model="sim:thinker", content="the most."),
    Done(
        model="sim:thinker",
        error=False,
        code=None,
        finish_reason="stop",
        timings=Timings(
            queue_ms=0.0,
            connect_ms=1.2,
            first_byte_ms=20.3,
            first_token_ms=1201.8,
            duration_ms=1803.2,
        ),
        usage=USAGE,
        cost_usd=None,
        chunks=2,
        attempts=1,
        tokens_per_second=13.3,
    ),
    Complete(metadata=METADATA),
)
BLOCKS = [encode(event) for event in EVENTS]
STREAM = b"".join([*BLOCKS[:4], PING, *BLOCKS[4:]]).decode()
"""A short stream, byte for byte."""

COMPARED = Compared(
    results={
        "sim:thinker": "Air scatters blue light the most.",
        "sim:refuses": "Error: Rate limited",
    },
    errors={"sim:refuses": "rate_limited"},
    metadata=METADATA,
)

STOPPED = Stopping(comparison_id=METADATA.comparison_id, stopping=["sim:thinker"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalKind:
    """One status of the 400s and 500s: its name among the components, and what it looks like."""

    name: str
    when: str
    examples: tuple[Refused, ...]
    headers: dict[str, Any] = field(default_factory=dict)


RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which it is worth asking again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
CHALLENGE = {
    "WWW-Authenticate": {
        "description": "The scheme by which a key is sent.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    }
}
ALLOW = {
    "Allow": {
        "description": "The methods that this path takes.",
        "required": True,
        "schema": {"type": "string"},
        "example": "POST",
    }
}
REFUSALS: dict[int, RefusalKind] = {
    400: RefusalKind(
        name="BadRequest",
        when="The body is not a question that may be asked; the first mistake is named.",
        examples=(
            Refused("The body must be one JSON object in UTF-8.", "invalid_json"),
            Refused("temperature: expected float <= 2.0.", "invalid_request"),
            Refused("input_data must not be blank.", "input_required"),
            Refused(
                "input_data has 5001 characters; the tier 'standard' takes 5000.",
                "input_too_long",
            ),
            Refused("models must name at least one model.", "models_required"),
            Refused("models names 10 models; the limit is 9.", "too_many_models"),
            Refused(
                "models must hold model ids: printable text of 1 to 200 characters.",
                "invalid_model",
            ),
            Refused("images holds 9 images; the limit is 8.", "too_many_images"),
            Refused(
                "images[0]: expected data:<type>;base64,... with one of image/png, image/jpeg, "
                "image/webp, image/gif.",
                "invalid_image",
            ),
            Refused(
                "The simulator has no model 'sim:nobody'; GET /models and "
                "`compare-stream models` list those it has.",
                "model_not_found",
            ),
            Refused(
                "max_cost_usd can't be kept: the price of 'acme/m' is not known here.",
                "price_unknown",
            ),
        ),
    ),
    401: RefusalKind(
        name="Unauthorized",
        when="The service lets nobody in without a key, and the request has none or a wrong one.",
        examples=(
            Refused(
                "This needs a valid key, as Authorization: Bearer <key> or X-API-Key: <key>.",
                "unauthorized",
            ),
        ),
        headers=CHALLENGE,
    ),
    404: RefusalKind(
        name="NotFound",
        when="There is nothing at this path, or what is to be stopped does not run.",
        examples=(
            Refused(
                "There is nothing at this address; GET /docs lists what there is.", "not_found"
            ),
            Refused(
                "No comparison of this id runs here: it has ended, or there was none.",
                "comparison_not_running",
            ),
            Refused(
                "No model of this name runs in the comparison: it has ended, or was not asked.",
                "model_not_running",
            ),
        ),
    ),
    405: RefusalKind(
        name="MethodNotAllowed",
        when="This path does not take this method.",
        examples=(
            Refused(
                "This address does not take this method; the header Allow says which.",
                "method_not_allowed",
            ),
        ),
        headers=ALLOW,
    ),
    408: RefusalKind(
        name="RequestTimeout",
        when="The body did not arrive within ten seconds.",
        examples=(Refused("The request's body did not arrive in time.", "request_timeout"),),
    ),
    413: RefusalKind(
        name="BodyTooLarge",
        when="The body is longer than the service reads: 1 MiB unless it is configured otherwise.",
        examples=(Refused("The body is longer than 1048576 bytes.", "body_too_large"),),
    ),
    415: RefusalKind(
        name="NotJSON",
        when="The body is not announced as JSON.",
        examples=(Refused("The request needs Content-Type: application/json.", "not_json"),),
    ),
    421: RefusalKind(
        name="WrongHost",
        when="The service answers to certain names only, and the one in Host is none of them.",
        examples=(
            Refused(
                "This service does not answer to the name that the request has in Host.",
                "wrong_host",
            ),
        ),
    ),
    429: RefusalKind(
        name="DailyLimitReached",
        when="The day's allowance of the address or of the fingerprint does not reach that far.",
        examples=(
            Refused(
                "This needs 3 answers and fewer are left of today's 50; "
                "the count begins anew at midnight UTC.",
                "daily_limit_reached",
            ),
        ),
        headers=RETRY_AFTER,
    ),
    500: RefusalKind(
        name="InternalError",
        when="The service failed.",
        examples=(
            Refused(
                "The service failed on this request; its log has the reason.", "internal_error"
            ),
        ),
    ),
    503: RefusalKind(
        name="Unavailable",
        when="The service runs as many comparisons as it may, or it is stopping.",
        examples=(
            Refused(
                "The service runs as many comparisons as it may; try again in a second.", "busy"
            ),
            Refused("This process is stopping; try again, on a new connection.", "draining"),
        ),
        headers=RETRY_AFTER,
    ),
}
"""By status."""
