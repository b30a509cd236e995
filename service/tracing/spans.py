"""The spans, by OpenTelemetry's conventions for HTTP servers and for clients of GenAI.

All times of a trace are Trio's, laid over the wall clock where the comparison begins: they agree
with the `timings` that the client is told, and no step of the wall clock comes between them.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans and .../http/http-spans
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeAlias
from urllib.parse import urlsplit

import structlog
import trio
from msgspec import UNSET
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from service.events import Done
from service.redaction import hide_keys
from service.tracing.current import Asked, Headers, Trace, in_this_task
from service.tracing.propagation import context_of, headers_of

__all__ = ["Spans"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

Attributes: TypeAlias = dict[str, str | int | float | bool | Sequence[str]]
Params = ParamSpec("Params")

DELIBERATE = frozenset({"client_gone", "cancelled"})
"""Ends that somebody chose. They have their `error.type`, by which they are found, but are no
errors: whoever closes a page, or stops a model, must not look like a fault of anybody's."""
PORTS = {"http": 80, "https": 443}


class Clock:
    """Trio's clock as nanoseconds of the epoch, by one reading of both."""

    def __init__(self) -> None:
        self._wall_ns = time.time_ns()
        self._began = trio.current_time()

    def now(self) -> int:
        """This moment."""
        return self._wall_ns + round((trio.current_time() - self._began) * 1_000_000_000)


_failed: set[str] = set()
"""Methods whose fault has been told: each once in a process, for it may be there in every trace."""


def harmless(method: Callable[Params, None]) -> Callable[Params, None]:
    """`method`, but a fault of its own, or of the library's, is logged and harms no answer."""

    @wraps(method)
    def contained(*args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            if method.__qualname__ not in _failed:
                _failed.add(method.__qualname__)
                log.exception("tracing failed")

    return contained


class Spans:
    """Makes traces with this tracer; see `Tracing`.

    `propagates` says whether context is taken from requests and passed on to providers.
    """

    def __init__(self, tracer: Tracer, *, propagates: bool = True) -> None:
        self._tracer = tracer
        self._propagates = propagates

    def of(self, scope: Mapping[str, Any]) -> Trace:
        """The trace of the comparison that this request asks for; nothing is recorded yet."""
        return _Comparison(self._tracer, scope, self._propagates)


class _Comparison:
    """The spans of one comparison; see `Trace`."""

    def __init__(self, tracer: Tracer, scope: Mapping[str, Any], propagates: bool) -> None:
        self._tracer = tracer
        self._scope = scope
        self._propagates = propagates
        self._clock: Clock
        self._span: Span
        self._context: Context
        self._models: dict[str, _Model] = {}

    @harmless
    def begins(self, comparison: str, models: int) -> None:
        self._clock = Clock()
        scope = self._scope
        # The routes that compare are a few fixed paths, so the path is the route.
        method, path = scope["method"], scope["path"]
        self._span = self._tracer.start_span(
            f"{method} {path}",
            context_of(scope["headers"]) if self._propagates else Context(),
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "http.route": path,
                "url.path": path,
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
                # Here only. Whoever knows it may stop the comparison, and a model's span is sent
                # while the others still run; this one when nothing is left to stop.
                "compare_stream.comparison_id": comparison,
                "compare_stream.models": models,
            },
            start_time=self._clock.now(),
        )
        self._context = set_span_in_context(self._span, Context())

    @harmless
    def model_begins(self, name: str, provider: str, asked: Asked, simulated: bool) -> None:
        model = hide_keys(asked.model)
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.stream": True,
            "gen_ai.request.max_tokens": asked.max_tokens,
            "compare_stream.model": hide_keys(name),
        }
        if asked.temperature is not None:
            attributes["gen_ai.request.temperature"] = asked.temperature
        if asked.top_p is not None:
            attributes["gen_ai.request.top_p"] = asked.top_p
        if simulated:
            attributes["compare_stream.simulated"] = True
        began = self._clock.now()
        span = self._tracer.start_span(
            f"chat {model}", self._context, SpanKind.CLIENT, attributes, start_time=began
        )
        traced = self._models[name] = _Model(span, self._clock, began, self._propagates)
        in_this_task(traced)

    @harmless
    def model_ended(self, done: Done) -> None:
        self._models.pop(done.model).ended(done)

    @harmless
    def ended(self, word: str, dones: Sequence[Done]) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes(
                {
                    "compare_stream.outcome": word,
                    "compare_stream.models_failed": sum(done.error for done in dones),
                    "compare_stream.chunks": sum(done.chunks for done in dones),
                }
            )
            status = _status_of(self._scope["path"], word)
            if status is not None:
                span.set_attribute("http.response.status_code", status)
            if word != "complete":
                _fail(span, "internal_error" if word == "failed" else word)
        span.end(self._clock.now())


