"""The dialect of Anthropic's Messages API: named events, a marker at their end.

`message_start` brings the size of the question; then come blocks, each begun, continued by deltas
and stopped; `message_delta` says why the answer ended and how long it is, and `message_stop` that
nothing follows ("Streaming messages" in Anthropic's documentation, which also says that other
events may be added and are to be ignored). An answer is whole when `message_stop` has come: a
reason alone is not enough where a marker never fails to follow it. A `ping` says that the provider
lives, and an `error` event may come at any time, with the status that the response can't have any
more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from service.errors import ProviderError
from service.events import Usage
from service.eventstream import Decoder, apart
from service.providers import Message, Prompt
from service.providers.conversation import Turn, in_turns
from service.providers.dialect import EVENT_STREAM, Delta, Request, json_headers
from service.providers.faults import mapping, refusal
from service.providers.figures import count, is_figure
from service.providers.objects import ObjectReading, text_in

__all__ = ["Messages", "MessagesReading"]

VERSION = "2023-06-01"
"""The only version of the API that there has been since its beginning."""
HOTTEST = 1
"""The highest temperature that the API takes, where others take 2."""
INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""What the question's tokens are spread over: new ones, and those that went to or came from a
cache."""
BEFORE_A_DELTA = b"event: content_block_delta\ndata: "


class Messages:
    """The dialect; see `service.providers.dialect.Dialect`."""

    media_type = EVENT_STREAM

    def __init__(self, base_url: str, *, api_key: str | None = None) -> None:
        self._url = f"{base_url.rstrip('/')}/messages"
        self._headers = {**json_headers(EVENT_STREAM), "anthropic-version": VERSION}
        if api_key is not None:
            self._headers["x-api-key"] = api_key

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """The bound on tokens, which the API demands, and the sampling that was asked for."""
        parameters: dict[str, Any] = {"max_tokens": prompt.max_tokens}
        if prompt.temperature is not None:
            parameters["temperature"] = prompt.temperature
        if prompt.top_p is not None:
            parameters["top_p"] = prompt.top_p
        return parameters

    def request(self, prompt: Prompt) -> Request:
        """One message, streamed.

        Raises `ProviderError` (`bad_request`) for a temperature above 1: it would be refused, and
        lowering it unasked would compare what nobody asked for.
        """
        if prompt.temperature is not None and prompt.temperature > HOTTEST:
            raise ProviderError(
                "bad_request",
                f"This provider takes a temperature of 0 to {HOTTEST}, not {prompt.temperature:g}.",
            )
        system, turns = in_turns(prompt.messages)
        body: dict[str, Any] = {
            "model": prompt.model,
            "messages": [{"role": turn.role, "content": _content(turn)} for turn in turns],
            "stream": True,
            **self.parameters(prompt),
        }
        if system:
            body["system"] = _in_one_or_more(system)
        return Request(self._url, self._headers, msgspec.json.encode(body))

    def reading(self) -> MessagesReading:
        """A reading for one answer."""
        return MessagesReading()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What a status other than 200 means."""
        return refusal(status, headers, body)


class MessagesReading(ObjectReading):
    """One message being read."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        super().__init__(self._decoder)
        self._figures: dict[str, int] = {}
        self._explanation = ""

    def plain(self, data: bytes) -> tuple[str, ...] | None:
        """The pieces of text in these bytes, if they hold nothing else."""
        if self.marked_done:
            return None
        plain = self._decoder.plain(data, before=BEFORE_A_DELTA)
        if plain is None:
            return None
        events, rest = plain
        each = apart(events, before=BEFORE_A_DELTA)
        if each is None:
            return None
        try:
            deltas = [_delta(event) for event in each]
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        self._decoder.skip(rest)
        self._heard = True
        texts = tuple([delta.delta.text for delta in deltas if delta.delta.text])
        self._characters += sum(map(len, texts))
        return texts

    def _take(self, value: Mapping[str, Any]) -> Iterator[Delta]:
        match text_in(value, "type"):
            case "content_block_delta":
                if not isinstance(value.get("delta"), dict):
                    self._count_malformed()
                yield from _pieces(value.get("delta"))
            case "content_block_start":
                yield from _pieces(value.get("content_block"))
            case "message_start":
                self._note_input(mapping(mapping(value.get("message")).get("usage")))
            case "message_delta":
                self._conclude(mapping(value.get("delta")), mapping(value.get("usage")))
            case "message_stop":
                self.marked_done = True
            case "message":  # an answer that was not streamed
                content = value.get("content")
                for block in content if isinstance(content, list) else ():
                    yield from _pieces(block)
                self._conclude(value, mapping(value.get("usage")))
                self.marked_done = self.finish_reason is not None
            case "error" if not value.get("error"):
                raise self._fault(value)
            case "" if not value.get("error"):
                self._count_malformed()

    def _conclude(self, told: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        self.finish_reason = text_in(told, "stop_reason") or self.finish_reason
        self._explanation = text_in(told.get("stop_details"), "explanation")
        self._note_input(usage)
        if not is_figure(usage.get("output_tokens")):
            return
        # The count grows: the last one is that of the whole, the thinking among it.
        details = mapping(usage.get("output_tokens_details"))
        self._usage = Usage(
            input_tokens=self._input_tokens or 0,
            output_tokens=count(usage, "output_tokens"),
            reasoning_tokens=count(details, "thinking_tokens"),
            estimated=False,
        )

    def _note_input(self, usage: Mapping[str, Any]) -> None:
        self._figures |= {name: count(usage, name) for name in INPUT if is_figure(usage.get(name))}
        if self._figures:
            self._input_tokens = sum(self._figures.values())

    def _judge(self) -> None:
        if self.finish_reason == "refusal":
            raise ProviderError(
                "content_filtered", self._explanation or "The provider's filter stopped the answer."
            )


def _pieces(block: object) -> Iterator[Delta]:
    """The text or the thinking in a block, or in what it grew by; there are other kinds."""
    match text_in(block, "type"):
        case "text" | "text_delta" if text := text_in(block, "text"):
            yield Delta(texts=(text,))
        case "thinking" | "thinking_delta" if thinking := text_in(block, "thinking"):
            yield Delta(reasoning=thinking)


def _content(turn: Turn) -> object:
    """What a turn holds: a text where that is all, else blocks, pictures before their text."""
    if not any(part.images for part in turn.parts):
        return _in_one_or_more([part.content for part in turn.parts])
    return [block for part in turn.parts for block in _blocks(part)]


def _blocks(part: Message) -> Iterator[dict[str, Any]]:
    for image in part.images:
        source = {"type": "base64", "media_type": image.media_type, "data": image.data}
        yield {"type": "image", "source": source}
    if part.content.strip():
        yield {"type": "text", "text": part.content}


def _in_one_or_more(texts: tuple[str, ...] | list[str]) -> object:
    if len(texts) == 1:
        return texts[0]
    return [{"type": "text", "text": text} for text in texts]


class _TextDelta(Struct, gc=False, tag_field="type", tag="text_delta"):
    text: str


class _BlockDelta(Struct, gc=False, tag_field="type", tag="content_block_delta"):
    delta: _TextDelta
    error: None = None


_delta = msgspec.json.Decoder(_BlockDelta).decode
