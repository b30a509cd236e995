"""The OpenAI dialect: chat completions as Server-Sent Events.

Spoken by OpenRouter, OpenAI, vLLM, llama.cpp, LM Studio, Ollama's `/v1`, and our simulator. What
they really send differs, so the reading is tolerant of shapes and strict about endings:

- a chunk that makes no sense is counted and passed over, up to a bound;
- text is handed on exactly as it came, in the order in which it came;
- an answer is whole when a `finish_reason` or the marker `[DONE]` has come. With neither it is
  `truncated`, however politely the connection was closed. With the marker alone it is whole, and
  the reason stays unknown (null): never `stop`, which nobody said.
- an `error` object ends it, also in the middle of a stream that began with 200 (OpenRouter's
  documentation, "Errors"; there `code` may be a number or a word). It may stand beside the last
  text, inside a choice, or bare in an event of the type `error`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from service.errors import ProviderError
from service.events import Usage
from service.eventstream import Decoder, FrameTooLarge, ServerSentEvent
from service.providers import Ending, Message, Prompt
from service.providers.dialect import EVENT_STREAM, MALFORMED_LIMIT, Delta, Request, json_headers
from service.providers.faults import classify, mapping, not_whole, refusal
from service.providers.figures import count, is_figure
from service.providers.loose_json import loads
from service.providers.plain_chunks import PlainChunks

__all__ = ["ChatCompletions", "ChatReading", "Flavour"]

LAST_WORDS = 3
"""Events at the end of an answer: its reason, its usage, the marker."""
LONGEST_REFUSAL = 1000
"""Characters that are kept for one sentence, of which 300 are shown: a key that they are cut off in
is not among these."""

Flavour: TypeAlias = Literal["openrouter", "openai", "compatible"]
"""Where a server departs from the common denominator:
`openrouter` reports usage unasked, `openai` wants `max_completion_tokens`."""


class ChatCompletions:
    """The dialect as one server speaks it; see `service.providers.call.Dialect`.

    `attribution` are the headers by which OpenRouter recognises an application.
    """

    media_type = EVENT_STREAM

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        flavour: Flavour = "compatible",
        attribution: Mapping[str, str] | None = None,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._flavour = flavour
        self._headers = {**json_headers(EVENT_STREAM), **(attribution or {})}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """The sampling that was asked for and the bound on tokens; nothing else is sent."""
        bound = "max_completion_tokens" if self._flavour == "openai" else "max_tokens"
        parameters: dict[str, Any] = {bound: prompt.max_tokens}
        if prompt.temperature is not None:
            parameters["temperature"] = prompt.temperature
        if prompt.top_p is not None:
            parameters["top_p"] = prompt.top_p
        return parameters

    def request(self, prompt: Prompt) -> Request:
        """One chat completion, streamed, with its usage reported."""
        body: dict[str, Any] = {
            "model": prompt.model,
            "messages": [_message(message) for message in prompt.messages],
            "stream": True,
            **self.parameters(prompt),
        }
        if self._flavour != "openrouter":
            body["stream_options"] = {"include_usage": True}
        return Request(self._url, self._headers, msgspec.json.encode(body))

    def reading(self) -> ChatReading:
        """A reading for one answer."""
        return ChatReading()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What a status other than 200 means."""
        return refusal(status, headers, body)


