"""Anthropic's dialect without a socket: what is asked, and what any stream of bytes comes to.

V and S name the rows of docs/corner-cases.md; every recording, cut everywhere, is in
test_recordings_of_others.py.
"""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ProviderError
from service.events import ErrorCode, Usage
from service.eventstream import encode
from service.providers import Ending, Image, Message, Prompt
from service.providers.anthropic import BEFORE_A_DELTA, Messages, MessagesReading
from service.providers.dialect import MALFORMED_LIMIT
from tests.reading import Outcome
from tests.reading import read as reading_of
from tests.reading import read_plainly as plainly_of
from tests.reading import read_whole as whole_of

MIB = 1024 * 1024
read = partial(reading_of, MessagesReading)
read_whole = partial(whole_of, MessagesReading)


def event(kind: str, **fields: object) -> bytes:
    data = json.dumps({"type": kind, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()


def grown(**delta: object) -> bytes:
    return event("content_block_delta", index=0, delta=delta)


def text(content: object) -> bytes:
    return grown(type="text_delta", text=content)


def concluded(reason: str | None = "end_turn", **usage: object) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage)


def failing(kind: str, words: str = "No.") -> bytes:
    return event("error", error={"type": kind, "message": words})


BEGUN = event("message_start", message={"usage": {"input_tokens": 3, "output_tokens": 1}})
PING = event("ping")
OVER = event("message_stop")
END = concluded(output_tokens=5) + OVER
TOLD = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=0, estimated=False)

GUESSED = Usage(input_tokens=3, output_tokens=1, reasoning_tokens=0, estimated=True)


