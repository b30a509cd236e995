"""An answer as a row of JSON objects, each in an event or on a line: what such dialects share.

A dialect says what one object means, and when an answer is whole. The rest holds for all of them:

- an object that makes no sense is counted and passed over, up to a bound; an event of a type that
  nobody knows is nothing at all;
- an `error` object ends the answer, and whatever stands beside it is kept;
- what stands without its end where the body ends counts if it is whole JSON;
- an answer that is not said to be done is `truncated`, however politely it was closed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from service.errors import ProviderError
from service.events import Usage
from service.eventstream import FrameTooLarge, ServerSentEvent
from service.providers import Ending
from service.providers.dialect import MALFORMED_LIMIT, Delta
from service.providers.faults import classify, mapping, not_whole
from service.providers.loose_json import loads

__all__ = ["Frames", "ObjectReading", "text_in"]

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English, for what the model wrote until the provider reports it."""


class Frames(Protocol):
    """Cuts a stream into its events."""

    @property
    def is_torn(self) -> bool:
        """Whether something has come whose end has not."""

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that these bytes make whole; raises `FrameTooLarge`."""

    def end(self) -> ServerSentEvent | None:
        """What the end of the stream cut off."""


class ObjectReading(ABC):
    """One answer being read; see `service.providers.dialect.Reading`."""

    def __init__(self, frames: Frames) -> None:
        self.marked_done = False
        self.cost_usd: float | None = None
        self._frames = frames
        self.finish_reason: str | None = None
        self._usage: Usage | None = None
        self._input_tokens: int | None = None
        self._characters = 0
        self._reasoning_characters = 0
        self._heard = False
        self._is_torn = False
        self._malformed = 0

    @property
    def finished(self) -> bool:
        """Whether the answer's text is whole; here only a marker says so."""
        return self.marked_done

    @property
    def usage(self) -> Usage | None:
        """What has been reported; where that is the input alone, the rest is estimated."""
        if self._usage is not None or self._input_tokens is None:
            return self._usage
        reasoning = -(-self._reasoning_characters // CHARACTERS_PER_TOKEN)
        return Usage(
            input_tokens=self._input_tokens,
            output_tokens=-(-self._characters // CHARACTERS_PER_TOKEN) + reasoning,
            reasoning_tokens=reasoning,
            estimated=True,
        )

    def plain(self, data: bytes) -> tuple[str, ...] | None:  # noqa: ARG002  # a dialect's may look
        """Nothing is plain unless the dialect knows how to tell."""
        return None

    def feed(self, data: bytes) -> Iterator[Delta]:
        """The pieces in these bytes; what comes after the marker is ignored."""
        if self.marked_done:
            return
        try:
            for event in self._frames.feed(data):
                yield from self._event(event)
                if self.marked_done:
                    return
        except FrameTooLarge as exc:
            raise ProviderError(
                "frame_too_large", "The provider sent an event larger than the service takes."
            ) from exc

    def flush(self) -> Iterator[Delta]:
        """The pieces of a last object whose end never came, if it is whole JSON."""
        if self.marked_done:
            return
        self._is_torn = self._frames.is_torn
        event = self._frames.end()
        if event is None:
            return
        self._heard = True
        if loads(event.data) is not None:
            self._is_torn = False
            yield from self._event(event)

    def whole(self, body: bytes) -> Iterator[Delta]:
        """The pieces of an answer that was not streamed: one object, or a list of them."""
        if not body.strip():
            return
        value = loads(body)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(value, dict) for value in values):
            raise ProviderError("protocol_error", "The provider's answer was no JSON object.")
        for value in values:
            yield from self._object(value, "message")

    def ending(self) -> Ending:
        """How the answer ended; an answer that is not whole raises `ProviderError`."""
        if not self._is_whole():
            raise not_whole(heard=self._heard or self._characters + self._reasoning_characters > 0)
        self._judge()
        if self.finish_reason is None and not self._characters:
            raise ProviderError("empty_response", "The provider ended without any text.")
        return Ending(finish_reason=self.finish_reason, usage=self.usage, cost_usd=self.cost_usd)

    def _event(self, event: ServerSentEvent) -> Iterator[Delta]:
        self._heard = True
        value = loads(event.data)
        if isinstance(value, dict):
            yield from self._object(value, event.event)
        elif event.event == "error":
            raise self._fault(value or event.data)
        elif event.event == "message":
            self._count_malformed()

    def _object(self, value: Mapping[str, Any], kind: str) -> Iterator[Delta]:
        for delta in self._take(value):
            self._characters += sum(map(len, delta.texts))
            self._reasoning_characters += len(delta.reasoning)
            yield delta
        error = value.get("error") or (value if kind == "error" else None)
        if error:
            self.marked_done = False  # whatever it says besides
            raise self._fault(error)

    def _count_malformed(self) -> None:
        self._malformed += 1
        if self._malformed > MALFORMED_LIMIT:
            raise ProviderError(
                "protocol_error", "The provider sent too many chunks that make no sense."
            )

    def _is_whole(self) -> bool:
        """Whether the provider has said that the answer is done; asked at its end."""
        return self.marked_done

    def _judge(self) -> None:
        """Raise what the finish reason means if it is no success."""
        return

    def _fault(self, error: object) -> ProviderError:
        """What an error in the middle of a stream means."""
        return classify(error)

    @abstractmethod
    def _take(self, value: Mapping[str, Any]) -> Iterator[Delta]:
        """The pieces in one object; an `error` in it is seen to by others."""


def text_in(value: object, key: str) -> str:
    """The text of that name in an object; empty if there is none, or something else."""
    text = mapping(value).get(key)
    return text if isinstance(text, str) else ""
