"""Traces in the words of OpenTelemetry: a span for each comparison, below it one for each model.

    POST /compare-stream         SERVER  from the comparison's beginning until nothing of it runs
    ├─ chat gpt-4o-mini          CLIENT  from the model's beginning to its `done`, the wait for its
    └─ chat claude-sonnet-4-5    CLIENT  turn and every attempt included; events: `attempt`,
                                         `attempt_failed`, `first_token`

What a span says is known when it ends, so nothing is done for a chunk. Numbers, codes and names are
recorded, and no text that a client or a provider wrote: no question, no answer, no failure in a
provider's words, no header, no key.

Off is the usual case, and costs nothing: what stands in for a trace has empty methods, and the
libraries are not imported. Only `exporting`, `spans` and `propagation` import them, and only
`opening` imports these, when the environment asks for traces.

    current      the span of the model whose task this is; nothing, when traces are off
    opening      whether traces are wanted, as the environment says
    exporting    where spans go, by a thread of the library's own; its end has a deadline
    spans        the spans
    propagation  the context of a request, taken and passed on (W3C Trace Context)
    words        what the libraries log, as lines of ours, bounded
"""

from service.tracing.current import (
    OFF,
    UNTRACED,
    Trace,
    Tracing,
    attempt_begins,
    attempt_failed,
    headers_along,
)
from service.tracing.opening import open_tracing

__all__ = [
    "OFF",
    "UNTRACED",
    "Trace",
    "Tracing",
    "attempt_begins",
    "attempt_failed",
    "headers_along",
    "open_tracing",
]
