"""Was a stream of answers really concurrent? Judged by a client, from its own arrival times.

Any server that speaks the stream can be judged, so nothing is believed but the order and the
moments of arrival: a server may send every `start` at once and then ask one model after another
(then start-to-done holds the waiting, and the wall clock looks perfect), or send each `start` only
when its turn has come, or hold everything back and send it in one piece.

What a server cannot pretend without doing it is *writing*: the time from a model's first chunk to
its last. Two spans of writing that overlap mean that two models were at work at once. When all
spans share one moment, everything ran at once and nothing is left to explain. When they do not,
either some models were quick and others late, which is natural, or the models queued. Nobody can
see when a queue let a model go, but it was not before an earlier one had ended; so a model's *turn*
is taken to last from there to its own end, its wait for a first token included. A queue shows in a
wall clock far above the longest turn, or in many spans in a row.

A model that failed says nothing, for or against. An answer that came in one piece has no span; only
its start is evidence. Where evidence is missing the verdict is UNDECIDED, not SEQUENTIAL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Arrival", "ModelLine", "Verdict", "Word", "describe", "judge"]

Word: TypeAlias = Literal["CONCURRENT", "SEQUENTIAL", "UNDECIDED"]
Span: TypeAlias = tuple[float, float]

# Starts cost a server nothing, so half a second is generous: it is room for a slow network.
START_SPREAD_SECONDS = 0.5

# Enough chunks to see at a glance that models take turns.
FIRST_CHUNKS = 20

# Servers and proxies gather what they send for some tens of milliseconds, and a client reads what
# is there at once: the order of things within such a burst says nothing about when they were made.
BURST_SECONDS = 0.05

# A whole stream that was held back takes a moment to come through the network. Beside the wait
# for it, that moment is short.
BURST_SHARE = 0.05

# One chunk in ten is left out at either end of a span: a greeting sent ahead of the answer, or a
# footer kept for last, would stretch the span over the other models' turns. An answer of less
# than ten chunks has none to spare.
TRIM = 10

# The wall clock over the longest turn: 1 when everything ran at once, 2 for two rounds of equal
# answers. Half way between them there is room for answers and first tokens that differ a lot.
ROUNDS = 1.5

# Some models follow each other by nature: a quick one is done before a slow one's first token. Four
# in a row, and more than two thirds of all, are a queue, even beside one long answer that hides it.
QUEUE, QUEUE_SHARE = 4, 2 / 3


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as a client parsed it, and when it came: seconds since the request was sent."""

    seconds: float
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """What was seen of one model; moments are seconds since the request, None: never."""

    model: str
    start: float | None
    first_chunk: float | None
    end: float | None
    chunks: int
    """Pieces of text, thinking aloud among them; neither blank ones nor words of failure."""
    error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The word, why, and the figures behind it; a figure is None when there was nothing to measure.

    The clocks are those of the models that did not fail, the writing is that of the models whose
    answers came in more than one piece.
    """

    word: Word
    reasons: tuple[str, ...]
    """A sentence for each check that failed; none when the stream was concurrent."""
    start_spread_seconds: float | None
    models_among_first_chunks: int
    wall_seconds: float | None
    """From the first start to the last end."""
    slowest_seconds: float | None
    """The longest time from a start to its end, waiting for its turn included."""
    sum_seconds: float | None
    wall_over_slowest: float | None
    """No check of its own: the wall can exceed the slowest by the spread of the starts at most."""
    speedup: float | None
    """The sum over the wall. Flattering when the starts were sent ahead: believe the writing."""
    writers: int
    overlap: float | None
    """All spans of writing added up, over the time in which any of them ran; 1: no overlap."""
    at_once: int
    """The most models that wrote at one moment."""
    in_a_row: int
    """The most models of which each wrote only after another's last chunk."""
    rounds: float | None
    """From the first start to the last chunk, over the longest turn; 1: nobody queued."""
    models: tuple[ModelLine, ...]

    @property
    def concurrent(self) -> bool:
        """Whether a client saw the models answer at once."""
        return self.word == "CONCURRENT"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values, ready to be written as JSON."""
        return {"concurrent": self.concurrent, **asdict(self)}


def judge(arrivals: Sequence[Arrival]) -> Verdict:
    """The verdict on one whole stream, its events in the order of arrival.

    Events of an unknown kind or shape are passed over; nothing is raised for them.
    """
    heard = _hear(arrivals)
    counted = [trace for trace in heard.traces.values() if not trace.failed]
    starts = [trace.start for trace in counted if trace.start is not None]
    lasted = [(t.start, t.end) for t in counted if t.start is not None and t.end is not None]
    spread = max(starts) - min(starts) if starts else None
    wall = max(end for _, end in lasted) - min(start for start, _ in lasted) if lasted else None
    slowest = max((end - start for start, end in lasted), default=None)
    total = sum(end - start for start, end in lasted) if lasted else None
    writing = _Writing(
        {trace.model: trace.span for trace in counted if _length(trace.span) > BURST_SECONDS},
        begun=min(starts, default=0),
    )
    first = heard.first_voices({trace.model for trace in counted})

    against = [*_late_starts(spread)]
    gaps = [*_gaps(heard, counted, writing)]
    if not gaps:
        against += _queues(writing, first)
    return Verdict(
        word="SEQUENTIAL" if against else "UNDECIDED" if gaps else "CONCURRENT",
        reasons=(*against, *gaps),
        start_spread_seconds=spread,
        models_among_first_chunks=len(first),
        wall_seconds=wall,
        slowest_seconds=slowest,
        sum_seconds=total,
        wall_over_slowest=_ratio(wall, slowest),
        speedup=_ratio(total, wall),
        writers=len(writing.spans),
        overlap=writing.overlap,
        at_once=writing.at_once,
        in_a_row=writing.in_a_row,
        rounds=writing.rounds,
        models=tuple(trace.line() for trace in heard.traces.values()),
    )


# --- what was heard ---


@dataclass(slots=True)
class _Trace:
    """One model's moments, as they come in."""

    model: str
    start: float | None = None
    end: float | None = None
    failed: bool = False
    chunks: list[float] = field(default_factory=list)

    @property
    def span(self) -> Span:
        """The time of writing, without the outermost chunks of a long answer."""
        if not self.chunks:
            return (0, 0)
        spare = len(self.chunks) // TRIM
        return self.chunks[spare], self.chunks[-1 - spare]

    def line(self) -> ModelLine:
        return ModelLine(
            model=self.model,
            start=self.start,
            first_chunk=self.chunks[0] if self.chunks else None,
            end=self.end,
            chunks=len(self.chunks),
            error=self.failed,
        )


