"""The document: OpenAPI 3.2.0, the first version that can describe a stream item by item.

Version 3.2.0, section 4.14.4 "Special Considerations for Server-Sent Events": an item of
`text/event-stream` is an event after parsing, an object whose `data` is a string, so comments and
line ends are not described. JSON inside that string is described by `contentMediaType` and
`contentSchema`. https://spec.openapis.org/oas/v3.2.0.html#special-considerations-for-server-sent-events
"""

from __future__ import annotations

from typing import Any

from service import __version__
from service.events import (
    Chunk,
    Complete,
    Done,
    ErrorChunk,
    Fallback,
    Metadata,
    Progress,
    Queued,
    Reasoning,
    Start,
    Timings,
    Usage,
)
from service.formatting import Formatted, TextBody
from service.openapi.examples import (
    COMPARED,
    FORMATTED,
    MARKDOWN,
    QUESTIONS,
    REFUSALS,
    STOPPED,
    STREAM,
    RefusalKind,
    shown,
)
from service.openapi.schemas import (
    Schema,
    error_code_schema,
    event_schema,
    ref,
    schemas_read,
    schemas_sent,
)
from service.providers.catalogue import CatalogueModel, ModelPrice, SourceState
from service.question import QuestionBody, Turn
from service.replies import (
    Compared,
    Greeting,
    Health,
    Models,
    ModelStatistics,
    ModelStats,
    RateLimitStatus,
    Ready,
    Refused,
    ShortModelStatistics,
    Stopping,
)

__all__ = ["document"]

READ = (QuestionBody, Turn, TextBody)
SENT = (
    *(Start, Queued, Fallback, Chunk, ErrorChunk, Reasoning, Progress, Done, Complete),
    *(Timings, Usage, Metadata),
    *(
        Compared,
        Formatted,
        Models,
        CatalogueModel,
        ModelStats,
        ModelStatistics,
        ShortModelStatistics,
    ),
    *(ModelPrice, SourceState, Stopping, RateLimitStatus, Health, Ready, Greeting, Refused),
)

ABOUT = """\
One question to many language models at once, their answers in one stream. Every path below is \
also there under `/api`. Models named `sim:…` are simulated: they need no key and cost nothing.

Fields that this document does not name may be added at any time, and fields that the service does \
not know are ignored. A request that is refused starts nothing. Every refusal has the same form:

| status | code | when |
|---|---|---|
"""
STREAMING = """\
The answers as Server-Sent Events, as they are written. An event is the line `data: `, then one \
line of JSON, then a blank line. First comes `start` for each model, in the order asked for; then \
each model's `queued`, `fallback`, `reasoning` and `chunk`s, mixed with the others', and exactly \
one `done` for each; `complete` is the last. A model's chunks without `error`, put together, are \
its answer, byte for byte.

A model that fails harms no other: it says so in a chunk that begins with `Error: ` and has \
`error`, and in its `done`. While nothing is said for a while, a comment `: ping` keeps the \
connection warm; comments are not events. Skip events whose `type` you do not know.

To leave is to stop: when the connection ends, so do all requests to providers. Who stays can stop \
one model or all of them with `DELETE` at `/comparisons/{comparison_id}`. This page shows a \
stream when it is over; `curl -N` shows it as it comes.
"""
COMPARING = """\
The same, as one answer when the last model has ended. A model that fails is named in `errors`; \
the answers of the others are not touched.
"""

STOPPING = """\
Their requests to providers are closed at once. What becomes of them is told in the stream of the \
comparison: a chunk that begins with `Error: `, and `done` with the code `cancelled`. A model that \
has its whole answer at that very moment may still end well.
"""

FORMATTING = """\
The page asks for it when an answer is whole. What comes back is on a short list of elements: \
no script, style, image or frame, and links only to `http`, `https` and `mailto`. HTML in the text \
is shown as text, an image as a link to it. A text that takes too long to read as Markdown comes \
back as one `pre`. Nothing is counted against the allowance.
"""

