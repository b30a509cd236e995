"""Chunks that hold a piece of text and nothing else: read at once, as if read one by one."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ProviderError
from service.providers.openai import ChatReading
from service.providers.plain_chunks import plain_texts


def plain(content: object = "a", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, **fields}]}


def lines(*chunks: Any) -> bytes:
    return "\n".join(json.dumps(chunk) for chunk in chunks).encode()


def test_texts_come_in_their_order_and_empty_ones_are_none() -> None:
    assert plain_texts(lines(plain("a"), plain(""), plain("é\n"))) == ("a", "é\n")


def test_fields_that_nobody_reads_may_be_anything() -> None:
    chunk = {
        **plain("a", logprobs={"content": [1]}, finish_reason=None, native_finish_reason="x"),
        "id": "gen-1",
        "created": 1e300,
        "system_fingerprint": None,
        "usage": None,
        "object": "chat.completion.chunk",
    }
    assert plain_texts(lines(chunk)) == ("a",)


@pytest.mark.parametrize(
    "chunk",
    [
        plain(None),
        plain([{"type": "text", "text": "a"}]),
        plain("a", finish_reason="stop"),
        plain("a", error={"message": "x"}),
        {"choices": []},
        {"choices": [plain()["choices"][0]] * 2},
        {"choices": [{"index": 1, "delta": {"content": "a"}}]},
        {"choices": [{"delta": {"content": "a", "reasoning": "hm"}}]},
        {"choices": [{"delta": {"content": "a", "reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"content": "a", "refusal": "no"}}]},
        {"choices": [{"delta": {}}]},
        {**plain(), "usage": {"prompt_tokens": 1}},
        {**plain(), "error": {"message": "x"}},
        {**plain(), "object": "error"},
        {"error": "x"},
        [],
        "a",
        1,
    ],
)
def test_whatever_says_more_is_not_plain(chunk: Any) -> None:
    assert plain_texts(lines(plain(), chunk, plain())) is None


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b"",
        b'{"choices":[{"delta":{"content":"a"}}]}\n',
        b'{"choices":[{"delta":{"content":"a"}}]}\n\n{"choices":[{"delta":{"content":"a"}}]}',
        b'{"choices":[{"delta":\n{"content":"a"}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_one_chunk_to_a_line_is_not_plain(data: bytes) -> None:
    assert plain_texts(data) is None


EVENTS = st.sampled_from(
    [
        b"data: " + lines(plain("a")) + b"\n\n",
        b"data: " + lines(plain("é\u2028\\n")) + b"\n\n",
        b"data: " + lines(plain("")) + b"\n\n",
        b"data: " + lines(plain("b", finish_reason="stop")) + b"\n\n",
        b"data: " + lines({"choices": [{"delta": {"reasoning": "hm"}}]}) + b"\n\n",
        b"data: " + lines({"choices": [], "usage": {"completion_tokens": 3}}) + b"\n\n",
        b"data: " + lines({"error": {"message": "late"}}) + b"\n\n",
        b": ping\n\n",
        b"data: {\n\n",
        b'data: {"choices":\ndata: [{"delta":{"content":"c"}}]}\n\n',
        b"data: " + lines(plain("d")) + b"\r\n\r\n",
        b"event: error\ndata: {}\n\n",
        b"data: " + lines(plain("e")) + b"\n" + lines(plain("f")) + b"\n\n",
        b"\n",
        b"data: [DONE]\n\n",
    ]
)


def outcome(reads: list[bytes]) -> tuple[str, str, object, object]:
    """Text, reasoning, ending and usage of a stream that comes in these reads."""
    reading = ChatReading()
    text = reasoning = ""
    try:
        for read in reads:
            for delta in reading.feed(read):
                text += "".join(delta.texts)
                reasoning += delta.reasoning
        ending: object = reading.ending()
    except ProviderError as error:
        ending = (error.code, str(error))
    return text, reasoning, ending, reading.usage


@settings(deadline=None, max_examples=400)
@given(st.lists(EVENTS, max_size=12), st.lists(st.integers(0, 700), max_size=6))
def test_a_stream_is_read_the_same_in_large_reads_as_byte_by_byte(
    events: list[bytes], places: list[int]
) -> None:
    stream = b"".join(events)
    cuts = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    reads = [stream[start:end] for start, end in pairwise(cuts)]
    assert outcome(reads) == outcome([stream[i : i + 1] for i in range(len(stream))])
