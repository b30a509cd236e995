"""The OpenAI chat-completions dialect as OpenRouter speaks it: bytes to values, values to bytes."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from service.simulator.temperaments import MODELS

__all__ = [
    "DONE",
    "PROCESSING",
    "ChatRequest",
    "Envelope",
    "RequestError",
    "Usage",
    "error_json",
    "models_json",
    "parse_request",
]

FinishReason: TypeAlias = Literal["stop", "length"]

PROCESSING: Final = b": OPENROUTER PROCESSING\n\n"
DONE: Final = b"data: [DONE]\n\n"

_CHARACTERS_PER_TOKEN = 4
_encode = msgspec.json.Encoder().encode


class RequestError(Exception):
    """A request gets a status of its own in place of an answer."""

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.headers = headers


class Part(Struct, frozen=True):
    """A part of a message; what is no text counts for nothing here."""

    text: str = ""


class Turn(Struct, frozen=True):
    """One message of the conversation."""

    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class ChatRequest(Struct, frozen=True):
    """What is asked; other fields of the dialect are accepted and have no effect."""

    # A model id comes back in every chunk, so it must not be a novel.
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[Turn], Meta(min_length=1)]
    stream: bool | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None

    @property
    def prompt(self) -> str:
        """The last thing the user said."""
        return next((turn.text for turn in reversed(self.messages) if turn.role == "user"), "")

    @property
    def prompt_tokens(self) -> int:
        """An estimate, as four characters to a token."""
        characters = sum(len(turn.text) for turn in self.messages)
        return max(1, -(-characters // _CHARACTERS_PER_TOKEN))

    @property
    def limit(self) -> int | None:
        """The most tokens that the answer may have; the newer name of the field wins."""
        return self.max_completion_tokens or self.max_tokens


_requests = msgspec.json.Decoder(ChatRequest)


def parse_request(body: bytes) -> ChatRequest:
    """Read a request's body; `RequestError` says in a sentence what is wrong with it."""
    try:
        return _requests.decode(body)
    # Beside its own errors, which are ValueErrors, msgspec lets UnicodeDecodeError through for a
    # string that is no UTF-8, and RecursionError for nesting without end.
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid_request", f"The request is not valid: {error}") from error


class Usage(Struct, frozen=True, kw_only=True):
    """The tokens of one answer."""

    prompt_tokens: int
    reasoning_tokens: int
    completion_tokens: int
    """All that the model wrote, the reasoning among them."""

    def to_json(self) -> dict[str, Any]:
        """As the dialect spells it; a simulation costs nothing."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "cost": 0,
        }


class Envelope:
    """One answer's events and its JSON: the constant part is encoded once, not once a token."""

    def __init__(self, *, id: str, created: int, model: str) -> None:  # noqa: A002 (the field's name)
        self._facts = {"id": id, "created": created, "model": model, "provider": "Simulator"}
        facts = _encode({"object": "chat.completion.chunk", **self._facts})
        self._head = b"data: " + facts[:-1]  # left open: more fields follow
        self._delta = self._head + b',"choices":[{"index":0,"delta":{'

    def text(self, piece: str, *, first: bool) -> bytes:
        """One token of the answer; the first of all names the role."""
        return self._piece(b'"content":', piece, first)

    def thought(self, piece: str, *, first: bool) -> bytes:
        """One token of the thinking before the answer."""
        return self._piece(b'"reasoning":', piece, first)

    def _piece(self, field: bytes, piece: str, first: bool) -> bytes:
        role = b'"role":"assistant",' if first else b""
        return b'%b%b%b%b},"finish_reason":null}]}\n\n' % (self._delta, role, field, _encode(piece))

    def finish(self, reason: FinishReason) -> bytes:
        """The chunk without text that says why the answer ends."""
        return self._chunk(choices=[_closing_choice(reason)])

    def usage(self, reason: FinishReason, usage: Usage) -> bytes:
        """The accounts; OpenRouter repeats the finish reason here where OpenAI has no choices."""
        return self._chunk(choices=[_closing_choice(reason)], usage=usage.to_json())

    def failure(self, error: RequestError) -> bytes:
        """An error after the status has been sent: the stream ends with it."""
        return self._chunk(choices=[_closing_choice("error")], error=_error(error))

    def completion(
        self, reason: FinishReason | None, text: str, reasoning: str, usage: Usage
    ) -> bytes:
        """The whole answer as one JSON object."""
        message = {"role": "assistant", "content": text}
        if reasoning:
            message["reasoning"] = reasoning
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return _encode(
            {
                "object": "chat.completion",
                **self._facts,
                "choices": [choice],
                "usage": usage.to_json(),
            }
        )

    def _chunk(self, **fields: Any) -> bytes:
        return b"%b,%b\n\n" % (self._head, _encode(fields)[1:])


def _closing_choice(reason: str) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": ""}, "finish_reason": reason}


def _error(error: RequestError) -> dict[str, Any]:
    return {
        "code": error.status,
        "message": str(error),
        "type": error.error_type,
        "metadata": {"error_type": error.error_type},
    }


def error_json(error: RequestError) -> bytes:
    """The body of a refusal: OpenAI's fields and OpenRouter's in one object."""
    return _encode({"error": _error(error)})


def models_json() -> bytes:
    """The list of models."""
    data = [
        {
            "id": model.id,
            "object": "model",
            "created": 0,
            "owned_by": "simulator",
            "name": model.name,
            "description": model.description,
            "pricing": {"prompt": "0", "completion": "0"},
        }
        for model in MODELS
    ]
    return _encode({"object": "list", "data": data})