EVERYWHERE = (404, 405, 421, 500)
"""What any path may answer."""
TO_A_LOOK = (401, *EVERYWHERE)
TO_A_TEXT = (400, 401, 404, 405, 408, 413, 415, 421, 500)
TO_A_QUESTION = (400, 401, 404, 405, 408, 413, 415, 421, 429, 500, 503)

SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of this service, where it has any configured.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, where `Authorization` is in use for something else.",
    },
}
KEY_IF_ANY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"apiKey": []}]
"""The first says that there may be no need: a service without keys asks for none."""


def document() -> dict[str, Any]:
    """The interface as an OpenAPI 3.2.0 document."""
    return {
        "openapi": "3.2.0",
        "info": {
            "title": "compare-stream",
            "version": __version__,
            "summary": "One question, many models, one stream.",
            "description": ABOUT + "\n".join(_row(*item) for item in REFUSALS.items()),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {"url": "/", "description": "Bare paths"},
            {"url": "/api", "description": "The same under /api"},
        ],
        "tags": [
            {"name": "compare", "description": "Ask"},
            {"name": "look", "description": "What there is, and how it does"},
        ],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "responses": _refusals(),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _paths() -> dict[str, Any]:
    return {
        "/compare-stream": {
            "post": _question("compare_stream", "Stream the answers", STREAMING, _stream())
        },
        "/compare": {"post": _question("compare", "Wait for the answers", COMPARING, _compared())},
        "/comparisons/{comparison_id}": {
            "delete": _stop("stop_comparison", "Stop every model of a comparison", ID),
        },
        "/comparisons/{comparison_id}/models/{name}": {
            "delete": _stop("stop_model", "Stop one model of a comparison", ID, NAME),
        },
        "/format": {"post": _format()},
        "/models": {
            "get": _look("models", "List the models to choose from", _json("Models")),
        },
        "/model-stats": {
            "get": _look(
                "model_stats",
                "Count each model's successes and failures since the start",
                _json("ModelStats"),
            )
        },
        "/rate-limit-status": {
            "get": {
                **_look(
                    "rate_limit_status",
                    "See what is left of today's allowance",
                    _json("RateLimitStatus"),
                ),
                "parameters": [FINGERPRINT],
            }
        },
        "/health": {
            "get": _look("health", "See that the process answers", _json("Health"), is_open=True)
        },
        "/readyz": {
            "get": _look(
                "readyz",
                "See whether the process takes on comparisons",
                _json("Ready"),
                is_open=True,
                refusals=(*EVERYWHERE, 503),
            )
        },
        "/metrics": {
            "servers": [{"url": "/", "description": "Not under /api"}],
            "get": _look(
                "show",
                "What is counted, for Prometheus",
                {
                    media_type: {"schema": {"type": "string"}}
                    for media_type in ("text/plain", "application/openmetrics-text")
                },
            ),
        },
        "/": {
            "get": _look(
                "index",
                "The page for a browser, a greeting for a program",
                {**_json("Greeting"), "text/html": {"schema": {"type": "string"}}},
                is_open=True,
            )
        },
    }


FINGERPRINT = {
    "name": "fingerprint",
    "in": "query",
    "description": "The `browser_fingerprint` whose own allowance is asked for.",
    "schema": {"type": "string"},
}
ID = {
    "name": "comparison_id",
    "in": "path",
    "required": True,
    "description": "As `X-Comparison-Id` has it.",
    "schema": {"type": "string"},
}
NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The model's name in the events, percent-encoded; it may hold slashes.",
    "schema": {"type": "string"},
}
COMPARISON_ID = {
    "X-Comparison-Id": {
        "description": "The comparison's id; `complete` has it too.",
        "required": True,
        "schema": {"type": "string"},
    }
}
STREAM_HEADERS = {
    **COMPARISON_ID,
    "Cache-Control": {
        "description": "A proxy must neither keep the stream nor change it.",
        "required": True,
        "schema": {"type": "string", "const": "no-cache, no-transform"},
    },
    "X-Accel-Buffering": {
        "description": "Tells nginx to pass the stream on at once.",
        "required": True,
        "schema": {"type": "string", "const": "no"},
    },
}


