"""Chunks that hold a piece of text and nothing else, many at once.

Nearly all of an answer is of that kind. What it takes to say so is written down as types, so that
the JSON parser itself checks it: one choice, the first; a text; no reason for an end, no thinking,
no refusal, no usage, no error, unless it is null. A field that is not named here is one that nobody
reads. Whatever departs from this is for the reading that looks at everything.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

__all__ = ["plain_texts"]

Nothing: TypeAlias = Literal[""] | None


class _Delta(Struct, gc=False):
    content: str
    reasoning: Nothing = None
    reasoning_content: Nothing = None
    refusal: Nothing = None


class _Choice(Struct, gc=False):
    delta: _Delta
    index: Literal[0] | None = None
    finish_reason: Nothing = None
    error: None = None


class _Chunk(Struct, gc=False):
    choices: tuple[_Choice]
    object: Literal["chat.completion.chunk"] | None = None
    usage: None = None
    error: None = None


_decoder = msgspec.json.Decoder(_Chunk)


def plain_texts(lines: bytes) -> tuple[str, ...] | None:
    """The pieces of text in chunks of JSON, one on each line; None unless all are that plain."""
    try:
        chunks = _decoder.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if len(chunks) != lines.count(b"\n") + 1:
        return None  # a line break inside one of them, or nothing between two
    texts = tuple([chunk.choices[0].delta.content for chunk in chunks])
    return tuple(filter(None, texts)) if "" in texts else texts
