"""Gemini's dialect without a socket: what is asked, and what any stream of bytes comes to.

V and S name the rows of docs/corner-cases.md; every recording, cut everywhere, is in
test_recordings_of_others.py.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.events import ErrorCode, Usage
from service.eventstream import encode
from service.providers import Ending, Image, Message, Prompt
from service.providers.dialect import MALFORMED_LIMIT
from service.providers.gemini import FILTERED, ContentReading, GenerateContent
from tests.reading import Outcome
from tests.reading import read as reading_of
from tests.reading import read_whole as whole_of

MIB = 1024 * 1024
read = partial(reading_of, ContentReading)
read_whole = partial(whole_of, ContentReading)


def event(value: object) -> bytes:
    return b"data: %b\r\n\r\n" % json.dumps(value).encode()


def part(text: object, reason: str | None = None, **usage: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if reason is not None:
        candidate["finishReason"] = reason
    response: dict[str, Any] = {"candidates": [candidate]}
    if usage:
        response["usageMetadata"] = usage
    return response


def ended(reason: str, **more: object) -> dict[str, Any]:
    return {"candidates": [{"finishReason": reason, "index": 0, **more}]}


def failing(code: int, status: str, *details: object) -> dict[str, Any]:
    return {"error": {"code": code, "message": "No.", "status": status, "details": [*details]}}


def stream_of(*values: object) -> bytes:
    return b"".join(map(event, values))


def stopped(text: str, reason: str = "STOP", usage: Usage | None = None) -> Outcome:
    return Outcome(text, "", Ending(finish_reason=reason, usage=usage))


TOLD = Usage(input_tokens=3, output_tokens=9, reasoning_tokens=4, estimated=False)
COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 4}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            stream_of(part("a"), part("b", "STOP")), stopped("ab"), id="V25 the end is the end"
        ),
        pytest.param(
            stream_of(part("a"), ended("STOP")), stopped("a"), id="V25 a reason without parts"
        ),
        pytest.param(
            stream_of(part("a"), ended("MAX_TOKENS", content={"role": "model"})),
            stopped("a", "MAX_TOKENS"),
            id="V25 cut by its bound, no parts",
        ),
        pytest.param(
            stream_of(part("a", "STOP"), part("b", "STOP"), part("c", "STOP")),
            stopped("abc"),
            id="V26 a reason in each",
        ),
        pytest.param(
            stream_of(part("a", "STOP"), part("b"), {"usageMetadata": COUNTS}),
            stopped("ab", usage=TOLD),
            id="V26 text and counts after the reason",
        ),
        pytest.param(
            stream_of(part("a", "STOP"), part("b", "MAX_TOKENS")),
            stopped("ab", "MAX_TOKENS"),
            id="V26 the last reason counts",
        ),
        pytest.param(
            stream_of(part("a", "FINISH_REASON_UNSPECIFIED"), part("b", "STOP")),
            stopped("ab"),
            id="V25 a reason that is none",
        ),
        pytest.param(
            stream_of(
                {"candidates": [{"index": 1, **part("x", "STOP")["candidates"][0]}]},
                part("a", "STOP"),
            ),
            stopped("a"),
            id="V14 another candidate",
        ),
        pytest.param(
            stream_of(
                {"candidates": [{"content": {"parts": [{"functionCall": {}}, 3, {"text": 5}]}}]},
                {"candidates": [{"content": {"role": "model"}}]},
                {"candidates": [{"content": None}]},
                {"candidates": []},
                {"promptFeedback": {"safetyRatings": []}},
                part("a", "STOP"),
            ),
            stopped("a"),
            id="V13 V15 parts that are no text",
        ),
        pytest.param(
            stream_of(
                {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}, part("a", "STOP")
            ),
            stopped("a"),
            id="V28 a block that is none",
        ),
        pytest.param(
            stream_of(part("a"), part("b", "STOP"))[:-4], stopped("ab"), id="S29 line ends missing"
        ),
        pytest.param(
            stream_of(part("a", "STOP")) + b": a comment that",
            stopped("a"),
            id="S29 a torn comment is nothing",
        ),
        pytest.param(
            b"event: x\ndata: ?\n\n" * 99 + stream_of(part("a", "STOP")),
            stopped("a"),
            id="V24 events of other types",
        ),
    ],
)
def test_the_answer_is_whole(stream: bytes, expected: Outcome) -> None:
    assert read([stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected
    assert read([stream.replace(b"\r\n", b"\n")]) == expected


@pytest.mark.parametrize(
    ("stream", "text", "code", "retryable"),
    [
        pytest.param(stream_of(part("a")), "a", "truncated", True, id="V06 no reason"),
        pytest.param(b"", "", "empty_response", False, id="V35 nothing"),
        pytest.param(
            stream_of({"usageMetadata": COUNTS}), "", "truncated", True, id="V06 counts are no end"
        ),
        pytest.param(
            stream_of(part("a", "STOP"), part("b", "STOP"))[:-9],
            "a",
            "truncated",
            True,
            id="V26 a reason, and behind it a torn event",
        ),
        pytest.param(
            stream_of(part("a", "STOP")) + b"da", "a", "truncated", True, id="V26 a torn name"
        ),
        pytest.param(
            stream_of(part("a"), failing(503, "UNAVAILABLE")),
            "a",
            "overloaded",
            True,
            id="V27 an error in the middle",
        ),
        pytest.param(
            stream_of(part("a", "STOP"), failing(500, "INTERNAL")),
            "a",
            "provider_error",
            True,
            id="V27 an error after the reason",
        ),
        pytest.param(
            stream_of(part("a"), {"error": {"status": "RESOURCE_EXHAUSTED"}}),
            "a",
            "rate_limited",
            True,
            id="V27 an error by its name alone",
        ),
        pytest.param(
            stream_of({**part("a"), "error": {"code": 503}}),
            "a",
            "overloaded",
            True,
            id="V19 text beside the error is kept",
        ),
        pytest.param(
            stream_of({"promptFeedback": {"blockReason": "SAFETY"}}),
            "",
            "content_filtered",
            False,
            id="V28 a blocked question",
        ),
        pytest.param(
            stream_of({"promptFeedback": {"blockReason": "SAFETY"}}, part("a", "STOP")),
            "",
            "content_filtered",
            False,
            id="V28 nothing is read behind a block",
        ),
        *(
            pytest.param(
                stream_of(part("a"), ended(reason)),
                "a",
                "content_filtered",
                False,
                id=f"V28 stopped by {reason}",
            )
            for reason in sorted(FILTERED)
        ),
        *(
            pytest.param(
                stream_of(part("a"), ended(reason)),
                "a",
                "provider_error",
                False,
                id=f"V25 failed with {reason}",
            )
            for reason in ("OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "A_REASON_OF_NEXT_YEAR")
        ),
        pytest.param(
            stream_of(part("x" * 2 * MIB, "STOP")), "", "frame_too_large", False, id="V47 2 MiB"
        ),
        pytest.param(
            stream_of(*[{"candidates": 3}] * (MALFORMED_LIMIT + 1), part("a", "STOP")),
            "",
            "protocol_error",
            False,
            id="V15 too many without sense",
        ),
        pytest.param(
            stream_of(*[{"candidates": [3]}] * (MALFORMED_LIMIT + 1), part("a", "STOP")),
            "",
            "protocol_error",
            False,
            id="V15 too many candidates without sense",
        ),
        pytest.param(
            stream_of(*[{"candidates": [{}]}] * (MALFORMED_LIMIT + 1), part("a", "STOP")),
            "",
            "protocol_error",
            False,
            id="V15 too many candidates with nothing in them",
        ),
        pytest.param(
            b"data: ?\n\n" * (MALFORMED_LIMIT + 1), "", "protocol_error", False, id="V16 no JSON"
        ),
    ],
)
def test_the_answer_is_not_whole(
    stream: bytes, text: str, code: ErrorCode, retryable: bool
) -> None:
    outcome = read([stream])
    assert (outcome.text, outcome.ending, outcome.code) == (text, None, code)
    assert outcome.retryable == retryable


def test_a_reason_ends_nothing_before_the_body_does() -> None:
    reading = ContentReading()
    assert [delta.texts for delta in reading.feed(event(part("a", "STOP")))] == [("a",)]
    assert not reading.finished
    assert not reading.marked_done


def test_thoughts_are_reasoning_in_the_order_in_which_they_came() -> None:
    parts = [{"text": "Hm.", "thought": True}, {"text": "a", "thought": False}]
    first = {"candidates": [{"content": {"parts": parts}}]}
    outcome = read([stream_of(first, ended("STOP"))])
    assert (outcome.text, outcome.reasoning) == ("a", "Hm.")


def test_V28_a_block_is_told_in_the_providers_words_where_it_has_some() -> None:
    named = {"blockReason": "OTHER", "blockReasonMessage": "Not this."}
    assert read([stream_of({"promptFeedback": named})]).words == "Not this."
    bare = read([stream_of({"promptFeedback": {"blockReason": "OTHER"}})])
    assert bare.words == "The provider blocked the question: OTHER."
    told = read([stream_of(part("a"), ended("SAFETY", finishMessage="Not that." * 100))])
    assert told.words.startswith("Not that.")
    assert len(told.words) <= 1000
    assert read([stream_of(ended("OTHER"))]).words == "The provider ended the answer with OTHER."


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param(COUNTS, TOLD, id="V09 thoughts are counted apart and belong to the output"),
        pytest.param(
            {"promptTokenCount": 3, "candidatesTokenCount": 5},
            Usage(input_tokens=3, output_tokens=5, reasoning_tokens=0, estimated=False),
            id="V09 no thoughts",
        ),
        pytest.param(
            {"promptTokenCount": 3, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5},
            Usage(input_tokens=5, output_tokens=5, reasoning_tokens=0, estimated=False),
            id="V09 with a tool's part of the question",
        ),
        pytest.param(
            {"promptTokenCount": 3},
            Usage(input_tokens=3, output_tokens=1, reasoning_tokens=0, estimated=True),
            id="V09 the answer is not counted",
        ),
        pytest.param(
            {"promptTokenCount": "3", "candidatesTokenCount": 5},
            Usage(input_tokens=0, output_tokens=5, reasoning_tokens=0, estimated=False),
            id="V17 no figure",
        ),
    ],
)
def test_usage_is_what_the_provider_reports(counts: dict[str, object], expected: Usage) -> None:
    outcome = read([stream_of({**part("abcd", "STOP"), "usageMetadata": counts})])
    assert outcome == stopped("abcd", usage=expected)


def test_V10_the_last_counts_count_and_are_known_when_it_breaks_off() -> None:
    first = part("a", None, promptTokenCount=3, candidatesTokenCount=1)
    outcome = read([stream_of(first, part("b", None, **COUNTS))])
    assert (outcome.code, outcome.usage) == ("truncated", TOLD)


# --- an answer that is not streamed ------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps(part("ab", "STOP", **COUNTS)), id="V34 one object"),
        pytest.param(
            json.dumps([part("a", None, **COUNTS), part("b", "STOP", **COUNTS)]), id="V34 a list"
        ),
    ],
)
def test_an_answer_in_one_piece_is_an_answer(body: str) -> None:
    assert read_whole(body.encode()) == stopped("ab", usage=TOLD)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(json.dumps(part("a")), "truncated", id="V34 no reason"),
        pytest.param(json.dumps([failing(429, "RESOURCE_EXHAUSTED")]), "rate_limited", id="V33"),
        pytest.param("[]", "empty_response", id="V35 an empty list"),
        pytest.param("[3]", "protocol_error", id="V34 a list of something else"),
        pytest.param("{", "protocol_error", id="V34 cut short"),
        pytest.param("", "empty_response", id="V35 nothing"),
    ],
)
def test_an_answer_in_one_piece_may_be_none(body: str, code: ErrorCode) -> None:
    outcome = read_whole(body.encode())
    assert (outcome.ending, outcome.code) == (None, code)


FIELDS = [
    *("candidates", "content", "parts", "text", "thought", "finishReason", "index", "error"),
    *("promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "code", "status"),
    *("candidatesTokenCount", "thoughtsTokenCount", "details", "retryDelay", "reason"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS), inner | st.sampled_from(["STOP", "SAFETY"]), max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(json_values, max_size=4))
def test_V15_V17_whatever_json_comes_the_outcome_is_an_ending_or_one_of_our_errors(
    values: list[object],
) -> None:
    outcome = read([stream_of(*values, ended("STOP"))])
    outcome.text.encode()
    if outcome.ending is not None:
        encode([outcome.ending.usage])


# --- refusals ----------------------------------------------------------------------------------

BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}


@pytest.mark.parametrize(
    ("code", "status", "details", "expected", "retryable", "retry_after"),
    [
        pytest.param(400, "INVALID_ARGUMENT", (), "bad_request", False, None, id="V36 400"),
        pytest.param(
            400, "INVALID_ARGUMENT", (3, BAD_KEY), "unauthorized", False, None, id="V36 a bad key"
        ),
        pytest.param(400, "FAILED_PRECONDITION", (), "bad_request", False, None, id="V36 a place"),
        pytest.param(401, "UNAUTHENTICATED", (), "unauthorized", False, None, id="V36 401"),
        pytest.param(403, "PERMISSION_DENIED", (), "unauthorized", False, None, id="V36 403"),
        pytest.param(404, "NOT_FOUND", (), "model_not_found", False, None, id="V36 404"),
        pytest.param(429, "RESOURCE_EXHAUSTED", (), "rate_limited", True, None, id="V38 429"),
        pytest.param(
            429, "RESOURCE_EXHAUSTED", (WAIT,), "rate_limited", True, 34.5, id="V38 a time to wait"
        ),
        pytest.param(500, "INTERNAL", (), "provider_error", True, None, id="V39 500"),
        pytest.param(503, "UNAVAILABLE", (), "overloaded", True, None, id="V39 503"),
        pytest.param(504, "DEADLINE_EXCEEDED", (), "provider_error", True, None, id="V39 504"),
    ],
)
def test_a_refusal_has_the_code_that_it_stands_for(
    code: int,
    status: str,
    details: tuple[object, ...],
    expected: ErrorCode,
    retryable: bool,
    retry_after: float | None,
) -> None:
    told = failing(code, status, *details)
    for body in (json.dumps(told), json.dumps([told])):
        error = GenerateContent("http://a/v1beta").refusal(code, {}, body.encode())
        assert (error.code, str(error)) == (expected, "No.")
        assert (error.retryable, error.retry_after) == (retryable, retry_after)
    in_the_stream = read([stream_of(part("a"), told)])
    assert (in_the_stream.code, in_the_stream.retryable) == (expected, retryable)
    by_name = {"error": {"status": status, "details": [*details]}}
    assert read([stream_of(by_name)]).code == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[3]", b"{}"])
def test_V39_a_status_says_enough_when_the_body_says_nothing(body: bytes) -> None:
    error = GenerateContent("http://a/v1beta").refusal(503, {"retry-after": "7"}, body)
    assert (error.code, error.retryable, error.retry_after) == ("overloaded", True, 7)


def test_V38_the_header_wins_over_the_body() -> None:
    body = json.dumps(failing(429, "RESOURCE_EXHAUSTED", WAIT)).encode()
    dialect = GenerateContent("http://a/v1beta")
    assert dialect.refusal(429, {"retry-after": "7"}, body).retry_after == 7


# --- what is asked -----------------------------------------------------------------------------


def prompt(*messages: Message, model: str = "gemini-x", **sampling: float) -> Prompt:
    return Prompt(model=model, messages=messages, max_tokens=256, **sampling)


def test_the_request_holds_what_was_asked_and_nothing_besides() -> None:
    dialect = GenerateContent("https://api.example/v1beta/", api_key="k")
    asked = prompt(Message("system", "Be brief."), Message("user", "Why?"), temperature=2.0)
    request = dialect.request(asked)
    expected = "https://api.example/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    assert request.url == expected
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "x-goog-api-key": "k",
    }
    parameters = {"generationConfig": {"maxOutputTokens": 256, "temperature": 2.0}}
    assert dialect.parameters(asked) == parameters
    assert json.loads(request.body) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Why?"}]}],
        **parameters,
    }
    assert "x-goog-api-key" not in GenerateContent("http://a").request(asked).headers
    assert dialect.parameters(prompt(top_p=0.5))["generationConfig"]["topP"] == 0.5


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-x", "/models/gemini-x:"),
        ("a/../b?key=c#d:e f", "/models/a%2F..%2Fb%3Fkey%3Dc%23d%3Ae%20f:"),
    ],
)
def test_the_models_name_is_one_step_of_the_path_whatever_is_in_it(model: str, path: str) -> None:
    url = GenerateContent("http://a").request(prompt(Message("user", "x"), model=model)).url
    assert url == f"http://a{path}streamGenerateContent?alt=sse"


def test_turns_alternate_and_pictures_go_with_them() -> None:
    asked = prompt(
        Message("user", "One?"),
        Message("assistant", "Two."),
        Message("user", "Three?"),
        Message("user", "Four?", (Image("image/webp", "aGVsbG8="),)),
    )
    assert json.loads(GenerateContent("http://a").request(asked).body)["contents"] == [
        {"role": "user", "parts": [{"text": "One?"}]},
        {"role": "model", "parts": [{"text": "Two."}]},
        {
            "role": "user",
            "parts": [
                {"text": "Three?"},
                {"inlineData": {"mimeType": "image/webp", "data": "aGVsbG8="}},
                {"text": "Four?"},
            ],
        },
    ]


def test_V41_a_redirect_is_no_error_of_the_models_whatever_its_body_says() -> None:
    body = b'{"error": {"code": 503, "status": "UNAVAILABLE", "message": "Elsewhere."}}'
    error = GenerateContent("http://a/v1beta").refusal(301, {"location": "http://b/"}, body)
    assert (error.code, error.retryable) == ("protocol_error", False)