def stopped(content: str, reason: str | None = "end_turn", usage: Usage | None = TOLD) -> Outcome:
    return Outcome(content, "", Ending(finish_reason=reason, usage=usage))


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(BEGUN + text("a") + END, stopped("a"), id="V01 as it should be"),
        pytest.param(
            BEGUN + PING + text("a") + PING * 3 + text("b") + END, stopped("ab"), id="V21 pings"
        ),
        pytest.param(BEGUN + text("a") + END + text("b"), stopped("a"), id="V03 after the marker"),
        pytest.param(
            BEGUN + text("a") + END + failing("api_error"), stopped("a"), id="V03 a late error"
        ),
        pytest.param(
            BEGUN + text("a") + OVER,
            stopped(
                "a",
                None,
                Usage(input_tokens=3, output_tokens=1, reasoning_tokens=0, estimated=True),
            ),
            id="V07 a marker and no reason",
        ),
        pytest.param(BEGUN + END, stopped(""), id="V01 a reason and no text is an answer"),
        pytest.param(
            BEGUN
            + event("content_block_start", content_block={"type": "text", "text": "a"})
            + text("b")
            + END,
            stopped("ab"),
            id="V01 text where a block begins",
        ),
        pytest.param(
            BEGUN
            + event("vellichor", text="x")
            + b"event: x\ndata: no JSON\n\n" * 99
            + grown(type="vellichor_delta", text="x")
            + event("content_block_start", content_block={"type": "tool_use", "text": "x"})
            + grown(type="input_json_delta", partial_json='{"text":')
            + text("a")
            + END,
            stopped("a"),
            id="V24 V13 events, blocks and deltas of other kinds",
        ),
        pytest.param(
            BEGUN + text("a") + concluded("refusal_of_next_year", output_tokens=5) + OVER,
            stopped("a", "refusal_of_next_year"),
            id="V01 a reason of next year",
        ),
        pytest.param(
            BEGUN + text("a") + concluded("model_context_window_exceeded", output_tokens=5) + OVER,
            stopped("a", "model_context_window_exceeded"),
            id="V01 cut by the model's window",
        ),
        pytest.param(
            BEGUN
            + text("a")
            + concluded(None, output_tokens=2)
            + text("b")
            + concluded("end_turn", output_tokens=5)
            + OVER,
            stopped("ab"),
            id="V10 the count grows, the last is the whole",
        ),
        pytest.param(
            BEGUN + text("a") + END.rstrip(b"\n"), stopped("a"), id="S29 the marker without its end"
        ),
        pytest.param(
            (BEGUN + text("a") + END).replace(b"\n", b"\r\n"), stopped("a"), id="V29 with CRLF"
        ),
        pytest.param(
            BEGUN + text("a").split(b"\n", 1)[1] + END, stopped("a"), id="V02 without event lines"
        ),
    ],
)
def test_the_answer_is_whole(stream: bytes, expected: Outcome) -> None:
    assert read([stream]) == expected
    assert plainly_of(MessagesReading, [stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected


@pytest.mark.parametrize(
    ("stream", "content", "code", "retryable"),
    [
        pytest.param(BEGUN + text("a"), "a", "truncated", True, id="V23 V06 no marker"),
        pytest.param(
            BEGUN + text("a") + concluded(output_tokens=5),
            "a",
            "truncated",
            True,
            id="V23 a reason, but no marker",
        ),
        pytest.param(BEGUN, "", "truncated", True, id="V23 nothing but the beginning"),
        pytest.param(b"", "", "empty_response", False, id="V35 nothing"),
        pytest.param(BEGUN + OVER, "", "empty_response", False, id="V07 a marker alone"),
        pytest.param(
            BEGUN + text("a") + failing("overloaded_error") + OVER,
            "a",
            "overloaded",
            True,
            id="V22 overloaded in the middle",
        ),
        pytest.param(
            BEGUN + text("a") + failing("api_error"), "a", "provider_error", True, id="V18 a fault"
        ),
        pytest.param(failing("rate_limit_error"), "", "rate_limited", True, id="V18 first of all"),
        pytest.param(
            BEGUN + failing("invalid_request_error"), "", "bad_request", False, id="V18 no retry"
        ),
        pytest.param(
            BEGUN + text("a") + b"event: error\ndata: it broke\n\n" + END,
            "a",
            "provider_error",
            False,
            id="V18 an error that is no JSON",
        ),
        pytest.param(
            BEGUN + text("a") + b'data: {"type":"error","message":"x"}\n\n' + END,
            "a",
            "provider_error",
            False,
            id="V18 an error without a wrapping",
        ),
        pytest.param(
            BEGUN + text("a") + concluded("refusal", output_tokens=5) + OVER,
            "a",
            "content_filtered",
            False,
            id="V28 stopped by a filter",
        ),
        pytest.param(
            BEGUN + text("x" * 2 * MIB), "", "frame_too_large", False, id="V47 a large token"
        ),
        pytest.param(
            BEGUN + b"data: {}\n\n" * (MALFORMED_LIMIT + 1) + text("a") + END,
            "",
            "protocol_error",
            False,
            id="V15 too many events without a type",
        ),
        pytest.param(
            BEGUN + text("a") + event("content_block_delta", delta=3) * (MALFORMED_LIMIT + 1) + END,
            "a",
            "protocol_error",
            False,
            id="V15 too many deltas of another shape",
        ),
        pytest.param(
            BEGUN + b"data: ?\n\n" * (MALFORMED_LIMIT + 1) + END,
            "",
            "protocol_error",
            False,
            id="V16 too much that is no JSON",
        ),
    ],
)
def test_the_answer_is_not_whole(
    stream: bytes, content: str, code: ErrorCode, retryable: bool
) -> None:
    for outcome in (read([stream]), plainly_of(MessagesReading, [stream])):
        assert (outcome.text, outcome.ending, outcome.code) == (content, None, code)
        assert outcome.retryable == retryable


def test_V15_V16_events_without_sense_are_passed_over_up_to_a_bound() -> None:
    odd = b"data: {}\n\ndata: [1]\n\ndata: ?\n\n" + event("message_start")
    assert read([BEGUN + odd * 5 + text(5) + text("a") + END]) == stopped("a")


def test_V28_a_refusal_is_told_in_the_providers_words() -> None:
    refused = event(
        "message_delta",
        delta={"stop_reason": "refusal", "stop_details": {"explanation": "Not this."}},
    )
    assert read([BEGUN + refused + OVER]).words == "Not this."


def test_V09_the_question_is_counted_with_what_came_from_a_cache() -> None:
    begun = event(
        "message_start",
        message={
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 100,
                "output_tokens": 1,
            }
        },
    )
    details = {"thinking_tokens": 4}
    end = concluded(output_tokens=5, output_tokens_details=details) + OVER
    thinking = grown(type="thinking_delta", thinking="Hm.")
    outcome = read([begun + thinking + text("a") + end])
    assert outcome.reasoning == "Hm."
    assert outcome.ending == Ending(
        finish_reason="end_turn",
        usage=Usage(input_tokens=113, output_tokens=5, reasoning_tokens=4, estimated=False),
    )


def test_what_is_written_is_estimated_until_the_provider_counts_it() -> None:
    stream = BEGUN + grown(type="thinking_delta", thinking="Hm, hm.") + text("x" * 41)
    for outcome in (read([stream]), plainly_of(MessagesReading, [stream, text("")])):
        assert outcome.usage == Usage(
            input_tokens=3, output_tokens=13, reasoning_tokens=2, estimated=True
        )


@pytest.mark.parametrize("figure", [None, -1, True, "3", 10**30], ids=str)
def test_V17_a_figure_that_is_none_counts_nothing(figure: object) -> None:
    begun = event("message_start", message={"usage": {"input_tokens": figure}})
    assert read([begun + text("a") + concluded(output_tokens=figure) + OVER]) == stopped(
        "a", usage=None
    )


def test_the_fast_way_takes_text_and_nothing_else() -> None:
    reading = MessagesReading()
    assert reading.plain(BEGUN) is None
    assert list(reading.feed(BEGUN)) == []
    assert reading.plain(text("a") + text("é\n") + text("")) == ("a", "é\n")
    assert reading.plain(text("a") + PING) is None
    assert reading.plain(grown(type="thinking_delta", thinking="x")) is None
    assert reading.plain(event("content_block_delta", delta={"type": "text_delta"})) is None
    bare = text("b").split(b"data: ")[1].strip()
    assert reading.plain(text("a")[:-1] + bare + b"\n\n") is None  # a field of no name
    assert reading.plain(text("a") + BEFORE_A_DELTA + b"\n\n" + text("b")) is None


# --- an answer that is not streamed ------------------------------------------------------------


def test_V34_an_answer_in_one_object_is_an_answer() -> None:
    body = json.dumps(
        {
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "Hm."},
                {"type": "text", "text": "a"},
                {"type": "tool_use", "input": {}},
                3,
            ],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 5},
        }
    )
    expected = Outcome("a", "Hm.", Ending(finish_reason="end_turn", usage=TOLD))
    assert read_whole(body.encode()) == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"type":"message","content":[]}', "empty_response", id="V34 no reason"),
        pytest.param(
            b'{"type":"error","error":{"type":"overloaded_error"}}', "overloaded", id="V33 an error"
        ),
        pytest.param(b" ", "empty_response", id="V35 blank"),
        pytest.param(b"[1]", "protocol_error", id="V34 no object"),
        pytest.param(b"{", "protocol_error", id="V34 cut short"),
    ],
)
def test_an_answer_in_one_object_may_be_none(body: bytes, code: ErrorCode) -> None:
    outcome = read_whole(body)
    assert (outcome.ending, outcome.code) == (None, code)


