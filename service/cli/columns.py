"""What live columns show: events in, state out. No I/O and no clock; `panels` draws it.

Moments are seconds by the caller's clock, and every text here is fit for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from service.cli.words import failed, printable
from service.events import (
    Chunk,
    Complete,
    Done,
    ErrorChunk,
    Event,
    Metadata,
    Reasoning,
    Start,
    Usage,
)

__all__ = ["Board", "Column", "State"]

State: TypeAlias = Literal["waiting", "thinking", "writing", "done", "failed", "stopped"]


@dataclass(slots=True)
class _Writing:
    """A text that grows by many small pieces and is looked at now and then."""

    pieces: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]


@dataclass(slots=True)
class Column:
    """One model, as far as it has come."""

    name: str
    asked_at: float
    state: State = "waiting"
    chunks: int = 0
    """Pieces of answer and reasoning; about a token each."""
    first_token_at: float | None = None
    """Of the answer; reasoning does not count."""
    failure: str | None = None
    done: Done | None = None
    simulated: bool = False
    """The simulator plays this model."""
    _answer: _Writing = field(default_factory=_Writing)
    _thoughts: _Writing = field(default_factory=_Writing)

    @property
    def answer(self) -> str:
        """All that has come of the answer."""
        return str(self._answer)

    @property
    def thoughts(self) -> str:
        """All that has come of the reasoning."""
        return str(self._thoughts)

    @property
    def usage(self) -> Usage | None:
        """What the whole answer took; None while there is none."""
        return self.done.usage if self.done is not None and not self.done.error else None

    @property
    def size(self) -> int:
        """Tokens when the model is done, chunks until then: one is an estimate of the other."""
        return self.chunks if self.usage is None else self.usage.output_tokens

    def elapsed(self, now: float) -> float:
        """Seconds since it was asked; they stand still when it has ended."""
        return now - self.asked_at if self.done is None else self.done.timings.duration_ms / 1000

    def first_token(self) -> float | None:
        """Seconds until its first token."""
        if self.done is not None:
            ms = self.done.timings.first_token_ms
            return None if ms is None else ms / 1000
        return None if self.first_token_at is None else self.first_token_at - self.asked_at

    def write(self, content: str, now: float) -> None:
        """A piece of the answer has come."""
        self.state = "writing"
        self.chunks += 1
        self.first_token_at = now if self.first_token_at is None else self.first_token_at
        self._answer.pieces.append(printable(content))

    def think(self, content: str) -> None:
        """A piece of the reasoning has come."""
        self.state = "thinking"
        self.chunks += 1
        self._thoughts.pieces.append(printable(content))

    def end(self, done: Done) -> None:
        """The model has ended."""
        self.done = done
        self.state = "failed" if done.error else "done"
        self.failure = failed(done, self.failure) if done.error else None


class Board:
    """All models of one comparison, side by side in the order in which they were asked."""

    def __init__(self, models: Iterable[str], *, max_tokens: int, now: float) -> None:
        self.max_tokens = max_tokens
        """Of each answer."""
        self.metadata: Metadata | None = None
        """What the comparison came to, once it is complete."""
        self._columns = {model: Column(model, asked_at=now) for model in models}

    @property
    def columns(self) -> list[Column]:
        """The models."""
        return list(self._columns.values())

    def hear(self, event: Event, now: float) -> None:
        """Take in one event that came at `now`."""
        match event:
            case Start():
                self._columns[event.model].simulated = event.simulated is True
            case Chunk():
                self._columns[event.model].write(event.content, now)
            case Reasoning():
                self._columns[event.model].think(event.content)
            case ErrorChunk():
                self._columns[event.model].failure = event.content
            case Done():
                self._columns[event.model].end(event)
            case Complete():
                self.metadata = event.metadata

    def stop(self) -> None:
        """Nothing more will be heard: what has not ended was stopped."""
        for column in self.columns:
            if column.done is None:
                column.state = "stopped"
