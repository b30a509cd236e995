"""Ollama's own dialect without a socket: what is asked, and what any stream of bytes comes to.

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
from service.providers.ollama import ChatLines, LinesReading
from tests.reading import Outcome
from tests.reading import read as reading_of
from tests.reading import read_plainly as plainly_of
from tests.reading import read_whole as whole_of

MIB = 1024 * 1024
read = partial(reading_of, LinesReading)
read_whole = partial(whole_of, LinesReading)


def line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def text(content: object, **message: object) -> bytes:
    return line({"message": {"content": content, **message}, "done": False})


def done(reason: str | None = "stop", **figures: object) -> bytes:
    return line({"message": {"content": ""}, "done": True, "done_reason": reason, **figures})


def stopped(content: str, reason: str | None = "stop", usage: Usage | None = None) -> Outcome:
    return Outcome(content, "", Ending(finish_reason=reason, usage=usage))


COUNTS: dict[str, Any] = {"prompt_eval_count": 3, "eval_count": 5, "load_duration": 1334875}
TOLD = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=0, estimated=False)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            text("a") + text("b") + done(**COUNTS), stopped("ab", usage=TOLD), id="V54 whole"
        ),
        pytest.param(
            text("a") + done("length", eval_count=5),
            stopped(
                "a",
                "length",
                Usage(input_tokens=0, output_tokens=5, reasoning_tokens=0, estimated=False),
            ),
            id="V54 the question came from a cache and is not counted",
        ),
        pytest.param(text("a") + done(), stopped("a"), id="V54 no counts"),
        pytest.param(text("a") + done(None), stopped("a", None), id="V07 done without a reason"),
        pytest.param(done(), stopped(""), id="V01 a reason and no text is an answer"),
        pytest.param(
            text("a") + done() + text("b") + line({"error": "late"}),
            stopped("a"),
            id="V03 what follows is ignored",
        ),
        pytest.param(text("a") + done()[:-1], stopped("a"), id="S29 the last line without its end"),
        pytest.param(
            b"\xef\xbb\xbf" + (text("a") + done()).replace(b"\n", b"\r\n\r\n"),
            stopped("a"),
            id="V29 a BOM, CRLF and blank lines",
        ),
        pytest.param(
            text("a") + b"?\n[]\n3\n{}\n" + text(5) + line({"message": 3}) + done(),
            stopped("a"),
            id="V15 V16 some lines without sense",
        ),
        pytest.param(text("a\u2028\x85b") + done(), stopped("a\u2028\x85b"), id="S20 no line ends"),
    ],
)
def test_the_answer_is_whole(stream: bytes, expected: Outcome) -> None:
    one_by_one = [stream[i : i + 1] for i in range(len(stream))]
    assert read([stream]) == plainly_of(LinesReading, [stream]) == expected
    assert read(one_by_one) == plainly_of(LinesReading, one_by_one) == expected


@pytest.mark.parametrize(
    ("stream", "content", "code"),
    [
        pytest.param(text("a") + text("b"), "ab", "truncated", id="V54 no last line"),
        pytest.param(text("a") + done()[:-2], "a", "truncated", id="V54 half a last line"),
        pytest.param(b"", "", "empty_response", id="V35 nothing"),
        pytest.param(b"\n\r\n \n", "", "empty_response", id="V35 blank lines"),
        pytest.param(done(None), "", "empty_response", id="V07 done, and nothing else"),
        pytest.param(done("load"), "", "empty_response", id="V54 it only loaded the model"),
        pytest.param(
            text("a") + line({"error": "it broke"}) + done(),
            "a",
            "provider_error",
            id="V55 an error in the middle",
        ),
        pytest.param(line({"error": "it broke"}), "", "provider_error", id="V55 first of all"),
        pytest.param(
            line({"error": "x", "message": {"content": "a"}, "done": True, "done_reason": "stop"}),
            "a",
            "provider_error",
            id="V55 an error beside text and done",
        ),
        pytest.param(
            line({"error": {"code": 503, "message": "busy"}}),
            "",
            "overloaded",
            id="V55 an error that is an object",
        ),
        pytest.param(
            text("a") + text("x" * 2 * MIB) + done(), "a", "frame_too_large", id="V47 2 MiB a line"
        ),
        pytest.param(text("a") + b"\n" * 200_000, "a", "frame_too_large", id="S30 blank lines"),
        pytest.param(
            text("a") + b"{}\n" * (MALFORMED_LIMIT + 1) + done(),
            "a",
            "protocol_error",
            id="V15 too many lines without sense",
        ),
        pytest.param(
            b"data: {}\n\n" * (MALFORMED_LIMIT + 1), "", "protocol_error", id="V16 an event stream"
        ),
    ],
)
def test_the_answer_is_not_whole(stream: bytes, content: str, code: ErrorCode) -> None:
    for outcome in (read([stream]), plainly_of(LinesReading, [stream])):
        assert (outcome.text, outcome.ending, outcome.code) == (content, None, code)
        assert outcome.retryable == (code in ("truncated", "overloaded"))


def test_thinking_is_reasoning() -> None:
    outcome = read([text("", thinking="Hm, ") + text("a", thinking="well.") + done()])
    assert (outcome.text, outcome.reasoning) == ("a", "Hm, well.")


def test_the_fast_way_takes_text_and_nothing_else() -> None:
    reading = LinesReading()
    assert reading.plain(b"") is None
    assert reading.plain(text("a") + text("") + text("é\n")) == ("a", "é\n")
    assert reading.plain(text("") + b'{"mess') == ()
    (delta,) = reading.feed(b'age":{"content":"b"},"done":false}\n')
    assert delta.texts == ("b",)
    for odd in (
        done(),
        text("a", thinking="Hm."),
        line({"error": "x", "message": {"content": "a"}, "done": False}),
        text("a") + b"\n" + text("b"),
        b'{"message":\n{"content":"a"},"done":false}\n',
        b"[" * 10_000 + b"\n",
    ):
        assert reading.plain(odd) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            b'{"message":\n{"content":"a"},"done":true,"done_reason":"stop"}',
            stopped("a"),
            id="V34 one object",
        ),
        pytest.param(
            text("a") + text("b") + done(), stopped("ab"), id="V34 lines that are called JSON"
        ),
    ],
)
def test_an_answer_in_one_piece_is_an_answer(body: bytes, expected: Outcome) -> None:
    assert read_whole(body) == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"error":"no"}', "provider_error", id="V33 an error"),
        pytest.param(text("a"), "truncated", id="V34 not done"),
        pytest.param(text("a") + text("b"), "truncated", id="V34 lines that are not done"),
        pytest.param(b"<html>", "protocol_error", id="V34 no JSON"),
        pytest.param(b"", "empty_response", id="V35 nothing"),
    ],
)
def test_an_answer_in_one_piece_may_be_none(body: bytes, code: ErrorCode) -> None:
    outcome = read_whole(body)
    assert (outcome.ending, outcome.code) == (None, code)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "content", "thinking", "done", "done_reason", "error", "eval_count"]
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
    outcome = read([b"".join(map(line, values)) + done()])
    outcome.text.encode()
    if outcome.ending is not None:
        encode([outcome.ending.usage])


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "bad_request", False),
        (401, "unauthorized", False),
        (404, "model_not_found", False),
        (429, "rate_limited", True),
        (500, "provider_error", True),
        (503, "overloaded", True),
    ],
)
def test_V36_V39_a_refusal_has_its_status_code_and_its_words(
    status: int, code: ErrorCode, retryable: bool
) -> None:
    error = ChatLines("http://a").refusal(status, {}, b'{"error":"model \\"x\\" not found"}')
    assert (error.code, error.retryable) == (code, retryable)
    assert str(error) == 'model "x" not found'


# --- what is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url", ["http://a:11434", "http://a:11434/", "http://a:11434/api", "http://a:11434/api/"]
)
def test_the_request_holds_what_was_asked_and_nothing_besides(base_url: str) -> None:
    dialect = ChatLines(base_url)
    prompt = Prompt(
        model="qwen3:8b",
        messages=(
            Message("system", "Be brief."),
            Message("user", "Größe?", (Image("image/png", "aGVsbG8="),)),
        ),
        max_tokens=256,
        temperature=1.5,
        top_p=0.5,
    )
    request = dialect.request(prompt)
    assert request.url == "http://a:11434/api/chat"
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept": "application/x-ndjson",
        "Accept-Encoding": "identity",
    }
    parameters = {"options": {"num_predict": 256, "temperature": 1.5, "top_p": 0.5}}
    assert dialect.parameters(prompt) == parameters
    assert json.loads(request.body) == {
        "model": "qwen3:8b",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Größe?", "images": ["aGVsbG8="]},
        ],
        "stream": True,
        **parameters,
    }


def test_a_key_is_sent_where_there_is_one() -> None:
    prompt = Prompt(model="m", messages=(Message("user", "x"),), max_tokens=256)
    request = ChatLines("https://ollama.example", api_key="k").request(prompt)
    assert request.headers["Authorization"] == "Bearer k"
    assert json.loads(request.body)["options"] == {"num_predict": 256}
