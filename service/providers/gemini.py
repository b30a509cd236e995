"""The dialect of Google's Gemini API: `streamGenerateContent` as Server-Sent Events.

Each event is a whole response object with the parts that are new. There is no marker: the end of
the body is the end. A reason to finish may stand in every event, so it does not end anything by
itself, and what follows it is read like the rest. An answer is whole when a reason has come, the
body ended in order, and nothing stood torn at its end; a connection that breaks is no end, reason
or not, for nobody can know what would have followed.

A part with `thought` is reasoning. A question that is blocked has `promptFeedback` and no
candidate; an answer that is stopped has a reason other than the two of a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from service.errors import ProviderError
from service.events import Usage
from service.eventstream import Decoder
from service.providers import Message, Prompt
from service.providers.conversation import Turn, in_turns
from service.providers.dialect import EVENT_STREAM, Delta, Request, json_headers
from service.providers.faults import classify, mapping, refusal, retry_after_seconds
from service.providers.figures import count, is_figure
from service.providers.loose_json import loads
from service.providers.objects import ObjectReading, text_in

__all__ = ["ContentReading", "GenerateContent"]

ROLES = {"user": "user", "assistant": "model"}
WHOLE = frozenset({"STOP", "MAX_TOKENS"})
"""The reasons of an answer that nothing went wrong with."""
FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
"""The reasons that are a filter's; all others are a failure of the model's, known or not."""
BY_STATUS: dict[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The names of `google.rpc.Code`, as the statuses that they come with over HTTP."""
LONGEST_EXPLANATION = 1000
"""Characters that are kept for one sentence, of which 300 are shown: a key that they are cut off in
is not among these."""


class GenerateContent:
    """The dialect; see `service.providers.dialect.Dialect`."""

    media_type = EVENT_STREAM

    def __init__(self, base_url: str, *, api_key: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = json_headers(EVENT_STREAM)
        if api_key is not None:  # never in the URL, which others write down
            self._headers["x-goog-api-key"] = api_key

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """The sampling that was asked for and the bound on tokens; nothing else is sent."""
        chosen: dict[str, Any] = {"maxOutputTokens": prompt.max_tokens}
        if prompt.temperature is not None:
            chosen["temperature"] = prompt.temperature
        if prompt.top_p is not None:
            chosen["topP"] = prompt.top_p
        return {"generationConfig": chosen}

    def request(self, prompt: Prompt) -> Request:
        """One answer, streamed."""
        system, turns = in_turns(prompt.messages)
        body: dict[str, Any] = {
            "contents": [{"role": ROLES[turn.role], "parts": _parts(turn)} for turn in turns],
            **self.parameters(prompt),
        }
        if system:
            body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
        model = quote(prompt.model.removeprefix("models/"), safe="")
        url = f"{self._base_url}/models/{model}:streamGenerateContent?alt=sse"
        return Request(url, self._headers, msgspec.json.encode(body))

    def reading(self) -> ContentReading:
        """A reading for one answer."""
        return ContentReading()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What a status other than 200 means; the error may be the one item of a list."""
        answer = loads(body)
        if isinstance(answer, list):
            answer = answer[0] if answer else None
        error = mapping(answer).get("error")
        if not error or 300 <= status < 400:
            return refusal(status, headers, body)
        waiting = retry_after_seconds(headers.get("retry-after"))
        return _fault(error, status=status, retry_after=waiting)


class ContentReading(ObjectReading):
    """One answer being read."""

    def __init__(self) -> None:
        super().__init__(Decoder())
        self._explanation = ""

    def _take(self, value: Mapping[str, Any]) -> Iterator[Delta]:
        usage = mapping(value.get("usageMetadata"))
        feedback = mapping(value.get("promptFeedback"))
        candidates = value.get("candidates")
        if isinstance(candidates, list):
            for candidate in candidates:
                if not isinstance(candidate, dict):
                    self._count_malformed()
                elif candidate.get("index") in (0, None):
                    yield from self._candidate(candidate)
        elif not (usage or feedback or value.get("error")):
            self._count_malformed()
        if usage:
            self._account(usage)
        reason = text_in(feedback, "blockReason")
        if reason and reason != "BLOCK_REASON_UNSPECIFIED":
            words = text_in(feedback, "blockReasonMessage")
            raise _filtered(words, f"The provider blocked the question: {reason}.")

    def _candidate(self, candidate: Mapping[str, Any]) -> Iterator[Delta]:
        parts = mapping(candidate.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            if text := text_in(part, "text"):
                is_thought = mapping(part).get("thought") is True
                yield Delta(reasoning=text) if is_thought else Delta(texts=(text,))
        reason = text_in(candidate, "finishReason")
        if reason and reason != "FINISH_REASON_UNSPECIFIED":
            self.finish_reason = reason
            self._explanation = text_in(candidate, "finishMessage")[:LONGEST_EXPLANATION]
        elif "content" not in candidate:
            self._count_malformed()

    def _account(self, usage: Mapping[str, Any]) -> None:
        self._input_tokens = count(usage, "promptTokenCount") + count(
            usage, "toolUsePromptTokenCount"
        )
        # The figures grow from event to event, and that of the text may be missing.
        if not is_figure(usage.get("candidatesTokenCount")) and self._characters:
            self._usage = None
            return
        thoughts = count(usage, "thoughtsTokenCount")
        self._usage = Usage(
            input_tokens=self._input_tokens,
            output_tokens=count(usage, "candidatesTokenCount") + thoughts,
            reasoning_tokens=thoughts,
            estimated=False,
        )

    def _is_whole(self) -> bool:
        return self.finish_reason is not None and not self._is_torn

    def _judge(self) -> None:
        reason = self.finish_reason
        if reason in WHOLE:
            return
        if reason in FILTERED:
            raise _filtered(self._explanation, f"The provider stopped the answer: {reason}.")
        words = self._explanation or f"The provider ended the answer with {reason}."
        raise ProviderError("provider_error", words)

    def _fault(self, error: object) -> ProviderError:
        return _fault(error)


def _filtered(words: str, otherwise: str) -> ProviderError:
    return ProviderError("content_filtered", words[:LONGEST_EXPLANATION] or otherwise)


def _fault(
    error: object, *, status: int | None = None, retry_after: float | None = None
) -> ProviderError:
    """What an error object means: `code` is a number, `status` a name, `details` know more."""
    details = mapping(error).get("details")
    facts = [mapping(fact) for fact in details] if isinstance(details, list) else []
    if status is None:
        status = BY_STATUS.get(text_in(error, "status"))
    if any(fact.get("reason") == "API_KEY_INVALID" for fact in facts):
        status = 401  # they say 400
    if retry_after is None:
        retry_after = _delay(facts)
    return classify(error, status=status, retry_after=retry_after)


def _delay(facts: Sequence[Mapping[str, Any]]) -> float | None:
    """The seconds in a `google.rpc.RetryInfo`: `"retryDelay": "34.5s"`."""
    delays = (text_in(fact, "retryDelay") for fact in facts)
    return next((retry_after_seconds(delay.removesuffix("s")) for delay in delays if delay), None)


def _parts(turn: Turn) -> list[dict[str, Any]]:
    return [part for message in turn.parts for part in _parts_of(message)]


def _parts_of(message: Message) -> Iterator[dict[str, Any]]:
    for image in message.images:
        yield {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    if message.content.strip():
        yield {"text": message.content}
