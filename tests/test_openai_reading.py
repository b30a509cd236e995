"""The OpenAI dialect without a socket: what is asked, and what any stream of bytes comes to.

V and S name the rows of docs/corner-cases.md that the dialect answers for. The rows about
connections and statuses are in test_provider_endings.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.events import Chunk, ErrorCode, Usage
from service.eventstream import encode
from service.providers import Ending, Message, Prompt
from service.providers.dialect import MALFORMED_LIMIT
from service.providers.loose_json import loads
from service.providers.openai import ChatCompletions, ChatReading, Flavour
from tests.reading import Outcome
from tests.reading import read as reading_of
from tests.reading import read_whole as whole_of
from tests.recordings import RECORDINGS, Recording

MIB = 1024 * 1024


read = partial(reading_of, ChatReading)
read_whole = partial(whole_of, ChatReading)


def event(data: object) -> bytes:
    return b"data: %b\n\n" % (data if isinstance(data, bytes) else json.dumps(data).encode())


def chunk(content: object = None, *, finish: str | None = None, **delta: object) -> bytes:
    if content is not None:
        delta["content"] = content
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def failing(error: object) -> bytes:
    return event({"error": error})


STOP = chunk(finish="stop")
DONE = event(b"[DONE]")


def stopped(text: str, reason: str | None = "stop", **known: Any) -> Outcome:
    return Outcome(text, "", Ending(finish_reason=reason, **known))


# --- every recording, cut everywhere -----------------------------------------------------------

each_recording = pytest.mark.parametrize(
    "recording", RECORDINGS, ids=[recording.server for recording in RECORDINGS]
)


@each_recording
def test_a_recorded_stream_comes_to_its_text_and_its_ending(recording: Recording) -> None:
    outcome = read([recording.raw])
    assert outcome.text == "".join(block.said for block in recording.blocks)
    assert outcome.reasoning == "".join(block.thought for block in recording.blocks)
    assert (outcome.ending or outcome.code) == recording.comes_to


@each_recording
def test_V29_S24_wherever_a_stream_is_cut_in_two_it_comes_to_the_same(recording: Recording) -> None:
    stream = recording.raw
    whole = read([stream])
    for place in range(len(stream) + 1):
        assert read([stream[:place], stream[place:]]) == whole, place
    assert read(stream[i : i + 1] for i in range(len(stream))) == whole


def known_at(recording: Recording, place: int) -> tuple[str, str, bool]:
    """Text, reasoning and whether the answer is whole, when only `place` bytes have come.

    An event counts as soon as its last byte is there, without the line ends: whole JSON is whole.
    """
    said = thought = ""
    finished = False
    for block in recording.blocks:
        place -= len(block.raw.rstrip(b"\r\n "))
        if place < 0:
            break
        place -= len(block.raw) - len(block.raw.rstrip(b"\r\n "))
        said += block.said
        thought += block.thought
        finished = finished or block.finishing
    return said, thought, finished


@each_recording
def test_V05_V06_S28_S29_a_stream_that_breaks_off_anywhere_keeps_its_text_and_is_no_success(
    recording: Recording,
) -> None:
    stream = recording.raw
    endings = set()
    for place in range(len(stream)):
        outcome = read([stream[:place]])
        said, thought, finished = known_at(recording, place)
        assert (outcome.text, outcome.reasoning) == (said, thought), place
        assert (outcome.ending is not None) == finished, place
        if outcome.ending is None:
            assert outcome.code in ("truncated", "empty_response", recording.comes_to), place
            if said or thought:
                assert outcome.code != "empty_response", place
        else:
            endings.add(outcome.ending.finish_reason)
    # However early, never a reason that nobody gave.
    assert endings <= {getattr(recording.comes_to, "finish_reason", None)}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RECORDINGS), st.data())
def test_V29_any_number_of_cuts_changes_nothing(recording: Recording, data: st.DataObject) -> None:
    stream = recording.raw
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20).map(sorted))
    bounds = [0, *places, len(stream)]
    pieces = [stream[i:j] for i, j in itertools.pairwise(bounds)]
    assert read(pieces) == read([stream])


# --- the rows: what comes in, what it comes to -------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 5}
TOLD = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=0, estimated=False)
TOOL_CALL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(chunk("a") + STOP + DONE, stopped("a"), id="V01 chunks and the marker"),
        pytest.param(
            chunk("a") + b"data: [DONE]   \n\n",
            stopped("a", None),
            id="V02 a marker with spaces",
        ),
        pytest.param(
            chunk("a") + b"data:[DONE]\r\n\r\n",
            stopped("a", None),
            id="V02 a marker without a space, with CRLF",
        ),
        pytest.param(
            chunk("a") + b"event: data\ndata: [DONE]\n\n",
            stopped("a", None),
            id="V02 marker in an event of a type",
        ),
        pytest.param(
            chunk("a") + DONE + chunk("b") + failing("late"),
            stopped("a", None),
            id="V03 what follows the marker is ignored",
        ),
        pytest.param(chunk("a") + STOP, stopped("a"), id="V05 a reason and no marker"),
        pytest.param(chunk("a") + DONE, stopped("a", None), id="V07 a marker and no reason"),
        pytest.param(
            chunk("a") + STOP + event({"choices": [], "usage": USAGE}) + DONE,
            stopped("a", usage=TOLD),
            id="V09 usage beside no choices",
        ),
        pytest.param(
            chunk("a") + STOP + event({"usage": USAGE}) + DONE,
            stopped("a", usage=TOLD),
            id="V09 usage alone",
        ),
        pytest.param(
            event({"choices": [{"delta": {"content": "a"}}], "usage": None}) + STOP,
            stopped("a"),
            id="V10 usage null",
        ),
        pytest.param(
            event({"choices": [], "prompt_filter_results": [{}]}) + chunk("a") + STOP,
            stopped("a"),
            id="V11 filter results before the first choice",
        ),
        pytest.param(
            chunk(role="assistant") + chunk("", role="assistant") + chunk("a") + STOP,
            stopped("a"),
            id="V12 a role is no text",
        ),
        pytest.param(
            chunk(reasoning="x") + chunk(reasoning_content="y") + chunk("a") + STOP,
            Outcome("a", "xy", Ending(finish_reason="stop")),
            id="V13 reasoning is apart from the text",
        ),
        pytest.param(
            chunk(tool_calls=[TOOL_CALL]) + chunk(finish="tool_calls") + DONE,
            stopped("", "tool_calls"),
            id="V13 tool calls are no text",
        ),
        pytest.param(
            chunk("a") + chunk(refusal="No.") + STOP,
            stopped("a"),
            id="V13 a refusal beside text is no text",
        ),
        pytest.param(
            event(
                {
                    "choices": [
                        {"index": 1, "delta": {"content": "second"}, "finish_reason": "length"},
                        {"index": 0, "delta": {"content": "first"}},
                    ]
                }
            )
            + STOP,
            stopped("first"),
            id="V14 only the first choice",
        ),
        pytest.param(
            chunk("a") + b": OPENROUTER PROCESSING\n\n: \n:\n" + chunk("b") + STOP + DONE,
            stopped("ab"),
            id="V20 comments between",
        ),
        pytest.param(
            b": OPENROUTER PROCESSING\n\n" * 3 + chunk("a") + STOP + DONE,
            stopped("a"),
            id="V20 comments before",
        ),
        pytest.param(
            chunk("b") + chunk("a") + chunk("a") + STOP,
            stopped("baa"),
            id="V48 as it comes, twice if it comes twice",
        ),
        pytest.param(
            chunk([{"type": "text", "text": "a"}, {"type": "image"}, 3, {"text": "b"}]) + STOP,
            stopped("ab"),
            id="V15 content in parts",
        ),
        pytest.param(
            chunk("a", finish="length") + DONE, stopped("a", "length"), id="V01 cut by max_tokens"
        ),
        pytest.param(
            chunk(finish="stop") + DONE, stopped(""), id="V01 a reason and no text is an answer"
        ),
        pytest.param(chunk("a", finish="stop")[:-1], stopped("a"), id="S29 one line end missing"),
        pytest.param(chunk("a", finish="stop")[:-2], stopped("a"), id="S29 both line ends missing"),
        pytest.param(chunk("a") + b"data: [DONE]", stopped("a", None), id="S29 a marker cut short"),
    ],
)
def test_the_answer_is_whole(stream: bytes, expected: Outcome) -> None:
    assert read([stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected


def test_V03_reads_after_the_marker_are_ignored() -> None:
    reading = ChatReading()
    assert [delta.texts for delta in reading.feed(chunk("a") + DONE)] == [("a",)]
    assert list(reading.feed(chunk("b") + failing("late"))) == []
    assert list(reading.flush()) == []
    assert reading.ending() == Ending(finish_reason=None)


@pytest.mark.parametrize(
    ("stream", "text", "code"),
    [
        pytest.param(chunk("a"), "a", "truncated", id="V06 a clean end without a word"),
        pytest.param(chunk("a") + b"data: [DONE", "a", "truncated", id="V06 half a marker"),
        pytest.param(chunk("a")[:-9], "", "truncated", id="V06 a cut in the first event"),
        pytest.param(
            chunk("a") + event({"choices": [], "usage": USAGE}),
            "a",
            "truncated",
            id="V06 accounting is no finish",
        ),
        pytest.param(
            event({"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]}),
            "",
            "truncated",
            id="V14 another choice's reason is no finish",
        ),
        pytest.param(
            chunk("a") + b'event: error\ndata: {"message":"sec',
            "a",
            "truncated",
            id="U-11 a cut in an error's words",
        ),
        pytest.param(
            (chunk("a") + event(b"?") * MALFORMED_LIMIT + chunk("b"))[:-9],
            "a",
            "truncated",
            id="U-11 a cut event is not one without sense",
        ),
        pytest.param(DONE, "", "empty_response", id="V07 a marker alone"),
        pytest.param(chunk(role="assistant") + DONE, "", "empty_response", id="V07 no text either"),
        pytest.param(chunk(reasoning="x") + DONE, "", "empty_response", id="V07 reasoning only"),
        pytest.param(b"", "", "empty_response", id="V35 nothing"),
        pytest.param(b": ping\n\n", "", "empty_response", id="V20 only comments"),
        pytest.param(
            chunk(refusal="I must ") + chunk(refusal="not.") + STOP,
            "",
            "content_filtered",
            id="V13 a refusal in place of text",
        ),
        pytest.param(
            chunk("a") + chunk(finish="content_filter") + DONE,
            "a",
            "content_filtered",
            id="V13 stopped by a filter",
        ),
        pytest.param(
            chunk("a") + chunk(finish="error") + DONE, "a", "provider_error", id="V19 reason error"
        ),
        pytest.param(
            chunk("a") + failing({"code": 503, "message": "busy"}) + DONE,
            "a",
            "overloaded",
            id="V18 an error in the middle",
        ),
        pytest.param(failing({"code": 429}), "", "rate_limited", id="V18 an error first of all"),
        pytest.param(
            chunk("a") + STOP + failing({"code": 502}) + DONE,
            "a",
            "provider_error",
            id="V18 an error after the reason",
        ),
        pytest.param(
            event(
                {
                    "error": {"code": "502", "message": "gone"},
                    "choices": [{"delta": {"content": "b"}, "finish_reason": "error"}],
                }
            ),
            "b",
            "provider_error",
            id="V19 text beside the error is kept",
        ),
        pytest.param(
            event(
                {
                    "choices": [
                        {
                            "delta": {"content": "b"},
                            "finish_reason": "error",
                            "error": {"code": 429, "message": "slow down"},
                        }
                    ]
                }
            ),
            "b",
            "rate_limited",
            id="V19 the error inside the choice",
        ),
        pytest.param(
            chunk("a") + event({"object": "error", "message": "x", "code": 400}) + DONE,
            "a",
            "bad_request",
            id="V18 an error without a wrapping, as of vLLM",
        ),
        pytest.param(
            chunk("a") + b'event: error\ndata: {"message":"x","code":503}\n\n' + DONE,
            "a",
            "overloaded",
            id="V18 an error by the event's type, as of LM Studio",
        ),
        pytest.param(
            chunk("a") + b"event: error\ndata: it broke\n\n" + DONE,
            "a",
            "provider_error",
            id="V18 an error that is no JSON",
        ),
        pytest.param(failing("model exploded"), "", "provider_error", id="V18 an error in words"),
        pytest.param(
            chunk("a") + b"data: " + b"x" * (MIB + 1) + b"\n\n" + DONE,
            "a",
            "frame_too_large",
            id="S26 a line over the limit",
        ),
        pytest.param(
            chunk("a") + (b"data: " + b"x" * 1200 + b"\n") * 2000 + b"\n" + DONE,
            "a",
            "frame_too_large",
            id="S27 an event over the limit",
        ),
        pytest.param(
            chunk("a") + chunk("x" * 5 * MIB) + DONE, "a", "frame_too_large", id="V47 5 MiB a token"
        ),
        pytest.param(b"\x1f\x8b\x08\0\0\0\0\0\0\xff\n\n" * 9, "", "empty_response", id="V30 noise"),
        pytest.param(
            b"<html>\n\n<p>data: x</p>\n\n", "", "empty_response", id="V32 a page is no stream"
        ),
    ],
)
def test_the_answer_is_not_whole(stream: bytes, text: str, code: ErrorCode) -> None:
    outcome = read([stream])
    assert (outcome.text, outcome.ending, outcome.code) == (text, None, code)


def test_V06_truncation_may_be_tried_again_and_says_so_in_words() -> None:
    outcome = read([chunk("a")])
    assert outcome.retryable
    assert "broke off" in outcome.words


def test_V13_a_refusal_is_told_in_the_models_words_however_long_it_is() -> None:
    assert read([chunk(refusal="I must ") + chunk(refusal="not.") + STOP]).words == "I must not."
    endless = chunk(refusal="no " * 1000) * 50 + STOP
    assert len(read([endless]).words) <= 1000


def test_S26_V47_a_line_within_the_limit_is_one_piece_of_text() -> None:
    around = len(chunk("", finish="stop").rstrip())
    longest = "x" * (MIB - around)
    assert read([chunk(longest, finish="stop")]) == stopped(longest)
    assert read([chunk(longest + "x", finish="stop")]).code == "frame_too_large"


# --- chunks without sense ----------------------------------------------------------------------

NONSENSE = [
    pytest.param(b"{not json", id="V16 no JSON"),
    pytest.param(b"", id="V16 nothing"),
    pytest.param(b"[1,2]", id="V16 an array"),
    pytest.param(b'"text"', id="V16 a string"),
    pytest.param(b"null", id="V16 null"),
    pytest.param(b"12", id="V16 a number"),
    pytest.param(b"{}", id="V15 no choices"),
    pytest.param(b'{"choices":null}', id="V15 choices null"),
    pytest.param(b'{"choices":{"0":{"delta":{"content":"x"}}}}', id="V15 choices a dict"),
    pytest.param(b'{"choices":"x"}', id="V15 choices a string"),
    pytest.param(b'{"choices":[null]}', id="V15 a choice null"),
    pytest.param(b'{"choices":["x"]}', id="V15 a choice a string"),
    pytest.param(b'{"choices":[{"index":0}]}', id="V15 delta missing"),
    pytest.param(b'{"choices":[{"finish_reason":7}]}', id="V15 a reason that is no word"),
    pytest.param(b"[" * 100_000, id="V17 deep"),
    pytest.param(b'{"a":' * 100_000, id="V17 deep objects"),
    pytest.param(b"9" * 100_000, id="V17 a number of 100 000 digits"),
    pytest.param(b"\xff\xfe\x00", id="V17 no UTF-8"),
]


@pytest.mark.parametrize("data", NONSENSE)
def test_a_chunk_without_sense_is_passed_over(data: bytes) -> None:
    assert read([chunk("a") + event(data) + chunk("b") + STOP + DONE]) == stopped("ab")


@pytest.mark.parametrize("data", NONSENSE)
def test_V15_V16_but_only_so_many_of_them(data: bytes) -> None:
    within = chunk("a") + event(data) * MALFORMED_LIMIT
    assert read([within + STOP]) == stopped("a")
    outcome = read([within + event(data) + STOP])
    assert (outcome.text, outcome.code) == ("a", "protocol_error")


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param(None, id="V15 delta null"),
        pytest.param("text", id="V15 delta a string"),
        pytest.param([{"content": "x"}], id="V15 delta a list"),
        pytest.param({"content": 5}, id="V15 content a number"),
        pytest.param({"content": {"text": "x"}}, id="V15 content an object"),
        pytest.param({"content": [["x"], None, {"text": ["x"]}]}, id="V15 content in odd parts"),
        pytest.param({"reasoning": 5, "refusal": {}}, id="V15 reasoning a number"),
    ],
)
def test_a_delta_of_another_shape_holds_no_text(delta: object) -> None:
    odd = event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    assert read([chunk("a") + odd * 50 + chunk("b") + STOP]) == stopped("ab")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(rb'"\ud83d\ude00"', "😀", id="V17 a pair of surrogates"),
        pytest.param(rb'"a\ud800b"', "a\ufffdb", id="V17 half a pair, the first"),
        pytest.param(rb'"a\udc00b"', "a\ufffdb", id="V17 half a pair, the second"),
        pytest.param(rb'"\ud800\ud800"', "\ufffd\ufffd", id="V17 two first halves"),
        pytest.param(rb'"\u0000\u001b"', "\0\x1b", id="V17 control characters are text"),
        pytest.param(b'"a\xff"', "a\ufffd", id="V17 a byte that is no UTF-8"),
        pytest.param(b'"a", "content": "b"', "b", id="V17 the last of duplicate keys"),
        pytest.param(b'"a", "x": NaN', "a", id="V17 NaN"),
        pytest.param(b'"a", "x": [-Infinity, 1e999]', "a", id="V17 infinity"),
        pytest.param(b'"a", "x": ' + b"9" * 4000, "a", id="V17 4000 digits"),
        pytest.param(rb'"\n\ndata: {}\n\nevent: done\r\r"', None, id="V49 framing in the text"),
    ],
)
def test_odd_json_is_text_that_can_be_sent_on(content: bytes, expected: str | None) -> None:
    data = b'{"choices":[{"index":0,"delta":{"content":%b},"finish_reason":"stop"}]}' % content
    text = read([event(data)]).text
    assert text == (json.loads(content) if expected is None else expected)
    sent = encode(Chunk(model="m", content=text)).decode("utf-8")
    assert sent.startswith("data: ")
    assert sent.endswith("\n\n")
    assert sent.count("\n") == 2
    assert "\r" not in sent
    assert json.loads(sent.removeprefix("data: "))["content"] == text


def test_V17_parts_within_parts_within_parts_are_no_text_and_no_crash() -> None:
    content: object = "deep"
    for _ in range(400):
        content = [{"text": content}]
    assert read([chunk("a") + chunk(content) + STOP]) == stopped("a")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "text",
                    "error",
                    "code",
                    "type",
                    "object",
                    "metadata",
                    "index",
                    "finish_reason",
                    "usage",
                    "prompt_tokens",
                    "cost",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(json_values, max_size=4))
def test_V15_V17_whatever_json_comes_the_outcome_is_an_ending_or_one_of_our_errors(
    values: list[object],
) -> None:
    stream = b"".join(map(event, values))
    outcome = read([stream + DONE])  # anything but ProviderError would leave the test
    outcome.text.encode()
    if outcome.ending is not None:
        encode([outcome.ending.usage, outcome.ending.cost_usd])


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_V17_whatever_bytes_come_they_are_never_an_answer(data: bytes, size: int) -> None:
    assert read(pieces_of(data, size)).ending is None


def test_V17_the_loose_parser_gives_none_for_what_is_no_json() -> None:
    for data in (b"", b"{", b"[" * 100_000, b"\xff", "\ud800", b'{"a":}', b"9" * 5000):
        assert loads(data) is None
    assert loads(b'{"a": 1, "a": 2}') == {"a": 2}
    assert loads(rb'{"\ud800": ["\udc00"]}') == {"\ufffd": ["\ufffd"]}


# --- usage and cost ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(USAGE, TOLD, id="V09 the common two"),
        pytest.param(
            USAGE | {"completion_tokens_details": {"reasoning_tokens": 4}},
            Usage(input_tokens=3, output_tokens=5, reasoning_tokens=4, estimated=False),
            id="V09 with reasoning",
        ),
        pytest.param(USAGE | {"completion_tokens_details": None}, TOLD, id="V09 details null"),
        pytest.param(USAGE | {"completion_tokens_details": [1]}, TOLD, id="V09 details a list"),
        pytest.param(USAGE | {"prompt_tokens": 3.0}, TOLD, id="V09 a figure with a point"),
        *(
            pytest.param(
                USAGE | {"prompt_tokens": figure},
                Usage(input_tokens=0, output_tokens=5, reasoning_tokens=0, estimated=False),
                id=f"V17 no figure: {str(figure)[:8]}",
            )
            for figure in (None, -1, True, "3", float("nan"), float("inf"), 10**30, 10**400)
        ),
    ],
)
def test_usage_is_what_the_provider_reports(usage: object, expected: Usage) -> None:
    outcome = read([chunk("a") + STOP + event({"choices": [], "usage": usage}) + DONE])
    assert outcome == stopped("a", usage=expected)


def test_V10_the_last_usage_counts() -> None:
    growing = b"".join(
        event({"choices": [{"delta": {"content": "a"}}], "usage": USAGE | {"prompt_tokens": n}})
        for n in (1, 2, 3)
    )
    outcome = read([growing + STOP + event({"choices": [], "usage": None}) + DONE])
    assert outcome == stopped("aaa", usage=TOLD)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (0.00014, 0.00014),
        (0, 0.0),
        (2, 2.0),
        (None, None),
        (True, None),
        ("0.1", None),
        (-0.1, None),
        ([], None),
        (float("nan"), None),
        (float("inf"), None),
        pytest.param(10**400, None, id="V17 10^400"),
    ],
)
def test_cost_is_a_sum_of_dollars_or_unknown(cost: object, expected: float | None) -> None:
    told = event({"choices": [], "usage": USAGE | {"cost": cost}})
    outcome = read([chunk("a") + STOP + told + DONE])
    assert outcome == stopped("a", usage=TOLD, cost_usd=expected)


def test_openrouters_accounting_chunk_repeats_the_reason_and_changes_nothing() -> None:
    repeated = event(
        {
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "length"}],
            "usage": USAGE | {"cost": 0.5},
        }
    )
    outcome = read([chunk("a") + chunk(finish="length") + repeated + DONE])
    assert outcome == stopped("a", "length", usage=TOLD, cost_usd=0.5)


# --- an answer that is not streamed ------------------------------------------------------------


def whole(choice: object, **rest: object) -> bytes:
    return json.dumps({"object": "chat.completion", "choices": [choice], **rest}).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            whole(
                {"index": 0, "message": {"content": "a", "refusal": None}, "finish_reason": "stop"},
                usage=USAGE | {"cost": 0.25},
            ),
            stopped("a", usage=TOLD, cost_usd=0.25),
            id="V34 a whole answer",
        ),
        pytest.param(
            whole({"message": {"content": "a", "reasoning": "x"}, "finish_reason": "length"}),
            Outcome("a", "x", Ending(finish_reason="length")),
            id="V34 with reasoning",
        ),
    ],
)
def test_an_answer_in_one_object_is_an_answer(body: bytes, expected: Outcome) -> None:
    assert read_whole(body) == expected


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        pytest.param(whole({"message": {"content": "a"}}), "a", "truncated", id="V34 no reason"),
        pytest.param(b"", "", "empty_response", id="V35 an empty body"),
        pytest.param(b" \r\n", "", "empty_response", id="V35 a blank body"),
        pytest.param(b'{"choices":[]}', "", "empty_response", id="V35 no choices"),
        pytest.param(b"{}", "", "empty_response", id="V35 an empty object"),
        pytest.param(b'{"error":{"code":503}}', "", "overloaded", id="V33 S32 an error object"),
        pytest.param(b'{"error":"out of memory"}', "", "provider_error", id="V33 S32 in words"),
        pytest.param(
            b'{"object":"error","code":404,"message":"x"}', "", "model_not_found", id="V33 bare"
        ),
        pytest.param(
            whole(
                {"message": {"content": "part"}, "finish_reason": "error", "error": {"code": 502}}
            ),
            "part",
            "provider_error",
            id="V33 an error beside a part",
        ),
        pytest.param(b"[1]", "", "protocol_error", id="V34 no object"),
        pytest.param(b'{"choices":[', "", "protocol_error", id="V34 cut short"),
        pytest.param(b"[" * 100_000, "", "protocol_error", id="V17 deep"),
        pytest.param(chunk("a") + DONE, "", "protocol_error", id="S32 a stream called JSON"),
    ],
)
def test_an_answer_in_one_object_may_be_none(body: bytes, text: str, code: ErrorCode) -> None:
    outcome = read_whole(body)
    assert (outcome.text, outcome.ending, outcome.code) == (text, None, code)


# --- what is asked -----------------------------------------------------------------------------

QUESTION = (Message("system", "Be brief."), Message("user", "Größe?\n\0"))
PLAIN = Prompt(model="acme/m:free", messages=QUESTION, max_tokens=256)
SAMPLED = Prompt(model="acme/m:free", messages=QUESTION, max_tokens=256, temperature=0.0, top_p=0.5)
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Größe?\n\0"},
]


@pytest.mark.parametrize(
    ("flavour", "prompt", "parameters", "usage_asked"),
    [
        ("compatible", PLAIN, {"max_tokens": 256}, True),
        ("compatible", SAMPLED, {"max_tokens": 256, "temperature": 0.0, "top_p": 0.5}, True),
        ("openai", PLAIN, {"max_completion_tokens": 256}, True),
        ("openrouter", PLAIN, {"max_tokens": 256}, False),
        ("openrouter", SAMPLED, {"max_tokens": 256, "temperature": 0.0, "top_p": 0.5}, False),
    ],
)
def test_the_request_holds_what_was_asked_and_nothing_besides(
    flavour: Flavour, prompt: Prompt, parameters: dict[str, object], usage_asked: bool
) -> None:
    dialect = ChatCompletions("https://api.example/v1", flavour=flavour)
    body = json.loads(dialect.request(prompt).body)
    framing = {"model": "acme/m:free", "messages": MESSAGES, "stream": True}
    if usage_asked:
        framing["stream_options"] = {"include_usage": True}
    assert body == framing | parameters
    assert dialect.parameters(prompt) == parameters
    assert {name: body[name] for name in body if name not in framing} == parameters


@pytest.mark.parametrize("base_url", ["https://api.example/v1", "https://api.example/v1/"])
def test_the_request_goes_to_the_chat_completions_below_the_base_url(base_url: str) -> None:
    request = ChatCompletions(base_url).request(PLAIN)
    assert request.url == "https://api.example/v1/chat/completions"


ALWAYS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
}


def test_the_headers_hold_a_key_only_where_there_is_one() -> None:
    assert ChatCompletions("http://a/v1").request(PLAIN).headers == ALWAYS
    keyed = ChatCompletions("http://a/v1", api_key="sk-1").request(PLAIN).headers
    assert keyed == ALWAYS | {"Authorization": "Bearer sk-1"}


def test_the_headers_name_the_application_only_where_it_is_configured() -> None:
    attribution = {"HTTP-Referer": "https://app.example", "X-OpenRouter-Title": "App"}
    named = ChatCompletions("http://a/v1", attribution=attribution).request(PLAIN).headers
    assert named == ALWAYS | attribution