@dataclass(slots=True)
class _Heard:
    """A whole stream, sorted by model."""

    traces: dict[str, _Trace] = field(default_factory=dict)
    voices: list[str] = field(default_factory=list)
    """Whose each chunk was, in the order of arrival."""
    complete: bool = False

    def first_voices(self, counted: set[str]) -> list[str]:
        """The distinct models among the first chunks."""
        voices = [model for model in self.voices if model in counted]
        return list(dict.fromkeys(voices[:FIRST_CHUNKS]))


def _hear(arrivals: Iterable[Arrival]) -> _Heard:
    heard = _Heard()
    for arrival in arrivals:
        kind, model = arrival.event.get("type"), arrival.event.get("model")
        if kind == "complete":
            heard.complete = True
        elif isinstance(model, str) and kind in ("start", "chunk", "reasoning", "done"):
            trace = heard.traces.setdefault(model, _Trace(model))
            if _note(trace, arrival):
                heard.voices.append(model)
    return heard


def _note(trace: _Trace, arrival: Arrival) -> bool:
    """Add one event to its model's trace; true when it was a piece of text."""
    content, error = arrival.event.get("content"), bool(arrival.event.get("error"))
    trace.failed = trace.failed or error
    match arrival.event["type"]:
        case "start" if trace.start is None:
            trace.start = arrival.seconds
        case "done":
            trace.end = arrival.seconds
        # A blank piece costs a server nothing and may be sent ahead: it is no sign of a model.
        case "chunk" | "reasoning" if not error and isinstance(content, str) and content.strip():
            trace.chunks.append(arrival.seconds)
            return True
    return False


# --- who wrote when ---


class _Writing:
    """The spans of those that wrote, and what they have in common."""

    def __init__(self, spans: Mapping[str, Span], begun: float) -> None:
        self.spans = spans
        moments = sorted(spans.values())
        self.overlap = _ratio(sum(map(_length, moments)), _union(moments))
        self.at_once = _at_once(moments)
        self.in_a_row = _in_a_row(moments)
        ends = sorted(end for _, end in moments)
        # The first to write may all have begun at once; each later one when a place became free.
        turns = zip(moments, [begun] * self.at_once + ends, strict=False)
        longest = max((end - free for (_, end), free in turns), default=None)
        self.rounds = _ratio(ends[-1] - begun if ends else None, longest)


def _length(span: Span) -> float:
    begin, end = span
    return end - begin


def _union(spans: Iterable[Span]) -> float:
    """How long at least one of the spans, given by their begin, lasted."""
    union, reached = 0.0, -math.inf
    for begin, end in spans:
        union += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return union


def _at_once(spans: Sequence[Span]) -> int:
    """The most spans that overlap by more than a burst; a new most begins where a span does."""
    return max(
        (sum(begin <= now < end - BURST_SECONDS for begin, end in spans) for now, _ in spans),
        default=0,
    )


def _in_a_row(spans: Iterable[Span]) -> int:
    """The most spans of which no two overlap so: always take the one that ends first."""
    count, free = 0, -math.inf
    for begin, end in sorted(spans, key=lambda span: span[1]):
        if begin >= free - BURST_SECONDS:
            count, free = count + 1, end
    return count


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


# --- the checks: each yields a sentence when it fails ---


def _late_starts(spread: float | None) -> Iterable[str]:
    if spread is not None and spread > START_SPREAD_SECONDS:
        yield (
            f"The last model started {spread:.2f} s after the first"
            f" ({START_SPREAD_SECONDS:.2f} s are allowed):"
            " look for a loop that waits for one model before it asks the next."
        )


