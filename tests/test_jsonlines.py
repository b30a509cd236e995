"""Lines of JSON, cut anywhere: the same lines, and bounded."""

from __future__ import annotations

import itertools

import pytest

from service.eventstream import FrameTooLarge
from service.jsonlines import LineDecoder

WIRE = '{"a":"é\u2028"}\r\n\n \n{"b":"👋🏽"}\n{"c":1'.encode()
LINES = ['{"a":"é\u2028"}\r', '{"b":"👋🏽"}']


def lines(decoder: LineDecoder, *pieces: bytes) -> list[str]:
    return [event.data for piece in pieces for event in decoder.feed(piece)]


def test_every_way_to_cut_the_bytes_in_three() -> None:
    for i, j in itertools.combinations(range(len(WIRE) + 1), 2):
        decoder = LineDecoder()
        assert lines(decoder, WIRE[:i], WIRE[i:j], WIRE[j:]) == LINES
        assert decoder.is_torn
        rest = decoder.end()
        assert rest is not None
        assert rest.data == '{"c":1'
        assert decoder.end() is None


def test_what_ends_in_order_is_not_torn() -> None:
    decoder = LineDecoder()
    assert lines(decoder, b'{"a":1}\n \r') == ['{"a":1}']
    assert not decoder.is_torn
    assert decoder.end() is None


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_line_over_the_limit_is_refused_wherever_the_stream_is_cut(size: int) -> None:
    within, over = b"x" * 20 + b"\n", b"x" * 21
    decoder = LineDecoder(max_line_bytes=20)
    stream = within * 2 + over
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    found: list[str] = []
    with pytest.raises(FrameTooLarge):  # noqa: PT012  # what came before it is looked at
        for piece in pieces:
            for event in decoder.feed(piece):
                found.append(event.data)
    assert found == ["x" * 20] * 2
    with pytest.raises(FrameTooLarge):
        list(decoder.feed(b"\n"))


def test_lines_before_one_over_the_limit_are_handed_on_first() -> None:
    decoder = LineDecoder(max_line_bytes=4)
    events = decoder.feed(b"a\nb\nccccc\n")
    assert [next(events).data, next(events).data] == ["a", "b"]
    with pytest.raises(FrameTooLarge):
        next(events)


def test_blank_lines_have_an_end() -> None:
    decoder = LineDecoder(max_blank_lines=10)
    assert lines(decoder, b"\n" * 10, b"a\n", b"\n" * 10) == ["a"]
    with pytest.raises(FrameTooLarge):
        list(decoder.feed(b"\n"))


def test_what_is_skipped_is_what_was_shown() -> None:
    decoder = LineDecoder(max_line_bytes=30)
    assert lines(decoder, b'{"a"') == []
    assert decoder.plain(b":1}\n{}\n{") == (b'{"a":1}\n{}', b"{")
    decoder.skip(b"{")
    assert lines(decoder, b"}\n") == ["{}"]
    assert decoder.plain(b"x" * 31 + b"\n") is None
    assert decoder.plain(b"no end") is None
