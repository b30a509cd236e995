"""Chunks that hold a piece of text and nothing else: read at once, as if read one by one."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ProviderError
from service.eventstream import BETWEEN
from service.providers.openai import ChatReading
from service.providers.plain_chunks import MOST_FRAMES, PlainChunks


def plain(content: object = "a", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, **fields}]}


def events(*chunks: Any) -> bytes:
    """The data of events of one line each, as the stream's decoder gives them."""
    return BETWEEN.join(json.dumps(chunk).encode() for chunk in chunks)


def plain_texts(data: bytes) -> tuple[str, ...] | None:
    """What is read of it by one who has read nothing before."""
    return PlainChunks().texts(data)


def test_texts_come_in_their_order_and_empty_ones_are_none() -> None:
    assert plain_texts(events(plain("a"), plain(""), plain("é\n"))) == ("a", "é\n")


def test_fields_that_nobody_reads_may_be_anything() -> None:
    chunk = {
        **plain("a", logprobs={"content": [1]}, finish_reason=None, native_finish_reason="x"),
        "id": "gen-1",
        "created": 1e300,
        "system_fingerprint": None,
        "usage": None,
        "object": "chat.completion.chunk",
    }
    assert plain_texts(events(chunk)) == ("a",)


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
    assert plain_texts(events(plain(), chunk, plain())) is None


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b"",
        b'{"choices":[{"delta":{"content":"a"}}]}\n',
        b'{"choices":[{"delta":{"content":"a"}}]}\n\n{"choices":[{"delta":{"content":"a"}}]}',
        b'{"choices":[{"delta":{"content":"a"}}]}\ndata: {"choices":[{"delta":{"content":"a"}}]}',
        b'{"choices":[{"delta":\n{"content":"a"}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_one_chunk_to_an_event_is_not_plain(data: bytes) -> None:
    assert plain_texts(data) is None


# --- chunks that differ in their text alone ------------------------------------------------------


def chunk_around(text: bytes) -> bytes:
    """One whose text stands in it as these bytes."""
    return (
        b'{"id":"x","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % text
    )


def after_one(*texts: bytes) -> tuple[str, ...] | None:
    """What is read of chunks around these by one who has read another of the same kind."""
    chunks = PlainChunks()
    assert chunks.texts(chunk_around(b"first")) == ("first",)
    return chunks.texts(BETWEEN.join(map(chunk_around, texts)))


def one_by_one(texts: tuple[bytes, ...]) -> tuple[str, ...] | None:
    """What is read of them if each is read by itself, and nothing is remembered."""
    read = [plain_texts(chunk_around(text)) for text in texts]
    return None if None in read else tuple(text for one in read if one for text in one)


@pytest.mark.parametrize(
    "texts",
    [
        (b"a", b"b"),
        (b"", b"a", b""),
        (b"\\n", b"\\u00e9", "é".encode()),
        (b'\\"', b"a"),
        (b"a\\", b"b"),
        (b"a\\\\", b"b"),
        (b'a","content":"b',),
        (b'a"},"finish_reason":"stop","x":{"y":"',),
        (b'a"},"finish_reason":null}]}\n\ndata: {"z":[{"index":0,"delta":{"content":"',),
        (b'a","x":"b', b"c\\", b"d"),
        (b"a\\", b",", b","),
        (b"a\nb",),
        (b"a\x01b",),
        (b"\xff",),
        (b"\\ud800",),
        (b",", b",", b'","'),
    ],
)
def test_what_stands_around_a_text_changes_nothing_of_what_is_read(
    texts: tuple[bytes, ...],
) -> None:
    assert after_one(*texts) == one_by_one(texts)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(
        st.text(st.sampled_from('a",\\{}[]:\nné '), max_size=6).map(str.encode)
        | st.text(max_size=4).map(lambda text: json.dumps(text)[1:-1].encode()),
        min_size=1,
        max_size=4,
    ).map(tuple)
)
def test_any_texts_are_read_the_same_by_one_who_remembers(texts: tuple[bytes, ...]) -> None:
    assert after_one(*texts) == one_by_one(texts)


def test_one_that_stands_in_a_frame_of_another_is_told_from_it() -> None:
    chunks = PlainChunks()
    decoy = b'{"id":"one","choices":[{"delta":{"content":"\\u006fne"}}]}'
    assert chunks.texts(decoy) == ("one",)
    assert chunks.texts(decoy.replace(b'"one"', b'"two"')) == ("one",)


def test_chunks_that_never_look_alike_are_read_all_the_same() -> None:
    chunks = PlainChunks()
    for turn in range(3 * MOST_FRAMES):
        assert chunks.texts(events({**plain(f"a{turn}"), "created": turn})) == (f"a{turn}",)


EVENTS = st.sampled_from(
    [
        b"data: " + events(plain("a")) + b"\n\n",
        b"data: " + events(plain("é\u2028\\n")) + b"\n\n",
        b"data: " + events(plain("")) + b"\n\n",
        b"data: " + events(plain("b", finish_reason="stop")) + b"\n\n",
        b"data: " + events({"choices": [{"delta": {"reasoning": "hm"}}]}) + b"\n\n",
        b"data: " + events({"choices": [], "usage": {"completion_tokens": 3}}) + b"\n\n",
        b"data: " + events({"error": {"message": "late"}}) + b"\n\n",
        b": ping\n\n",
        b"data: {\n\n",
        b'data: {"choices":\ndata: [{"delta":{"content":"c"}}]}\n\n',
        b"data: " + events(plain("d")) + b"\r\n\r\n",
        b"event: error\ndata: {}\n\n",
        b"data: " + events(plain("e")) + b"\n" + events(plain("f")) + b"\n\n",
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
            if (texts := reading.plain(read)) is not None:
                text += "".join(texts)
                continue
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
