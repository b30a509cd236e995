"""Is a recording the stream that it has to be, to the last byte; and when did what come?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from tests.bench.load import numbered
from tests.bench.recording import Recording, WrongStream

__all__ = ["Seen", "checked"]


class Event(msgspec.Struct):
    """The fields that every server has, from the first version of the contract on."""

    type: str
    model: str = ""
    content: str = ""
    error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A comparison as its client saw it, once it has proved to be right. Moments: nanoseconds."""

    asked_at: int
    started_at: int
    first_chunk_at: int
    ended_at: int
    slowest: int
    """The longest of the models, from its `start` to its `done`."""
    arrived: list[int]
    """Of each chunk, the moment at which the client had it."""
    added: list[int]
    """Of each chunk, the time from the provider's sending it to then."""


_decode = msgspec.json.Decoder(Event).decode


def checked(recording: Recording, models: Sequence[str], chunks: int) -> Seen:
    """Read the events and hold them to the grammar of docs/contract.md.

    Each model has to have sent `chunks` chunks, numbered from 0 on.

    Raises:
        WrongStream: with the first thing that is wrong.
    """
    if recording.status != 200:
        raise WrongStream(f"status {recording.status}")
    started: dict[str, int] = {}
    next_number: dict[str, int] = {}
    durations: dict[str, int] = {}
    arrived: list[int] = []
    added: list[int] = []
    complete = False
    for moment, event in _events(recording):
        model = event.model
        if complete:
            raise WrongStream(f"{event.type} follows complete")
        match event.type:
            case "chunk":
                if event.error:
                    raise WrongStream(f"{model}: {event.content}")
                if len(started) < len(models):
                    raise WrongStream(f"{model}: a chunk before every model has started")
                if model in durations:
                    raise WrongStream(f"{model}: a chunk behind its done")
                sent_at = _sent_at(event, next_number.get(model))
                next_number[model] += 1
                arrived.append(moment)
                added.append(moment - sent_at)
            case "start":
                if len(started) == len(models) or model != models[len(started)]:
                    raise WrongStream(f"{model}: a start out of its turn")
                started[model] = moment
                next_number[model] = 0
            case "progress":
                if model not in started or model in durations:
                    raise WrongStream(f"{model}: progress without start, or behind its done")
            case "done":
                if model not in started or model in durations or event.error:
                    raise WrongStream(f"{model}: a done without start, a second, or a failed one")
                if next_number[model] != chunks:
                    raise WrongStream(f"{model}: done after {next_number[model]} of {chunks}")
                durations[model] = moment - started[model]
            case "complete":
                if len(durations) < len(models):
                    raise WrongStream(f"complete after {len(durations)} of {len(models)} dones")
                complete = True
            case other:
                raise WrongStream(f"an event of the type {other}, which nobody sent")
    if not (complete and recording.whole):
        raise WrongStream("the stream was cut")
    return Seen(
        asked_at=recording.asked_at,
        started_at=min(started.values()),
        first_chunk_at=arrived[0],
        ended_at=recording.pieces[-1][0],
        slowest=max(durations.values()),
        arrived=arrived,
        added=added,
    )


def _sent_at(event: Event, expected: int | None) -> int:
    """When the provider sent this chunk, which must be the one that is expected."""
    text = numbered(event.content)
    if text is None:
        raise WrongStream(f"{event.model}: {event.content[:80]!r} is not what the provider sent")
    number, sent_at = text
    if number != expected:
        raise WrongStream(f"{event.model}: chunk {number} in place of {expected}")
    return sent_at


def _events(recording: Recording) -> Iterator[tuple[int, Event]]:
    """Each event with the moment at which its last byte had come."""
    rest = b""
    for moment, piece in recording.pieces:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            if block.startswith(b"data: "):
                try:
                    yield moment, _decode(block[6:])
                except msgspec.DecodeError as exc:
                    raise WrongStream(f"{block[:200]!r}: {exc}") from None
            elif not block.startswith(b": "):
                raise WrongStream(f"{block[:200]!r} is neither an event nor a comment")
    if rest:
        raise WrongStream(f"{rest[:200]!r} has no end")
