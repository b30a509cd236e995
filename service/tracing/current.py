"""What a comparison tells its trace, and the span of the model whose task this is.

A model's requests are made deep below its task, some of them in tasks that it starts. The span that
they belong to goes along as a context variable: a child begins with a copy of its parent's context,
and no signature in between has to know of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from service.events import Done

__all__ = [
    "OFF",
    "UNTRACED",
    "Asked",
    "Headers",
    "ModelTrace",
    "Trace",
    "Tracing",
    "attempt_begins",
    "attempt_failed",
    "headers_along",
    "in_this_task",
]

Headers: TypeAlias = Sequence[tuple[str, str]]


class Asked(Protocol):
    """What is known of a prompt without its text."""

    @property
    def model(self) -> str:
        """The model's name as its provider knows it."""

    @property
    def max_tokens(self) -> int:
        """The most that the answer may be."""

    @property
    def temperature(self) -> float | None:
        """None: not sent."""

    @property
    def top_p(self) -> float | None:
        """None: not sent."""


class Trace(Protocol):
    """Hears of one comparison what its span is made of; each method once for each thing it tells.

    None of them waits, and none raises.
    """

    def begins(self, comparison: str, models: int) -> None:
        """The comparison of this id, of so many models, is about to run."""

    def model_begins(self, name: str, provider: str, asked: Asked, simulated: bool) -> None:
        """A model's task has begun, and this is it: what it does from here on is the model's."""

    def model_ended(self, done: Done) -> None:
        """A model has ended."""

    def ended(self, word: str, dones: Sequence[Done]) -> None:
        """Nothing of it runs any more; the word says how it ended."""


class Tracing(Protocol):
    """Makes the traces of one process."""

    def of(self, scope: Mapping[str, Any]) -> Trace:
        """The trace of the comparison that this request (ASGI) asks for."""


class ModelTrace(Protocol):
    """Hears of one model what happens before its answer has begun."""

    def attempt_begins(self, provider: str, model: str) -> None:
        """A request is about to be made."""

    def attempt_failed(self, code: str) -> None:
        """A request has come to nothing, and another is made in its place or runs beside it."""

    def headers_to(self, url: str) -> Headers:
        """What a request to this address carries of the trace."""


class _Untraced:
    def begins(self, comparison: str, models: int) -> None:
        pass

    def model_begins(self, name: str, provider: str, asked: Asked, simulated: bool) -> None:
        pass

    def model_ended(self, done: Done) -> None:
        pass

    def ended(self, word: str, dones: Sequence[Done]) -> None:
        pass


class _Off:
    def of(self, scope: Mapping[str, Any]) -> Trace:  # noqa: ARG002
        return UNTRACED


UNTRACED: Trace = _Untraced()
OFF: Tracing = _Off()

_model: ContextVar[ModelTrace | None] = ContextVar("traced model", default=None)


def in_this_task(model: ModelTrace) -> None:
    """What this task does from here on, and the tasks that it starts, is this model's."""
    _model.set(model)


def attempt_begins(provider: str, model: str) -> None:
    """A request for the model of this task is about to be made."""
    if (traced := _model.get()) is not None:
        traced.attempt_begins(provider, model)


def attempt_failed(code: str) -> None:
    """A request for the model of this task has come to nothing, but is not the last word."""
    if (traced := _model.get()) is not None:
        traced.attempt_failed(code)


def headers_along(url: str) -> Headers:
    """The headers that go along with a request to this address, besides the dialect's."""
    traced = _model.get()
    return () if traced is None else traced.headers_to(url)