class _Model:
    """The span of one model; see `ModelTrace`."""

    def __init__(self, span: Span, clock: Clock, began: int, propagates: bool) -> None:
        self._span = span
        self._clock = clock
        self._began = began
        self._headers = headers_of(span) if propagates else ()
        self._address: str | None = None

    @harmless
    def attempt_begins(self, provider: str, model: str) -> None:
        self._tell("attempt", {"gen_ai.provider.name": provider, "gen_ai.request.model": model})

    @harmless
    def attempt_failed(self, code: str) -> None:
        self._tell("attempt_failed", {"error.type": code})

    def headers_to(self, url: str) -> Headers:
        """The same for each attempt: they are all made for this span."""
        if self._address is None:
            self._address = url
            self._is_sent_to(url)
        return self._headers

    @harmless
    def _is_sent_to(self, url: str) -> None:
        """The first address is that of the model itself, whoever steps in for it later."""
        parts = urlsplit(url)
        if parts.hostname and self._span.is_recording():
            port = parts.port or PORTS.get(parts.scheme, 0)
            self._span.set_attributes({"server.address": parts.hostname, "server.port": port})

    def _tell(self, event: str, attributes: Attributes) -> None:
        if self._span.is_recording():
            self._span.add_event(event, attributes, self._clock.now())

    def ended(self, done: Done) -> None:
        """Say how it ended, and that it has."""
        span, now = self._span, self._clock.now()
        if span.is_recording():
            first_token = done.timings.first_token_ms
            if first_token is not None:
                # Known to a tenth of a millisecond, and never later than the end.
                at = min(now, self._began + round(first_token * 1_000_000))
                span.add_event("first_token", None, at)
            span.set_attributes(_attributes_of(done))
            if done.code is not None:
                _fail(span, done.code)
        span.end(now)


def _status_of(path: str, word: str) -> int | None:
    """What the client was answered with; None: with nothing.

    Whatever may refuse did not. A stream's status has gone out before the comparison begins; the
    whole answer's goes with it.
    """
    if word == "complete" or path.endswith("/compare-stream"):
        return 200
    return 500 if word == "failed" else None


def _attributes_of(done: Done) -> Attributes:
    """What there is to say of a model's end, in numbers and codes."""
    timings, usage = done.timings, done.usage
    found: dict[str, Any] = {
        "gen_ai.response.finish_reasons": done.finish_reason and (done.finish_reason,),
        "gen_ai.response.time_to_first_chunk": timings.first_token_seconds,
        "compare_stream.outcome": done.outcome,
        "compare_stream.stopped_by": done.stopped_by,
        "compare_stream.attempts": done.attempts,
        "compare_stream.chunks": done.chunks,
        "compare_stream.cost_usd": done.cost_usd,
        "compare_stream.answered_by": (
            None if done.answered_by is UNSET else hide_keys(done.answered_by)
        ),
        "compare_stream.queue_seconds": _seconds(timings.queue_ms),
        "compare_stream.connect_seconds": _seconds(timings.connect_ms),
        "compare_stream.first_byte_seconds": _seconds(timings.first_byte_ms),
    }
    if usage is not None:
        found["gen_ai.usage.input_tokens"] = usage.input_tokens
        found["gen_ai.usage.output_tokens"] = usage.output_tokens
        if usage.reasoning_tokens:
            found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
        found["compare_stream.usage_estimated"] = usage.estimated
    return {name: value for name, value in found.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    if code not in DELIBERATE:
        span.set_status(StatusCode.ERROR)  # the code says it all: no words of a provider's
