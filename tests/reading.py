"""What a dialect's reading makes of bytes, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.errors import ProviderError
from service.events import ErrorCode, Usage
from service.providers import Ending
from service.providers.dialect import Delta, Reading

__all__ = ["Outcome", "read", "read_plainly", "read_whole"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a stream came to."""

    text: str
    reasoning: str
    ending: Ending | None
    code: ErrorCode | None = None
    words: str = ""
    retryable: bool = False
    usage: Usage | None = None
    """What was known of it when it failed."""


def read(make: Callable[[], Reading], pieces: Iterable[bytes]) -> Outcome:
    """The outcome of a stream in pieces that ends after them."""
    return _outcome(make(), lambda reading: _deltas(reading, pieces))


def read_plainly(make: Callable[[], Reading], pieces: Iterable[bytes]) -> Outcome:
    """The same, with the fast way tried first, as a call does."""
    return _outcome(make(), lambda reading: _deltas(reading, pieces, plainly=True))


def read_whole(make: Callable[[], Reading], body: bytes) -> Outcome:
    """The outcome of an answer that came as one JSON object."""
    return _outcome(make(), lambda reading: reading.whole(body))


def _deltas(reading: Reading, pieces: Iterable[bytes], *, plainly: bool = False) -> Iterable[Delta]:
    for piece in pieces:
        texts = reading.plain(piece) if plainly else None
        if texts is None:
            yield from reading.feed(piece)
        else:
            yield Delta(texts)
    yield from reading.flush()


def _outcome(reading: Reading, deltas: Callable[[Reading], Iterable[Delta]]) -> Outcome:
    text = reasoning = ""
    try:
        for delta in deltas(reading):
            text += "".join(delta.texts)
            reasoning += delta.reasoning
        return Outcome(text, reasoning, reading.ending())
    except ProviderError as error:
        return Outcome(
            text, reasoning, None, error.code, str(error), error.retryable, reading.usage
        )
