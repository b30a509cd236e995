"""Where spans go: OTLP over HTTP, sent in batches by a thread of the library's own.

A span that ends is put into a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048 of them), from which
the oldest falls when it is full: no stream ever waits for a receiver. All of it is set by the
library's own variables, but for what a batch is by default.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from service import __version__
from service.tracing.current import Tracing
from service.tracing.propagation import is_wanted
from service.tracing.spans import Spans
from service.tracing.words import hear_the_libraries

__all__ = ["Exporting"]

NAME = "compare-stream"
BATCH_SPANS = 32
"""The library's thread makes bytes of a batch in Python, while ours waits for the interpreter again
and again: with its own 512 a chunk came up to 36 ms late, with 32 up to 12. 32 in a round trip of
50 ms are the spans of 64 comparisons of nine models a second."""


class Exporting:
    """Spans on their way to the receiver that the environment names.

    Raises whatever the library does for a variable that it can't make sense of.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._words = hear_the_libraries(_secrets_of(environ))
        self._exporter = OTLPSpanExporter()
        # Not at the interpreter's exit: the library would wait there for half a minute.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        processor = BatchSpanProcessor(self._exporter, max_export_batch_size=_batch(environ))
        self._provider.add_span_processor(processor)
        tracer = self._provider.get_tracer(NAME, __version__)
        self.tracing: Tracing = Spans(tracer, propagates=is_wanted(environ))

    def flush(self) -> None:
        """Send what is left, and end; blocks for as long as the receiver does."""
        self._provider.shutdown()

    def abandon(self) -> None:
        """Whatever is still being sent is not tried again, and says no more; never blocks."""
        self._words.setLevel(logging.CRITICAL + 1)
        with suppress(Exception):
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _batch(environ: Mapping[str, str]) -> int | None:
    """Spans in a batch; None: the variables say."""
    names = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE")
    return None if any(environ.get(name) for name in names) else BATCH_SPANS


def _resource() -> Resource:
    """Who we are, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise."""
    said = OTELResourceDetector().detect().attributes
    ours = {"service.name": NAME, "service.version": __version__}
    return Resource.create({name: value for name, value in ours.items() if name not in said})


def _secrets_of(environ: Mapping[str, str]) -> Iterator[str]:
    """What the headers hold by which a receiver knows us; the library quotes what it can't read."""
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        for pair in environ.get(name, "").split(","):
            value = pair.partition("=")[2] or pair
            yield from {pair.strip(), value.strip(), unquote(value).strip()}