FIELDS = [
    *("type", "delta", "text", "thinking", "error", "usage", "stop_reason", "message", "content"),
    *("content_block", "input_tokens", "output_tokens", "stop_details"),
]
KINDS = [
    *("text", "text_delta", "thinking_delta", "message", "message_start", "error"),
    *("message_delta", "content_block_start", "content_block_delta"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "delta",
                    "text",
                    "thinking",
                    "error",
                    "usage",
                    "stop_reason",
                    "message",
                    "content_block",
                    "content",
                    "input_tokens",
                    "output_tokens",
                    "stop_details",
                ]
            ),
            inner
            | st.sampled_from(
                [
                    "text",
                    "text_delta",
                    "thinking_delta",
                    "message",
                    "message_start",
                    "error",
                    "message_delta",
                    "content_block_start",
                    "content_block_delta",
                ]
            ),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(json_values, max_size=4))
def test_V15_V17_whatever_json_comes_the_outcome_is_an_ending_or_one_of_our_errors(
    values: list[object],
) -> None:
    stream = b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in values)
    outcome = read([stream + OVER])  # anything but ProviderError would leave the test
    outcome.text.encode()
    if outcome.ending is not None:
        encode([outcome.ending.usage])


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "words", "code", "retryable"),
    [
        (400, "invalid_request_error", "max_tokens: too many", "bad_request", False),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.",
            "payment_required",
            False,
        ),
        (401, "authentication_error", "invalid x-api-key", "unauthorized", False),
        (402, "billing_error", "No.", "payment_required", False),
        (403, "permission_error", "No.", "unauthorized", False),
        (404, "not_found_error", "model: claude-x", "model_not_found", False),
        (413, "request_too_large", "No.", "bad_request", False),
        (429, "rate_limit_error", "No.", "rate_limited", True),
        (500, "api_error", "No.", "provider_error", True),
        (504, "timeout_error", "No.", "provider_error", True),
        (529, "overloaded_error", "Overloaded", "overloaded", True),
    ],
)
def test_V36_V38_a_refusal_has_the_code_that_its_type_or_status_stands_for(
    status: int, kind: str, words: str, code: ErrorCode, retryable: bool
) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": words}}).encode()
    error = Messages("http://a/v1").refusal(status, {"retry-after": "7"}, body)
    assert (error.code, str(error), error.retry_after) == (code, words, 7)
    if code != "payment_required":
        assert error.retryable == retryable
    in_the_stream = read([BEGUN + failing(kind, words)])
    if kind != "invalid_request_error":
        assert (in_the_stream.code, in_the_stream.retryable) == (code, retryable)


