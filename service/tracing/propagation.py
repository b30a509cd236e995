"""The context of a request, taken and passed on by the headers of W3C Trace Context.

Whatever is wrong with a caller's headers, there is then no context, and the comparison's span is
the first of its trace: nobody is refused for it. `baggage` is neither read nor passed on: it may
hold anything about a caller, and providers are strangers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.current import Headers

__all__ = ["context_of", "headers_of", "is_wanted"]

LONGEST_STATE = 512
"""Characters of `tracestate`: as many as the standard has everybody pass on (3.3.1.5). A longer one
is not taken, as each provider would be sent it."""

_w3c = TraceContextTextMapPropagator()


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether context is taken and passed on; `OTEL_PROPAGATORS=none` says no."""
    names = environ.get("OTEL_PROPAGATORS", "").lower() or "tracecontext"
    return "tracecontext" in {name.strip() for name in names.split(",")}


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The caller's span as a parent; an empty context where there is none, or no sense in it."""
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value.decode("latin-1"))
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    if len(parents) != 1:  # two contradict each other
        return Context()
    carrier = {"traceparent": parents[0]}
    state = ",".join(states)
    if state and len(state) <= LONGEST_STATE:
        carrier["tracestate"] = state
    # An empty context: by itself it would be that of whatever runs.
    return _w3c.extract(carrier, Context())


def headers_of(span: Span) -> Headers:
    """The headers by which whoever gets them continues this span's trace."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span, Context()))
    return tuple(carrier.items())
