"""Chunks that hold a piece of text and nothing else, many at once.

Nearly all of an answer is of that kind. What it takes to say so is written down as types, so that
the JSON parser itself checks it: one choice, the first; a text; no reason for an end, no thinking,
no refusal, no usage, no error, unless it is null. A field that is not named here is one that nobody
reads. Whatever departs from this is for the reading that looks at everything.

Nor do the chunks of one answer differ in anything but their text, as a rule. So what stands around
the text of one is remembered, and where all of the next stand in the same, their texts are cut out
and read as one array of strings: a third of the work. The same stands around a text if no
quotation mark is in it, for then it ends where it seems to end.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from service.eventstream import BETWEEN, apart

__all__ = ["PlainChunks"]

MOST_FRAMES: Final = 8
"""Times that an answer may change what stands around its texts before nobody looks any more: it
carries a time or a random word in each chunk."""

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


_chunk = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.encode
_strings = msgspec.json.Decoder(tuple[str, ...]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class PlainChunks:
    """The plain chunks of one answer."""

    def __init__(self) -> None:
        self._before = b""
        """What stands before a text, up to its quotation mark."""
        self._behind = b""
        self._between = b""
        """What stands between two texts: what is behind the one and before the other."""
        self._frames = 0

    def texts(self, events: bytes) -> tuple[str, ...] | None:
        """The pieces of text in the data of some events; None unless all are that plain.

        `events` are as `service.eventstream.Decoder.plain` gives them.
        """
        texts = self._framed_alike(events)
        if texts is None:
            texts = self._one_by_one(events)
        return tuple(filter(None, texts)) if texts and "" in texts else texts

    def _framed_alike(self, events: bytes) -> tuple[str, ...] | None:
        before, behind = self._before, self._behind
        if not before:
            return None
        start, stop = len(before), -len(behind)
        texts = [event[start:stop] for event in events.split(BETWEEN)]
        # All frames are compared at once; and so is that there is nothing else in between.
        if before + self._between.join(texts) + behind != events or b'"' in b"".join(texts):
            return None
        try:
            # Behind one that ended with a backslash, and so not there, every mark would open where
            # it should close, and the array would be none.
            return _strings(b'["%b"]' % b'","'.join(texts))
        except _UNREADABLE:
            return None

    def _one_by_one(self, events: bytes) -> tuple[str, ...] | None:
        each = apart(events)
        if each is None:
            return None
        try:
            texts = tuple([_chunk(event).choices[0].delta.content for event in each])
        except _UNREADABLE:
            return None
        if self._frames < MOST_FRAMES:
            self._look_around(texts[-1], each[-1])
        return texts

    def _look_around(self, text: str, event: bytes) -> None:
        """Remember what stands around this text, if that can be told."""
        if self._before and event.startswith(self._before) and event.endswith(self._behind):
            return
        self._frames += 1
        before, found, behind = event.partition(_encode(text))
        if found and _is_frame(before, behind):
            self._before, self._behind = before + b'"', b'"' + behind
            self._between = self._behind + BETWEEN + self._before


def _is_frame(before: bytes, behind: bytes) -> bool:
    """Whether what stands between the two is the text, and not the same said elsewhere."""
    try:
        chunks = [_chunk(before + _encode(text) + behind) for text in ("one", "another")]
    except _UNREADABLE:
        return False
    return [chunk.choices[0].delta.content for chunk in chunks] == ["one", "another"]
