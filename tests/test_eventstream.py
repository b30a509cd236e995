"""The decoder against the standard, byte by byte; the encoder against the oldest client.

S01 to S33 name the rows of docs/corner-cases.md that the decoder answers for.
"""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import SupportsIndex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.events import Chunk
from service.eventstream import (
    PING,
    Decoder,
    FrameTooLarge,
    ServerSentEvent,
    apart,
    encode,
    encode_alike,
)

MIB = 1024 * 1024
BOM = b"\xef\xbb\xbf"


@dataclass
class Reading:
    """All that can be known of a stream."""

    events: list[ServerSentEvent] = field(default_factory=list)
    cut_off: ServerSentEvent | None = None
    last_event_id: str = ""
    retry: int | None = None


def read(decoder: Decoder, reads: Iterable[bytes]) -> Reading:
    events = [event for data in reads for event in decoder.feed(data)]
    return Reading(events, decoder.end(), decoder.last_event_id, decoder.retry)


def read_to_the_fault(decoder: Decoder, reads: Iterable[bytes]) -> tuple[list[str], bool]:
    """The data of the events, and whether a limit was met after them."""
    seen: list[str] = []
    try:
        for data in reads:
            seen.extend(event.data for event in decoder.feed(data))
    except FrameTooLarge:
        return seen, True
    return seen, False


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[i:j] for i, j in itertools.pairwise(bounds)]


def pieces(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[i : i + size] for i in range(0, len(stream), size))