def _gaps(heard: _Heard, counted: Sequence[_Trace], writing: _Writing) -> Iterable[str]:
    """What is missing from the evidence."""
    unfinished = [f"'done' of {t.model}" for t in heard.traces.values() if t.end is None]
    if missing := unfinished + ["'complete'"] * (not heard.complete):
        yield (
            f"The stream was cut: it ended without {_listed(missing)};"
            " look at the server's log, and for a time limit on the way."
        )
    if silent := [trace.model for trace in counted if trace.start is None]:
        yield f"No 'start' came for {_listed(silent)}: look at what the server sends first."

    several = [trace for trace in counted if len(trace.chunks) > 1]
    if len(several) > 1 and (burst := _burst([trace.chunks for trace in several])):
        yield burst
    elif len(writing.spans) < 2:
        wrote = _listed(list(writing.spans)) if writing.spans else "none"
        yield (
            f"A verdict needs two models that write, in more than one piece; here: {wrote}."
            " Ask at least two models for a long answer, and see that it is streamed."
        )


def _burst(chunks: Sequence[Sequence[float]]) -> str | None:
    first = min(times[0] for times in chunks)
    lasted = max(times[-1] for times in chunks) - first
    if lasted > max(BURST_SECONDS, BURST_SHARE * first):
        return None
    return (
        f"All text arrived within {lasted * 1000:.0f} ms, {first:.2f} s after the request:"
        " not concurrent as far as a client can see;"
        " look for buffering or compression, in the server or in a proxy."
    )


def _queues(writing: _Writing, first_voices: Sequence[str]) -> Iterable[str]:
    """Signs that models waited for each other; only for whole evidence."""
    models = len(writing.spans)
    if writing.in_a_row == models:
        order = sorted(writing.spans, key=writing.spans.__getitem__)
        yield (
            f"No two models wrote at the same time: {', then '.join(order)}. Look for an await"
            " between them; if the answers are a few words, ask for longer ones."
        )
        # Not on its own: a quick model may write more than this before a slow one's first token.
        if len(first_voices) == 1:
            yield (
                f"The first {FIRST_CHUNKS} chunks are all of {first_voices[0]}:"
                " look at what the others did meanwhile."
            )
    elif writing.in_a_row >= QUEUE and writing.in_a_row > QUEUE_SHARE * models:
        yield (
            f"{writing.in_a_row} of {models} models wrote one after another:"
            " look for a limit on threads, connections or tasks."
        )
    elif writing.rounds is not None and writing.rounds > ROUNDS:
        yield (
            f"At most {writing.at_once} of {models} models wrote at once, and it took"
            f" {writing.rounds:.1f} times as long as the longest whose turn had come:"
            " look for a limit on threads, connections or tasks;"
            " if first tokens take longer than answers, ask for longer ones."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


# --- for people ---


def describe(verdict: Verdict) -> str:
    """The verdict as plain text: a line for each model, the figures, the word and the reasons.

    Model names are a stranger's words: what a terminal might obey is replaced.
    """
    lines = [*_table(verdict.models), "", *_figures(verdict), "", _headline(verdict)]
    lines += [f"- {reason}" for reason in verdict.reasons]
    return "\n".join(map(_printable, lines))


def _table(models: Iterable[ModelLine]) -> Iterable[str]:
    rows = [("model", "start", "first chunk", "end", "chunks", "")]
    for m in models:
        moments = (_seconds(m.start), _seconds(m.first_chunk), _seconds(m.end))
        rows.append((m.model, *moments, str(m.chunks), "failed" if m.error else ""))
    name, *widths, _ = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for model, *cells, remark in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join([model.ljust(name), *aligned, remark]).rstrip()


def _figures(v: Verdict) -> Iterable[str]:
    yield f"starts           {_seconds(v.start_spread_seconds)} apart"
    yield f"first {FIRST_CHUNKS} chunks  from {_models(v.models_among_first_chunks)}"
    yield (
        f"writing          {v.at_once} of {_models(v.writers)} at once, {v.in_a_row} in a row,"
        f" overlap {_times(v.overlap)}, {_times(v.rounds)} the longest turn"
    )
    yield (
        f"wall clock       {_seconds(v.wall_seconds)},"
        f" {_times(v.wall_over_slowest)} the slowest ({_seconds(v.slowest_seconds)}),"
        f" start to end added up {_seconds(v.sum_seconds)}"
    )


def _headline(v: Verdict) -> str:
    counted = _models(sum(not line.error for line in v.models))
    if not v.concurrent:
        return f"{v.word}: {counted} in {_seconds(v.wall_seconds)}"
    return (
        f"{v.word}: {counted} in {_seconds(v.wall_seconds)},"
        f" slowest {_seconds(v.slowest_seconds)},"
        f" one after another {_seconds(v.sum_seconds)} ({_times(v.speedup)} faster)"
    )


def _models(count: int) -> str:
    return f"{count} model" if count == 1 else f"{count} models"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}x"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
