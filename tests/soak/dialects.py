"""How an answer is said in each dialect, block by block; written from their documentation.

Nothing here is the service's own code, which could be wrong in the same way twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DIALECTS", "Dialect", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The blocks of one dialect's streams."""

    name: str
    media_type: str
    begin: tuple[bytes, ...]
    """What comes before the first piece."""
    piece: Callable[[str], bytes]
    thought: Callable[[str], bytes]
    finish: tuple[bytes, ...]
    """What makes the answer whole; all before the first of these must not count as an ending."""
    broken: bytes
    """An event that is no JSON."""
    error: bytes
    """A fault of the provider's in the middle of its stream."""


def _data(value: object, end: str = "\n\n") -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}{end}".encode()


def _choice(delta: Mapping[str, Any], reason: str | None = None) -> bytes:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


OPENAI = Dialect(
    name="openai",
    media_type="text/event-stream",
    begin=(b": processing\n\n", _choice({"role": "assistant", "content": ""})),
    piece=lambda text: _choice({"content": text}),
    thought=lambda text: _choice({"reasoning": text}),
    finish=(
        _choice({}, "stop"),
        _data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}}),
        b"data: [DONE]\n\n",
    ),
    broken=b'data: {"choices": [{"delta"\n\n',
    error=_data({"error": {"code": 500, "message": "The provider fell over."}}),
)


def _named(kind: str, **rest: Any) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **rest})


ANTHROPIC = Dialect(
    name="anthropic",
    media_type="text/event-stream",
    begin=(
        _named("message_start", message={"content": [], "usage": {"input_tokens": 9}}),
        _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _named("ping"),
    ),
    piece=lambda text: _named(
        "content_block_delta", index=0, delta={"type": "text_delta", "text": text}
    ),
    thought=lambda text: _named(
        "content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": text}
    ),
    finish=(
        _named("content_block_stop", index=0),
        _named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12}),
        _named("message_stop"),
    ),
    broken=b'data: {"type": "content_block_del\n\n',
    error=_named("error", error={"type": "api_error", "message": "The provider fell over."}),
)


def _candidate(text: str, *, thought: bool = False) -> bytes:
    part = {"text": text, "thought": True} if thought else {"text": text}
    return _data({"candidates": [{"content": {"parts": [part]}, "index": 0}]}, "\r\n\r\n")


GEMINI = Dialect(
    name="gemini",
    media_type="text/event-stream",
    begin=(),
    piece=_candidate,
    thought=lambda text: _candidate(text, thought=True),
    finish=(
        _data(
            {
                "candidates": [{"finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 12},
            },
            "\r\n\r\n",
        ),
    ),
    broken=b'data: {"candidates": [{"conte\r\n\r\n',
    error=_data(
        {"error": {"code": 500, "message": "The provider fell over.", "status": "INTERNAL"}},
        "\r\n\r\n",
    ),
)


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


OLLAMA = Dialect(
    name="ollama",
    media_type="application/x-ndjson",
    begin=(),
    piece=lambda text: _line({"message": {"role": "assistant", "content": text}, "done": False}),
    thought=lambda text: _line({"message": {"content": "", "thinking": text}, "done": False}),
    finish=(
        _line(
            {
                "message": {"content": ""},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 9,
                "eval_count": 12,
            }
        ),
    ),
    broken=b'{"message": {"conte\n',
    error=_line({"error": "The provider fell over."}),
)

DIALECTS = {dialect.name: dialect for dialect in (OPENAI, ANTHROPIC, GEMINI, OLLAMA)}


def refusal(dialect: str, status: int, *, retry_after: str | None) -> bytes:
    """A status other than 200 with its error object; the connection is kept."""
    words = f"The provider says {status}."
    body = _line({"error": words if dialect == "ollama" else {"message": words}})
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n"
    if retry_after is not None:
        head += f"Retry-After: {retry_after}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