# --- what is asked -----------------------------------------------------------------------------

PICTURE = Image("image/png", "aGVsbG8=")
ASKED = (
    Message("assistant", "The middle of an earlier round."),
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("user", "Two?"),
    Message("assistant", "Three."),
    Message("assistant", " \n"),
    Message("user", "Größe?\n\0", (PICTURE,)),
)


def prompt(
    *messages: Message, temperature: float | None = None, top_p: float | None = None
) -> Prompt:
    return Prompt(
        model="claude-x",
        messages=messages,
        max_tokens=256,
        temperature=temperature,
        top_p=top_p,
    )


def test_the_request_holds_what_was_asked_and_nothing_besides() -> None:
    dialect = Messages("https://api.example/v1/", api_key="k")
    request = dialect.request(prompt(Message("user", "Why?")))
    assert request.url == "https://api.example/v1/messages"
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "anthropic-version": "2023-06-01",
        "x-api-key": "k",
    }
    assert json.loads(request.body) == {
        "model": "claude-x",
        "messages": [{"role": "user", "content": "Why?"}],
        "stream": True,
        "max_tokens": 256,
    }
    assert "x-api-key" not in Messages("http://a").request(prompt(Message("user", "x"))).headers


def test_the_parameters_are_what_is_sent() -> None:
    sampled = prompt(Message("user", "Why?"), temperature=1.0, top_p=0.5)
    sent = json.loads(Messages("http://a/v1").request(sampled).body)
    parameters = {"max_tokens": 256, "temperature": 1.0, "top_p": 0.5}
    assert Messages("http://a/v1").parameters(sampled) == parameters
    assert {
        name: sent[name] for name in sent.keys() - {"model", "messages", "stream"}
    } == parameters


def test_turns_are_taken_in_turns_with_the_systems_words_apart() -> None:
    body = json.loads(Messages("http://a/v1").request(prompt(*ASKED)).body)
    source = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    assert body["system"] == "Be brief."
    assert body["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "One?"}, {"type": "text", "text": "Two?"}],
        },
        {"role": "assistant", "content": "Three."},
        {
            "role": "user",
            "content": [
                {"type": "image", "source": source},
                {"type": "text", "text": "Größe?\n\0"},
            ],
        },
    ]


def test_words_of_the_system_are_kept_apart_when_there_are_more() -> None:
    asked = prompt(Message("system", "One."), Message("user", "Why?"), Message("system", "Two."))
    body = json.loads(Messages("http://a/v1").request(asked).body)
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]


def test_a_temperature_that_it_does_not_take_is_refused_and_never_lowered() -> None:
    with pytest.raises(ProviderError) as refused:
        Messages("http://a/v1").request(prompt(Message("user", "Why?"), temperature=1.5))
    assert (refused.value.code, refused.value.retryable) == ("bad_request", False)
    assert str(refused.value) == "This provider takes a temperature of 0 to 1, not 1.5."