class ChatReading:
    """One chat completion being read; see `service.providers.call.Reading`."""

    def __init__(self) -> None:
        self.marked_done = False
        self._decoder = Decoder()
        self._plain = PlainChunks()
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.cost_usd: float | None = None
        self._wrote = False
        self._heard = False
        self._refusal = ""
        self._malformed = 0

    @property
    def finished(self) -> bool:
        """Whether the answer's text is whole."""
        return self.marked_done or self.finish_reason is not None

    def plain(self, data: bytes) -> tuple[str, ...] | None:
        """The pieces of text in these bytes, if they hold nothing else."""
        if self.marked_done or (plain := self._decoder.plain(data)) is None:
            return None
        events, rest = plain
        texts = self._plain.texts(events)
        if texts is not None:
            self._decoder.skip(rest)
            self._heard = True
            self._wrote = self._wrote or bool(texts)
        return texts

    def feed(self, data: bytes) -> Iterator[Delta]:
        """The pieces in these bytes; what comes after the marker is ignored."""
        if self.marked_done:
            return
        # Where an answer ends, its last words stand behind many that are plain.
        if (plain := self._decoder.plain(data, leaving=LAST_WORDS)) is not None:
            events, rest = plain
            if texts := self._plain.texts(events):
                self._decoder.skip(b"")
                self._heard = self._wrote = True
                yield Delta(texts=texts)
                data = rest
        try:
            for event in self._decoder.feed(data):
                yield from self._event(event)
                if self.marked_done:
                    return
        except FrameTooLarge as exc:
            raise ProviderError(
                "frame_too_large", "The provider sent an event larger than the service takes."
            ) from exc

    def flush(self) -> Iterator[Delta]:
        """The pieces of a last event whose blank line never came, if it is whole JSON."""
        event = self._decoder.end()
        if event is None:
            return
        self._heard = True
        if _is_marker(event.data) or loads(event.data) is not None:
            yield from self._event(event)

    def whole(self, body: bytes) -> Iterator[Delta]:
        """The pieces of an answer that was not streamed."""
        if not body.strip():
            return
        answer = loads(body)
        if not isinstance(answer, dict):
            raise ProviderError("protocol_error", "The provider's answer was no JSON object.")
        yield from self._chunk(answer)

    def ending(self) -> Ending:
        """How the answer ended; an answer that is not whole raises `ProviderError`."""
        if not self.finished:
            raise not_whole(heard=self._heard or self._wrote)
        if self.finish_reason == "content_filter" or (self._refusal and not self._wrote):
            raise ProviderError(
                "content_filtered", self._refusal or "The provider's content filter stopped it."
            )
        if self.finish_reason == "error":
            raise ProviderError("provider_error", "The provider failed in the middle of it.")
        if self.finish_reason is None and not self._wrote:
            raise ProviderError("empty_response", "The provider ended without any text.")
        return Ending(finish_reason=self.finish_reason, usage=self.usage, cost_usd=self.cost_usd)

    def _event(self, event: ServerSentEvent) -> Iterator[Delta]:
        self._heard = True
        if _is_marker(event.data):
            self.marked_done = True
            return
        chunk = loads(event.data)
        if event.event == "error":
            raise classify(mapping(chunk).get("error") or chunk or event.data)
        if isinstance(chunk, dict):
            yield from self._chunk(chunk)
        else:
            self._count_malformed()

    def _chunk(self, chunk: dict[str, Any]) -> Iterator[Delta]:
        error = chunk.get("error") or (chunk if chunk.get("object") == "error" else None)
        usage = mapping(chunk.get("usage"))
        if usage:
            self.usage, self.cost_usd = _usage_of(usage)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if not isinstance(choice, dict):
                    self._count_malformed()
                elif choice.get("index") in (0, None):
                    yield from self._choice(choice)
        elif not (usage or error):
            self._count_malformed()
        if error:
            raise classify(error)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Delta]:
        # `message` where an answer comes whole. OpenRouter's accounting chunk repeats the finish
        # reason with an empty delta: to be told the same thing twice changes nothing.
        delta = mapping(choice.get("delta")) or mapping(choice.get("message"))
        reasoning = _text(delta, "reasoning") or _text(delta, "reasoning_content")
        text = _text(delta, "content")
        self._refusal = (self._refusal + _text(delta, "refusal"))[:LONGEST_REFUSAL]
        self._wrote = self._wrote or bool(text)
        if reasoning or text:
            yield Delta(texts=(text,) if text else (), reasoning=reasoning)
        finish_reason = choice.get("finish_reason")
        if isinstance(finish_reason, str) and finish_reason:
            self.finish_reason = finish_reason
        elif "delta" not in choice and "message" not in choice:
            self._count_malformed()
        if choice.get("error"):
            raise classify(choice["error"])

    def _count_malformed(self) -> None:
        self._malformed += 1
        if self._malformed > MALFORMED_LIMIT:
            raise ProviderError(
                "protocol_error", "The provider sent too many chunks that make no sense."
            )


def _message(message: Message) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.content}
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}]
    parts += [{"type": "image_url", "image_url": {"url": image.url}} for image in message.images]
    return {"role": message.role, "content": parts}


def _is_marker(data: str) -> bool:
    return data.strip() == "[DONE]"


def _text(delta: Mapping[str, Any], key: str) -> str:
    value = delta.get(key)
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # parts, as some servers send them: [{"type": "text", ...}]
        texts = (mapping(part).get("text") for part in value)
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def _usage_of(usage: Mapping[str, Any]) -> tuple[Usage, float | None]:
    details = mapping(usage.get("completion_tokens_details"))
    return (
        Usage(
            input_tokens=count(usage, "prompt_tokens"),
            output_tokens=count(usage, "completion_tokens"),
            reasoning_tokens=count(details, "reasoning_tokens"),
            estimated=False,
        ),
        float(usage["cost"]) if is_figure(usage.get("cost")) else None,
    )