def _question(
    operation: str, summary: str, description: str, answer: dict[str, Any]
) -> dict[str, Any]:
    return {
        "tags": ["compare"],
        "operationId": operation,
        "summary": summary,
        "description": description,
        "security": KEY_IF_ANY,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref("QuestionBody"),
                    "examples": {
                        name.replace(" ", "_"): {"summary": name.capitalize(), "value": value}
                        for name, value in QUESTIONS.items()
                    },
                }
            },
        },
        "responses": {"200": answer, **_refused(TO_A_QUESTION)},
    }


def _stop(operation: str, summary: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["compare"],
        "operationId": operation,
        "summary": summary,
        "description": STOPPING,
        "security": KEY_IF_ANY,
        "parameters": list(parameters),
        "responses": {
            "202": {
                "description": "These models are being stopped.",
                "content": {
                    "application/json": {
                        "schema": ref("Stopping"),
                        "examples": {"short": shown(STOPPED)},
                    }
                },
            },
            **_refused(TO_A_LOOK),
        },
    }


def _format() -> dict[str, Any]:
    examples = {"short": {"value": {"text": MARKDOWN}}}
    return {
        "tags": ["look"],
        "operationId": "format",
        "summary": "Make safe HTML of an answer's Markdown",
        "description": FORMATTING,
        "security": KEY_IF_ANY,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("TextBody"), "examples": examples}},
        },
        "responses": {
            "200": {
                "description": "OK",
                "content": {
                    "application/json": {
                        "schema": ref("Formatted"),
                        "examples": {"short": shown(FORMATTED)},
                    }
                },
            },
            **_refused(TO_A_TEXT),
        },
    }


def _look(
    operation: str,
    summary: str,
    content: dict[str, Any],
    *,
    is_open: bool = False,
    refusals: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    refusals = refusals or (EVERYWHERE if is_open else TO_A_LOOK)
    return {
        "tags": ["look"],
        "operationId": operation,
        "summary": summary,
        **({} if is_open else {"security": KEY_IF_ANY}),
        "responses": {"200": {"description": "OK", "content": content}, **_refused(refusals)},
    }


def _stream() -> dict[str, Any]:
    return {
        "description": (
            "The comparison has begun; all else is told in the stream. Each of its items is a "
            "`StreamItem`, whose `data` holds an `Event`."
        ),
        "headers": STREAM_HEADERS,
        "content": {
            "text/event-stream": {
                "itemSchema": ref("StreamItem"),
                "examples": {"short": {"summary": "Two models, one fails", "value": STREAM}},
            }
        },
    }


def _compared() -> dict[str, Any]:
    return {
        "description": "All models have ended, well or not.",
        "headers": COMPARISON_ID,
        "content": {
            "application/json": {
                "schema": ref("Compared"),
                "examples": {"short": shown(COMPARED, "Two models, one fails")},
            }
        },
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": ref(name)}}


def _schemas() -> dict[str, Schema]:
    item = {
        "title": "StreamItem",
        "description": "One parsed event of the stream; no `event`, `id` or `retry` is sent.",
        "type": "object",
        "properties": {
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": ref("Event"),
            }
        },
        "required": ["data"],
    }
    return {
        **schemas_read(*READ),
        "StreamItem": item,
        "Event": event_schema(),
        "ErrorCode": error_code_schema(),
        **schemas_sent(*SENT),
    }


def _refusals() -> dict[str, Any]:
    return {
        kind.name: {
            "description": kind.when,
            **({"headers": kind.headers} if kind.headers else {}),
            "content": {
                "application/json": {
                    "schema": ref("Refused"),
                    "examples": {refused.code: shown(refused) for refused in kind.examples},
                }
            },
        }
        for kind in REFUSALS.values()
    }


def _refused(statuses: tuple[int, ...]) -> dict[str, Any]:
    return {str(status): ref(REFUSALS[status].name, "responses") for status in statuses}


def _row(status: int, kind: RefusalKind) -> str:
    codes = " ".join(f"`{refused.code}`" for refused in kind.examples)
    return f"| {status} | {codes} | {kind.when} |"