def by_the_standard(stream: bytes) -> Reading:
    """The standard's algorithm with the whole text in hand, written as the standard puts it."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, unfinished = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    result = Reading()
    data = event_type = id_buffer = ""

    def process(name: str, value: str) -> None:
        nonlocal data, event_type, id_buffer
        if name == "event":
            event_type = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            id_buffer = value
        elif name == "retry" and value and set(value) <= set("0123456789") and len(value) < 16:
            result.retry = int(value)

    def parse(line: str) -> tuple[str, str]:
        name, _, value = line.partition(":")
        return name, value[1:] if value[:1] == " " else value

    for line in lines:
        if line:
            process(*parse(line))
            continue
        result.last_event_id = id_buffer
        if data:
            result.events.append(ServerSentEvent(data[:-1], event_type or "message"))
        data = event_type = ""
    if parse(unfinished)[0] != "retry":
        process(*parse(unfinished))
    if data:
        result.cut_off = ServerSentEvent(data[:-1], event_type or "message")
    return result


# --- the rows: what comes in, which events come out --------------------------------------------

NOT_LINE_ENDS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(BOM + b"data: x\n\n", ["x"], id="S01 a BOM at the start is removed"),
        pytest.param(BOM + BOM + b"data: x\n\n", [], id="S02 a second BOM is part of the name"),
        pytest.param(b"data: x" + BOM + b"y\n\n", ["x\ufeffy"], id="S03 a later BOM is text"),
        pytest.param(BOM + b"\n" + BOM + b"data: x\n\n", [], id="S03 nor is a line's BOM removed"),
        pytest.param(b"data: a\r\n\r\n", ["a"], id="S04 lines end with CRLF"),
        pytest.param(b"data: a\r\r", ["a"], id="S05 lines end with CR"),
        pytest.param(b"data: a\n\n", ["a"], id="S05 lines end with LF"),
        pytest.param(b"data: a\rdata: b\ndata: c\r\n\r", ["a\nb\nc"], id="S07 mixed line ends"),
        pytest.param(b"data: a\n\r", ["a"], id="S07 LF CR is two line ends"),
        pytest.param(b"data: a\ndata: b\n\n", ["a\nb"], id="S08 data lines are joined by LF"),
        pytest.param(b"data\n\n", [""], id="S09 data without colon"),
        pytest.param(b"data:\n\n", [""], id="S09 data without value"),
        pytest.param(b"data\ndata\n\n", ["\n"], id="S09 two of them are one LF"),
        pytest.param(b"data:x\n\n", ["x"], id="S10 no space"),
        pytest.param(b"data: x\n\n", ["x"], id="S10 one space is removed"),
        pytest.param(b"data:  x\n\n", [" x"], id="S10 a second space stays"),
        pytest.param(b"data:\tx \n\n", ["\tx "], id="S10 nothing else is stripped"),
        pytest.param(b"data: a: b\n\n", ["a: b"], id="S10 only the first colon counts"),
        pytest.param(b"data :x\n\n", [], id="S11 a space belongs to the name"),
        pytest.param(b" data:x\n\n", [], id="S11 before it too"),
        pytest.param(b"Data: x\n\n", [], id="S12 names are case-sensitive"),
        pytest.param(b"event: e\n\ndata: x\n\n", ["x"], id="S13 no data, no event"),
        pytest.param(b":\n: ping\n:data: x\n\n", [], id="S19 comments are no events"),
        pytest.param(b"data: a\n: ping\ndata: b\n\n", ["a\nb"], id="S19 nor do they part one"),
        pytest.param(
            f"data: {NOT_LINE_ENDS}\n\n".encode(), [NOT_LINE_ENDS], id="S20 other breaks are text"
        ),
        pytest.param(b"data: a\0b\n\n", ["a\0b"], id="S21 NUL is text"),
        pytest.param(b"data: a\xffb\n\n", ["a\ufffdb"], id="S23 a byte that is never UTF-8"),
        pytest.param(
            b"data: \xf0\x9f\x98\ndata: b\n\n", ["\ufffd\nb"], id="S23 a sequence cut by a line end"
        ),
        pytest.param(
            b"data: \xed\xa0\x80\n\n", ["\ufffd" * 3], id="S23 half a surrogate pair in UTF-8"
        ),
        pytest.param(b"\xff\xfed\0a\0\n\n", [], id="S23 UTF-16 is noise"),
        pytest.param(b"\xff\n\ndata: x\n\n", ["x"], id="S23 the stream goes on after noise"),
        pytest.param(b'{"error":{"code":503}}\n', [], id="S32 JSON is no stream of events"),
        pytest.param("data: naïve 例\n\n".encode(), ["naïve 例"], id="S33 always UTF-8"),
    ],
)
def test_the_stream_holds_these_events(stream: bytes, expected: list[str]) -> None:
    for reads in ([stream], pieces(stream, 1)):
        assert read(Decoder(), reads) == by_the_standard(stream)
    assert [event.data for event in Decoder().feed(stream)] == expected


def test_S06_a_crlf_cut_by_a_read_is_one_line_end() -> None:
    reads = [b"data: a\r", b"\ndata: b\r", b"\n", b"\r", b"\n"]
    assert read(Decoder(), reads).events == [ServerSentEvent("a\nb")]


def test_S06_an_event_closed_by_cr_does_not_wait_for_the_lf() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"data: a\r\r")) == [ServerSentEvent("a")]
    assert list(decoder.feed(b"\ndata: b\n\n")) == [ServerSentEvent("b")]


def test_S06_an_empty_read_does_not_part_the_cr_from_its_lf() -> None:
    reads = [b"data: a\r", b"", b"\ndata: b\n\n"]
    assert read(Decoder(), reads).events == [ServerSentEvent("a\nb")]


def test_S06_only_one_lf_belongs_to_the_cr() -> None:
    assert read(Decoder(), [b"data: a\r", b"\n\n"]).events == [ServerSentEvent("a")]
    assert read(Decoder(), [b"data: a\r", b": x", b"\n\n"]).events == [ServerSentEvent("a")]


def test_S13_the_type_is_forgotten_at_the_blank_line() -> None:
    stream = b"event: lost\n\ndata: a\n\nevent: kept\ndata: b\n\ndata: c\n\n"
    assert list(Decoder().feed(stream)) == [
        ServerSentEvent("a", "message"),
        ServerSentEvent("b", "kept"),
        ServerSentEvent("c", "message"),
    ]


@pytest.mark.parametrize("line", [b"event:", b"event", b"event: ", b"event: x\nevent:"])
def test_S14_an_empty_type_is_message(line: bytes) -> None:
    assert list(Decoder().feed(line + b"\ndata: x\n\n")) == [ServerSentEvent("x", "message")]


@pytest.mark.parametrize(
    ("stream", "last_event_id"),
    [
        pytest.param(b"id: 1\n\n", "1", id="S15 an id alone is remembered"),
        pytest.param(b"id: 1\n\ndata: x\n\n", "1", id="S15 and stays until the next"),
        pytest.param(b"id: 1\n\nid: 2\n", "1", id="S15 a blank line confirms it"),
        pytest.param(b"id: 1\n\nid: a\0b\n\n", "1", id="S16 an id with NUL is ignored"),
        pytest.param(b"id: 1\n\nid\n\n", "", id="S17 an id without colon is empty"),
        pytest.param(b"id: \xff\n\n", "\ufffd", id="S23 in an id too"),
    ],
)
def test_the_last_event_id(stream: bytes, last_event_id: str) -> None:
    reading = read(Decoder(), [stream])
    assert reading.last_event_id == last_event_id
    assert reading == by_the_standard(stream)


@pytest.mark.parametrize(
    "value", ["1e3", "-1", "+1", "", "十", "1 000", " 5", "0x5", "\u0661", "9" * 5000]
)
def test_S18_retry_takes_ascii_digits_only(value: str) -> None:
    assert read(Decoder(), [f"retry: {value}\n\n".encode()]) == Reading()
    assert read(Decoder(), [f"retry: 1000\nretry: {value}\n\n".encode()]).retry == 1000


def test_S18_retry_needs_no_blank_line_but_its_own_end() -> None:
    assert read(Decoder(), [b"retry: 1000\n"]).retry == 1000
    assert read(Decoder(), [b"retry: 10"]).retry is None


@pytest.mark.parametrize("count", [2, 3, 4])
def test_S22_an_emoji_survives_every_cut(count: int) -> None:
    stream = "data: 😀\n\n".encode()
    for places in itertools.combinations(range(6, 11), count - 1):
        assert read(Decoder(), cut(stream, places)).events == [ServerSentEvent("😀")]


# --- every way to cut --------------------------------------------------------------------------

WIRE = (
    BOM
    + b"data: a\r\n\r\n: ping\r\nevent: two\r\nid: 7\r\ndata: b\r\ndata:c\r\n\r\n"
    + "data: é😀\u2028\n\n".encode()
    + b"retry: 50\rdata: d\r\rdata\r\n\r\rdata: end"
)
EVENTS = [
    ServerSentEvent("a"),
    ServerSentEvent("b\nc", "two"),
    ServerSentEvent("é😀\u2028"),
    ServerSentEvent("d"),
    ServerSentEvent(""),
]
WHOLE = Reading(EVENTS, cut_off=ServerSentEvent("end"), last_event_id="7", retry=50)


def test_S24_every_way_to_cut_the_bytes_in_three() -> None:
    assert by_the_standard(WIRE) == WHOLE
    for i, j in itertools.combinations(range(len(WIRE) + 1), 2):
        assert read(Decoder(), [WIRE[:i], WIRE[i:j], WIRE[j:]]) == WHOLE, (i, j)


def test_S24_no_event_waits_for_a_byte_after_its_own() -> None:
    decoder = Decoder()
    events: list[ServerSentEvent] = []
    for end in range(len(WIRE)):
        events.extend(decoder.feed(WIRE[end : end + 1]))
        assert events == by_the_standard(WIRE[: end + 1]).events, end


LINE_ENDS = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"]
FIELDS = [
    b"data: x",
    b"data:  y",
    b"data",
    b"data:",
    b"event: e",
    b"event",
    b"id: 1",
    b"id",
    b"id:\0",
]
OTHERS = [
    b"retry: 7",
    b"retry: x",
    b":",
    b": c",
    BOM,
    BOM[:2],
    b"\xf0\x9f",
    b"\x98\x80",
    b"d",
    b" ",
]
STREAMS = st.lists(
    st.sampled_from(LINE_ENDS) | st.sampled_from(FIELDS + OTHERS) | st.binary(max_size=3),
    max_size=30,
).map(b"".join)
PLACES = st.lists(st.integers(0, 100), max_size=8)


@settings(deadline=None)
@given(stream=STREAMS, places=PLACES)
def test_S24_one_byte_per_read_or_any_other_cut_is_the_same_stream(
    stream: bytes, places: list[int]
) -> None:
    expected = by_the_standard(stream)
    assert read(Decoder(), [stream]) == expected
    assert read(Decoder(), pieces(stream, 1)) == expected
    assert read(Decoder(), cut(stream, places)) == expected


@settings(deadline=None)
@given(stream=STREAMS, places=PLACES)
def test_S24_a_limit_holds_at_the_same_place_however_the_stream_is_cut(
    stream: bytes, places: list[int]
) -> None:
    def outcome(reads: Iterable[bytes]) -> tuple[list[str], bool]:
        limits = Decoder(max_line_bytes=9, max_event_bytes=20, max_idle_lines=4)
        return read_to_the_fault(limits, reads)

    assert outcome([stream]) == outcome(pieces(stream, 1)) == outcome(cut(stream, places))


# --- laziness and limits -----------------------------------------------------------------------


def test_S25_ten_thousand_events_in_one_read_come_one_at_a_time() -> None:
    decoder = Decoder()
    stream = b"".join(b"id: %d\ndata: %d\n\n" % (n, n) for n in range(10_000))
    for n, event in enumerate(decoder.feed(stream)):
        assert event.data == decoder.last_event_id == str(n)
    assert decoder.last_event_id == "9999"


@pytest.mark.parametrize("read_bytes", [4 * MIB, 65_536, 1000, 16])
def test_S26_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not(read_bytes: int) -> None:
    longest = "x" * (MIB - len("data: "))
    whole = f"data: first\n\ndata: {longest}\n\n".encode()
    assert read_to_the_fault(Decoder(), pieces(whole, read_bytes)) == (["first", longest], False)
    over = f"data: first\n\ndata: {longest}x\n\n".encode()
    assert read_to_the_fault(Decoder(), pieces(over, read_bytes)) == (["first"], True)


def test_S26_the_events_before_an_oversized_line_are_handed_on_first() -> None:
    events = Decoder(max_line_bytes=10).feed(b"data: a\n\ndata: b\n\ndata: too long\n\n")
    assert next(events) == ServerSentEvent("a")
    assert next(events) == ServerSentEvent("b")
    with pytest.raises(FrameTooLarge, match="a line of more than 10 bytes"):
        next(events)


def test_S26_an_unfinished_line_is_refused_before_its_end_is_seen() -> None:
    decoder = Decoder(max_line_bytes=10)
    assert list(decoder.feed(b"data: abcd")) == []
    with pytest.raises(FrameTooLarge):
        list(decoder.feed(b"e"))


def test_S26_after_a_refusal_nothing_more_is_read() -> None:
    decoder = Decoder(max_line_bytes=10)
    with pytest.raises(FrameTooLarge):
        list(decoder.feed(b"data: a\ndata: too long"))
    with pytest.raises(FrameTooLarge):
        list(decoder.feed(b"\n\ndata: b\n\n"))
    assert decoder.end() is None


def test_S27_many_data_lines_together_are_over_the_events_limit() -> None:
    stream = b"data: first\n\n" + (b"data: " + b"x" * 2000 + b"\n") * 2000 + b"\n"
    assert read_to_the_fault(Decoder(), pieces(stream, 65_536)) == (["first"], True)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_S27_an_event_of_exactly_the_limit_passes_whatever_its_line_ends(end: bytes) -> None:
    lines = end.join([b"data: a", b": c", b"data: b", b"", b""])
    size = len("data: a") + len(": c") + len("data: b") + 4
    assert read_to_the_fault(Decoder(max_event_bytes=size), [lines]) == (["a\nb"], False)
    assert read_to_the_fault(Decoder(max_event_bytes=size - 1), [lines]) == ([], True)


def test_S27_the_limits_begin_anew_with_each_event() -> None:
    stream = b"data: abc\n\n" * 1000
    decoder = Decoder(max_line_bytes=9, max_event_bytes=11, max_idle_lines=2)
    assert read_to_the_fault(decoder, [stream]) == (["abc"] * 1000, False)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_S30_a_flood_of_line_ends_is_cut(end: bytes) -> None:
    stream = b"data: x" + end * 2 + end * 100_000
    assert read_to_the_fault(Decoder(), pieces(stream, 65_535)) == (["x"], False)
    assert read_to_the_fault(Decoder(), pieces(stream + end, 65_535)) == (["x"], True)


def test_S31_comments_are_no_events_and_do_not_hinder_one() -> None:
    decoder = Decoder()
    for _ in range(40_000):
        assert list(decoder.feed(b": PROCESSING\n\n")) == []
    assert list(decoder.feed(b"data: x\n\n")) == [ServerSentEvent("x")]


def test_S31_comments_without_end_are_cut() -> None:
    events, refused = read_to_the_fault(Decoder(), itertools.repeat(b": PROCESSING\n\n"))
    assert not events
    assert refused


@pytest.mark.parametrize(
    "read_at_a_time",
    [
        pytest.param(b"x" * 1000, id="a line without end"),
        pytest.param(b"data: " + b"x" * 1000 + b"\n", id="data"),
        pytest.param(b"data\n" * 100, id="empty data"),
        pytest.param(b"data: \xff\xf0\x9f\x98\x80\n" * 100, id="data that is wide as text"),
        pytest.param(b": " + b"x" * 1000 + b"\n\n", id="comments"),
        pytest.param(b"event: " + b"x" * 1000 + b"\n", id="types"),
        pytest.param(b"id: " + b"x" * 1000 + b"\n\n", id="ids"),
        pytest.param(b"\r" * 1000, id="CR"),
    ],
)
def test_S30_memory_stays_within_the_limits_until_the_flood_is_cut(read_at_a_time: bytes) -> None:
    decoder = Decoder(max_line_bytes=50_000, max_event_bytes=100_000)
    tracemalloc.start()
    try:
        assert read_to_the_fault(decoder, itertools.repeat(read_at_a_time)) == ([], True)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150_000  # what is buffered, and room for a buffer to grow
    assert now < 20_000  # and a refusal lets go of it


class Watched(bytes):
    """A read that counts how many bytes of it were searched."""

    searched = 0

    def find(
        self,
        sub: object,
        start: SupportsIndex | None = 0,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        assert isinstance(sub, bytes)
        assert isinstance(start, int)
        assert end is None
        place = super().find(sub, start)
        Watched.searched += (len(self) if place < 0 else place + 1) - start
        return place


@pytest.mark.parametrize("read_bytes", [1, 16, MIB])
@pytest.mark.parametrize(
    "unit", [b"x" * 64, b"data: x\n\n", b"\r", b"\n", b"x\r\n", b"x\n" * 9 + b"\r"]
)
def test_no_byte_is_searched_more_than_once_for_each_line_end(
    unit: bytes, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watched, "searched", 0)
    stream = unit * (65_536 // len(unit))
    decoder = Decoder()
    list(decoder.feed(b": no BOM\n"))
    for data in pieces(stream, read_bytes):
        list(decoder.feed(Watched(data)))
    assert len(stream) * 0.4 < Watched.searched <= 2 * len(stream)


# --- the end of the stream ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "cut_off"),
    [
        pytest.param(b"", None, id="S28 nothing at all"),
        pytest.param(b"data: a\n\n", None, id="S28 a clean end"),
        pytest.param(b"data: a\n\n: ping", None, id="S28 a comment is no data"),
        pytest.param(b"event: e\nid: 1\n", None, id="S28 an event without data"),
        pytest.param(b"dat", None, id="S28 in the middle of a name"),
        pytest.param(BOM[:2], None, id="S28 in the middle of a BOM"),
        pytest.param(b'data: {"a', ServerSentEvent('{"a'), id="S28 in the middle of a line"),
        pytest.param(b"data: \xf0\x9f", ServerSentEvent("\ufffd"), id="S28 of a character"),
        pytest.param(b"data: a\ndata: b", ServerSentEvent("a\nb"), id="S28 of an event"),
        pytest.param(b"data: {}\n", ServerSentEvent("{}"), id="S29 only the blank line misses"),
        pytest.param(b"data: {}\r", ServerSentEvent("{}"), id="S29 after CR"),
        pytest.param(b"event: e\ndata: {}", ServerSentEvent("{}", "e"), id="S29 with its type"),
    ],
)
def test_what_the_end_cut_off_is_no_event_but_can_be_looked_into(
    stream: bytes, cut_off: ServerSentEvent | None
) -> None:
    decoder = Decoder()
    assert cut_off not in list(decoder.feed(stream))
    assert decoder.end() == cut_off
    assert decoder.end() is None
    assert decoder.last_event_id == ""


# --- what we write -----------------------------------------------------------------------------

AWKWARD = [
    "",
    "\n\n",
    "\r",
    "\r\n\r\n",
    "data: x\n\ndata: y",
    "\n\ndata: {}\n\n",
    "event: done\nid: 1\n\n",
    "a\u2028b\u2029c\x85d",
    "\0",
    "\ufeff",
    '"\\',
]


def legacy_client(body: bytes) -> list[object]:
    """How the first clients of this protocol read it."""
    *blocks, rest = body.decode().split("\n\n")
    assert rest == ""
    return [json.loads(block[6:]) for block in blocks if block.startswith("data: ")]


def test_an_event_is_data_and_one_line_of_json_and_a_blank_line() -> None:
    block = encode(Chunk(model="sim:a", content="hi\n"))
    assert block == b'data: {"model":"sim:a","type":"chunk","content":"hi\\n"}\n\n'


@pytest.mark.parametrize("text", AWKWARD)
def test_no_text_breaks_the_framing(text: str) -> None:
    block = encode({"content": text})
    assert block.startswith(b"data: {")
    assert block.endswith(b"}\n\n")
    assert block.count(b"\n") == 2
    assert b"\r" not in block
    assert legacy_client(PING + block + PING) == [{"content": text}]


@settings(deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(AWKWARD)).map("".join), cuts=PLACES)
def test_what_is_written_is_read_back_by_both_kinds_of_client(text: str, cuts: list[int]) -> None:
    body = PING + encode({"content": text}) + PING
    [event] = read(Decoder(), cut(body, cuts)).events
    assert event.event == "message"
    assert [json.loads(event.data)] == legacy_client(body) == [{"content": text}]


HEAD = b'data: {"model":"a","type":"chunk","content":'


@settings(deadline=None, max_examples=500)
@given(
    st.lists(
        st.text(alphabet='",\\a', max_size=3) | st.text() | st.sampled_from(AWKWARD), min_size=1
    )
)
@example(['a",', "b"])
@example(["b", 'a",'])
@example([",", "b"])
def test_blocks_that_differ_in_their_text_alone_are_those_that_are_written_one_by_one(
    texts: list[str],
) -> None:
    one_by_one = b"".join(encode(Chunk(model="a", content=text)) for text in texts)
    assert encode_alike(HEAD, texts) == one_by_one


# --- many events at once -------------------------------------------------------------------------


def plain(decoder: Decoder, data: bytes, leaving: int = 0) -> tuple[list[bytes], bytes] | None:
    found = decoder.plain(data, leaving=leaving)
    each = apart(found[0]) if found else None
    return (each, found[1]) if found and each is not None else None


@pytest.mark.parametrize(
    ("data", "each", "rest"),
    [
        (b"data: 1\n\n", [b"1"], b""),
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"], b""),
        (b"data: 1\n\ndata: 2\n\nda", [b"1", b"2"], b"da"),
        (b"data: 1\n\ndata: \n\n", [b"1", b""], b""),
    ],
)
def test_the_data_of_plain_events_can_be_had_at_once(
    data: bytes, each: list[bytes], rest: bytes
) -> None:
    assert plain(Decoder(), data) == (each, rest)


@pytest.mark.parametrize(
    ("before", "data"),
    [
        (b"", b"data: 1\n"),
        (b"", b"data: 1\r\n\r\n"),
        (b"", b"data: 1\r\n\n"),
        (b"", b"id: 1\ndata: 1\n\n"),
        (b"", b": ping\n\ndata: 1\n\n"),
        (b"", b"data: 1\n\n: ping\n\ndata: 2\n\n"),
        (b"", b"data: 1\n2\n\ndata: 3\n\n"),
        (b"", b"data: 1\ndata: 2\n\n"),
        (b"", b"data: 1\n\nid: 2\n"),
        (b"", BOM + b"data: 1\n\n"),
        (BOM[:1], BOM[1:] + b"data: 1\n\n"),
        (b"data: 0\n", b"data: 1\n\n"),
        (b"event: x\n", b"data: 1\n\n"),
        (b"data: 0\r", b"\n\ndata: 1\n\n"),
        (b"id", b"data: 1\n\n"),
    ],
)
def test_what_is_not_that_plain_is_left_to_the_other_reading(before: bytes, data: bytes) -> None:
    decoder = Decoder()
    assert list(decoder.feed(before)) == []
    assert plain(decoder, data) is None


def test_the_last_events_can_be_left_to_the_other_reading() -> None:
    data = b"data: 1\n\ndata: 2\n\nevent: x\ndata: 3\n\ndata: [DONE]\n\n"
    left = b"event: x\ndata: 3\n\ndata: [DONE]\n\n"
    assert plain(Decoder(), data, leaving=2) == ([b"1", b"2"], left)
    assert plain(Decoder(), data, leaving=4) is None


def test_a_line_that_a_read_has_cut_is_joined_and_passed_over_once() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"data: on")) == []
    assert plain(decoder, b"e\n\ndata: two\n\ndata: th") == ([b"one", b"two"], b"data: th")
    decoder.skip(b"data: th")
    assert [event.data for event in decoder.feed(b"ree\n\n")] == ["three"]


def test_a_line_beyond_the_limit_is_never_plain() -> None:
    decoder = Decoder(max_line_bytes=10)
    assert decoder.plain(b"data: 12345678901\n\n") is None
    with pytest.raises(FrameTooLarge):
        list(decoder.feed(b"data: 12345678901\n\n"))


@pytest.mark.parametrize("reader", [legacy_client, lambda body: list(Decoder().feed(body))])
def test_a_ping_is_an_event_to_nobody(reader: Callable[[bytes], list[object]]) -> None:
    assert PING == b": ping\n\n"
    assert reader(PING * 3) == []


def test_half_a_surrogate_pair_is_refused_not_garbled() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode({"content": "\ud800"})
