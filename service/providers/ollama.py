"""Ollama's own dialect, `/api/chat`: one JSON object on each line, no Server-Sent Events.

The last line has `done`, with the reason and the counts ("Generate a chat completion" in Ollama's
API documentation). An error in the middle is a line `{"error": "..."}` in a response with status
200, and no `done` follows it. An answer is whole when `done` has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from service.errors import ProviderError
from service.events import Usage
from service.jsonlines import LineDecoder
from service.providers import Message, Prompt
from service.providers.dialect import Delta, Request, json_headers
from service.providers.faults import refusal
from service.providers.figures import count, is_figure
from service.providers.loose_json import loads
from service.providers.objects import ObjectReading, text_in

__all__ = ["ChatLines", "LinesReading"]

JSON_LINES = "application/x-ndjson"
WITHOUT_AN_ANSWER = frozenset({"load", "unload"})
"""Reasons that speak of the model's being loaded, not of a text."""


class ChatLines:
    """The dialect; see `service.providers.dialect.Dialect`."""

    media_type = JSON_LINES

    def __init__(self, base_url: str, *, api_key: str | None = None) -> None:
        # Their documentation calls the address with /api the base, their library the one without.
        self._url = f"{base_url.rstrip('/').removesuffix('/api')}/api/chat"
        self._headers = json_headers(JSON_LINES)
        if api_key is not None:  # the hosted one, or a proxy in front
            self._headers["Authorization"] = f"Bearer {api_key}"

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """The sampling that was asked for and the bound on tokens; nothing else is sent."""
        options: dict[str, Any] = {"num_predict": prompt.max_tokens}
        if prompt.temperature is not None:
            options["temperature"] = prompt.temperature
        if prompt.top_p is not None:
            options["top_p"] = prompt.top_p
        return {"options": options}

    def request(self, prompt: Prompt) -> Request:
        """One answer, streamed."""
        body = {
            "model": prompt.model,
            "messages": [_message(message) for message in prompt.messages],
            "stream": True,
            **self.parameters(prompt),
        }
        return Request(self._url, self._headers, msgspec.json.encode(body))

    def reading(self) -> LinesReading:
        """A reading for one answer."""
        return LinesReading()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What a status other than 200 means; the body is `{"error": "..."}`."""
        return refusal(status, headers, body)


class LinesReading(ObjectReading):
    """One answer being read."""

    def __init__(self) -> None:
        self._lines = LineDecoder()
        super().__init__(self._lines)

    def plain(self, data: bytes) -> tuple[str, ...] | None:
        """The pieces of text in these bytes, if they hold nothing else."""
        if self.marked_done or (plain := self._lines.plain(data)) is None:
            return None
        lines, rest = plain
        try:
            chunks = _chunks.decode_lines(lines)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        if len(chunks) != lines.count(b"\n") + 1 or any(chunk.done for chunk in chunks):
            return None
        self._lines.skip(rest)
        self._heard = True
        texts = tuple([chunk.message.content for chunk in chunks if chunk.message.content])
        self._characters += sum(map(len, texts))
        return texts

    def whole(self, body: bytes) -> Iterator[Delta]:
        """The pieces of an answer in one object; or on lines, called JSON by somebody between."""
        if loads(body) is not None:
            yield from super().whole(body)
            return
        yield from self.feed(body)
        yield from self.flush()
        if body.strip() and not (self.marked_done or self._characters):
            raise ProviderError("protocol_error", "The provider's answer was no JSON object.")

    def _take(self, value: Mapping[str, Any]) -> Iterator[Delta]:
        message = value.get("message")
        text, thinking = text_in(message, "content"), text_in(message, "thinking")
        if text or thinking:
            yield Delta(texts=(text,) if text else (), reasoning=thinking)
        if value.get("done") is True:
            self.finish_reason = text_in(value, "done_reason") or None
            self._account(value)
            self.marked_done = True
        elif not (isinstance(message, dict) or value.get("error")):
            self._count_malformed()

    def _account(self, figures: Mapping[str, Any]) -> None:
        if is_figure(figures.get("eval_count")):
            self._usage = Usage(
                input_tokens=count(figures, "prompt_eval_count"),
                output_tokens=count(figures, "eval_count"),
                reasoning_tokens=0,  # they are among the others, and nobody counts them apart
                estimated=False,
            )

    def _judge(self) -> None:
        if self.finish_reason in WITHOUT_AN_ANSWER and not self._characters:
            raise ProviderError("empty_response", "The provider loaded the model and said nothing.")


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        told["images"] = [image.data for image in message.images]
    return told


Nothing: TypeAlias = Literal[""] | None


class _Message(Struct, gc=False):
    content: str
    thinking: Nothing = None


class _Chunk(Struct, gc=False):
    message: _Message
    done: bool
    error: None = None


_chunks = msgspec.json.Decoder(_Chunk)
