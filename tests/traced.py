"""Traces kept in memory, and how to look at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from service.tracing.spans import Spans

__all__ = ["SCOPE", "Recorder", "events_of", "facts", "scope", "seconds"]

SCOPE: Mapping[str, Any] = {
    "method": "POST",
    "path": "/compare-stream",
    "scheme": "http",
    "http_version": "1.1",
    "headers": [],
}


def scope(**headers: str) -> dict[str, Any]:
    """A request with these headers."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {**SCOPE, "headers": raw}


class _Begun(SpanProcessor):
    """Counts the spans that have begun."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.names.append(span.name)


class Recorder:
    """A tracing whose spans stay here."""

    def __init__(self, *, sampler: Sampler | None = None, propagates: bool = True) -> None:
        self._exporter = InMemorySpanExporter()
        self._begun = _Begun()
        provider = TracerProvider(sampler, shutdown_on_exit=False)
        provider.add_span_processor(self._begun)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Spans(provider.get_tracer("tests"), propagates=propagates)

    @property
    def begun(self) -> Sequence[str]:
        """The names of all spans, ended or not."""
        return self._begun.names

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """The spans that have ended, in that order."""
        return self._exporter.get_finished_spans()

    @property
    def comparison(self) -> ReadableSpan:
        """The one span that is no model's."""
        [span] = [span for span in self.ended if not span.name.startswith("chat ")]
        return span

    @property
    def models(self) -> dict[str, ReadableSpan]:
        """The models' spans, by what the events call the models."""
        found = [span for span in self.ended if span.name.startswith("chat ")]
        by_name = {str(facts(span)["compare_stream.model"]): span for span in found}
        assert len(by_name) == len(found), "a model has two spans"
        return by_name

    @property
    def text(self) -> str:
        """All that was recorded."""
        return json.dumps([json.loads(span.to_json()) for span in self.ended], ensure_ascii=False)


def facts(span: ReadableSpan) -> Mapping[str, Any]:
    """What it says of itself."""
    return span.attributes or {}


def seconds(span: ReadableSpan, since: ReadableSpan | None = None) -> tuple[float, float]:
    """When it began and ended, in seconds since the other one began, or since it did itself."""
    zero = (since or span).start_time
    assert zero is not None
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - zero) / 1e9, (span.end_time - zero) / 1e9


def events_of(span: ReadableSpan) -> list[tuple[float, str, dict[str, Any]]]:
    """Its events, with the seconds since it began."""
    assert span.start_time is not None
    return [
        ((event.timestamp - span.start_time) / 1e9, event.name, dict(event.attributes or {}))
        for event in span.events
    ]
