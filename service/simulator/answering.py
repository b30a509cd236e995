"""From a request to a timetable: what will be said, and when. No I/O and no clock.

Every piece has an absolute time, counted from the request: a late one does not make the next one
later, so an answer ends when it should however busy the process is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice, takewhile
from typing import Literal, TypeAlias

from service.simulator.dialect import (
    DONE,
    PROCESSING,
    ChatRequest,
    Envelope,
    RequestError,
    Usage,
    error_json,
)
from service.simulator.temperaments import Temperament
from service.simulator.writing import Assignment, write, write_thoughts

__all__ = ["Answer", "Cue", "Ending", "compose", "refusal_by", "timetable", "whole"]

Ending: TypeAlias = Literal["stop", "length", "error", "silence", "cut"]
"""How an answer ends: by itself, at the limit, in an error, never, or without saying so."""

Cue: TypeAlias = tuple[float, bytes]
"""Bytes to send, and when: in seconds since the request. Infinity: never."""

# OpenRouter sends a comment about once a second while it waits for the model.
_COMMENT_SECONDS = 1.0
# Nobody asks for more; and `islice` takes no larger number than a machine word.
_NO_LIMIT = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that one model will say. Times are seconds, as they pass at `speed`."""

    temperament: Temperament
    model: str
    thoughts: tuple[str, ...]
    text: tuple[str, ...]
    ending: Ending
    prompt_tokens: int
    speed: float

    def __len__(self) -> int:
        """Pieces, which are tokens, the thoughts' among them."""
        return len(self.thoughts) + len(self.text)

    @property
    def usage(self) -> Usage:
        """What the answer took; pieces are tokens."""
        return Usage(
            prompt_tokens=self.prompt_tokens,
            reasoning_tokens=len(self.thoughts),
            completion_tokens=len(self),
        )

    def due(self, index: int) -> float:
        """When the piece of that index, counted through thoughts and text, is to be heard."""
        temperament = self.temperament
        index -= index % temperament.burst
        return (
            temperament.first_token_seconds + index / temperament.tokens_per_second
        ) / self.speed

    @property
    def duration(self) -> float:
        """When the answer is over; infinite if it never is."""
        return math.inf if self.ending == "silence" else self.due(len(self) - 1)


def compose(
    request: ChatRequest, temperament: Temperament, *, seed: int = 0, speed: float = 1.0
) -> Answer:
    """Write what this temperament answers, within the limit that the request sets."""
    ending = _ending(temperament)
    limit = min(request.limit or _NO_LIMIT, _NO_LIMIT)
    if ending != "stop":  # it breaks off in mid-sentence
        limit = min(limit, temperament.length[1])
    assignment = Assignment(temperament, request.model, request.prompt, seed)
    thoughts = tuple(islice(write_thoughts(assignment), limit))
    # One more than may be said shows whether there is more to say.
    text = tuple(islice(write(assignment), limit - len(thoughts) + 1))
    if len(thoughts) + len(text) > limit:
        text = text[:-1]
        ending = "length" if ending == "stop" else ending
    return Answer(
        temperament=temperament,
        model=request.model,
        thoughts=thoughts,
        text=text,
        ending=ending,
        prompt_tokens=request.prompt_tokens,
        speed=speed,
    )


def _ending(temperament: Temperament) -> Ending:
    match temperament.misbehaviour:
        case "fails":
            return "error"
        case "stalls":
            return "silence"
        case "truncates":
            return "cut"
        case "floods" | "refuses" | None:
            return "stop"


def refusal_by(temperament: Temperament) -> RequestError | None:
    """What is said in place of any answer by a model that takes no requests."""
    if temperament.misbehaviour != "refuses":
        return None
    return RequestError(
        429,
        "rate_limit_exceeded",
        f"{temperament.id} is simulated to be over its rate limit.",
        headers=(("Retry-After", "30"),),
    )


def timetable(answer: Answer, envelope: Envelope) -> Iterator[Cue]:
    """Every event of the stream in order, each with its time; made as they are taken."""
    first = answer.due(0)
    interval = _COMMENT_SECONDS / answer.speed
    for due in takewhile(lambda due: due < first, (n * interval for n in count())):
        yield due, PROCESSING
    for index, text in enumerate(chain(answer.thoughts, answer.text)):
        piece = envelope.thought if index < len(answer.thoughts) else envelope.text
        yield answer.due(index), piece(text, first=index == 0)
    end = answer.duration
    match answer.ending:
        case "stop" | "length" as reason:
            yield end, envelope.finish(reason)
            yield end, envelope.usage(reason, answer.usage)
            yield end, DONE
        case "error":
            yield end, envelope.failure(_breakdown(answer))
        case "silence":
            yield end, b""
        case "cut":
            pass


def whole(answer: Answer, envelope: Envelope) -> tuple[int, bytes]:
    """The same answer as a status and one JSON object, for when its time has come."""
    if answer.ending == "error":
        error = _breakdown(answer)
        return error.status, error_json(error)
    reason = answer.ending if answer.ending in ("stop", "length") else None
    text, thoughts = "".join(answer.text), "".join(answer.thoughts)
    return 200, envelope.completion(reason, text, thoughts, answer.usage)


def _breakdown(answer: Answer) -> RequestError:
    return RequestError(
        502, "provider_unavailable", f"The simulated provider of {answer.model} has gone away."
    )
