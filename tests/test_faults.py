"""What a provider's refusal means: statuses, names of errors, and how long to wait.

V and U name the rows of docs/corner-cases.md.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from service.events import ERROR_CODES, ErrorCode
from service.providers.faults import BY_STATUS, BY_TYPE, classify, refusal, retry_after_seconds


def body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


# --- statuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        pytest.param(201, "provider_error", False, id="201 is no 200"),
        pytest.param(206, "provider_error", False, id="206 is no 200"),
        pytest.param(301, "protocol_error", False, id="V41 301"),
        pytest.param(304, "protocol_error", False, id="V41 304"),
        pytest.param(308, "protocol_error", False, id="V41 308"),
        pytest.param(400, "bad_request", False, id="V36 400"),
        pytest.param(401, "unauthorized", False, id="V36 401"),
        pytest.param(402, "payment_required", False, id="V37 402"),
        pytest.param(403, "unauthorized", False, id="V36 403"),
        pytest.param(404, "model_not_found", False, id="V36 404"),
        pytest.param(405, "provider_error", False, id="405"),
        pytest.param(408, "provider_error", True, id="V36 408"),
        pytest.param(413, "bad_request", False, id="V36 413"),
        pytest.param(418, "provider_error", False, id="418"),
        pytest.param(422, "bad_request", False, id="V36 422"),
        pytest.param(429, "rate_limited", True, id="V38 429"),
        pytest.param(500, "provider_error", True, id="V40 500"),
        pytest.param(501, "provider_error", False, id="501"),
        pytest.param(502, "provider_error", True, id="V39 502"),
        pytest.param(503, "overloaded", True, id="V39 503"),
        pytest.param(504, "provider_error", True, id="V39 504"),
        pytest.param(529, "overloaded", True, id="V39 529"),
        pytest.param(999, "provider_error", False, id="999"),
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><body>nginx</body></html>",
        b'{"error":',
        b"[]",
        b'"no"',
        b'{"error":{"message":" "}}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
    ids=["empty", "html", "cut", "array", "string", "blank message", "no UTF-8", "deep"],
)
def test_a_status_says_enough_when_the_body_says_nothing(
    status: int, code: ErrorCode, retryable: bool, content: bytes
) -> None:
    error = refusal(status, {}, content)
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, None)
    if code != "protocol_error":
        assert str(error) == f"The provider answered with status {status}."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(body(message="No.", code=400), "No.", id="as of OpenRouter"),
        pytest.param(
            body(message="No.", type="invalid_request_error", param=None, code=None),
            "No.",
            id="as of OpenAI",
        ),
        pytest.param(b'{"error":"No."}', "No.", id="as of Ollama"),
        pytest.param(
            b'{"object":"error","message":"No.","type":"BadRequestError","code":400}',
            "No.",
            id="as of vLLM",
        ),
        pytest.param(b'{"message":"No."}', "No.", id="bare"),
        pytest.param(
            body(message=["No."]), "The provider answered with status 400.", id="a list of words"
        ),
        pytest.param(
            b'{"detail":"Not Found"}', "The provider answered with status 400.", id="as of FastAPI"
        ),
    ],
)
def test_the_words_are_the_providers_own_where_it_has_some(content: bytes, words: str) -> None:
    error = refusal(400, {}, content)
    assert (error.code, str(error)) == ("bad_request", words)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("authentication", "unauthorized"),
        ("permission_denied", "unauthorized"),
        ("payment_required", "payment_required"),
        ("context_length_exceeded", "bad_request"),
        ("max_tokens_exceeded", "bad_request"),
        ("token_limit_exceeded", "bad_request"),
        ("string_too_long", "bad_request"),
        ("invalid_request", "bad_request"),
        ("invalid_prompt", "bad_request"),
        ("payload_too_large", "bad_request"),
        ("unprocessable", "bad_request"),
        ("precondition_failed", "bad_request"),
        ("not_found", "model_not_found"),
        ("content_policy_violation", "content_filtered"),
        ("refusal", "content_filtered"),
        ("rate_limit_exceeded", "rate_limited"),
        ("provider_overloaded", "overloaded"),
        ("provider_unavailable", "overloaded"),
        ("server", "provider_error"),
        ("timeout", "provider_error"),
        ("unmapped", "provider_error"),
        ("a_name_of_next_year", "provider_error"),
    ],
)
def test_U12_openrouters_error_type_says_what_it_is_whatever_the_status(
    name: str, code: ErrorCode
) -> None:
    error = classify({"message": "x", "metadata": {"error_type": name}})
    assert error.code == code
    if name in BY_TYPE:
        assert classify({"code": 500, "metadata": {"error_type": name}}).code == code
    transient = name in ("rate_limit_exceeded", "provider_overloaded", "provider_unavailable")
    assert error.retryable == (transient or name in ("server", "timeout"))


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        pytest.param(400, {"code": "context_length_exceeded"}, "bad_request", id="in code"),
        pytest.param(404, {"code": "model_not_found"}, "model_not_found", id="V36 in code, 404"),
        pytest.param(401, {"code": "invalid_api_key"}, "unauthorized", id="V36 in code, 401"),
        pytest.param(429, {"type": "rate_limit_error"}, "rate_limited", id="in type"),
        pytest.param(500, {"type": "server_error"}, "provider_error", id="in type, 500"),
        pytest.param(400, {"code": "content_filter"}, "content_filtered", id="as of Azure"),
        pytest.param(
            404, {"type": "invalid_request_error"}, "model_not_found", id="the status knows more"
        ),
        pytest.param(
            401, {"type": "invalid_request_error"}, "unauthorized", id="the status knows more, 401"
        ),
        pytest.param(503, {"type": "api_error"}, "overloaded", id="the status knows more, 503"),
        pytest.param(
            400,
            {"message": "acme/x is not a valid model ID", "code": 400},
            "model_not_found",
            id="V36 OpenRouter's 400 to an unknown model",
        ),
        pytest.param(
            403,
            {"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "…"}},
            "content_filtered",
            id="V36 OpenRouter's moderation",
        ),
        pytest.param(
            403,
            {"code": 403, "metadata": {"patterns": ["ignore all"]}},
            "content_filtered",
            id="V36 OpenRouter's guardrail",
        ),
        pytest.param(
            403,
            {"code": 403, "metadata": {"limit_source": "openrouter_key_limit"}},
            "payment_required",
            id="V37 a budget that is spent, said with 403",
        ),
        pytest.param(400, {"type": ["x"], "code": {}}, "bad_request", id="names that are none"),
        pytest.param(400, {"metadata": "x"}, "bad_request", id="metadata that is none"),
    ],
)
def test_other_names_for_the_same(status: int, error: dict[str, Any], code: ErrorCode) -> None:
    assert refusal(status, {}, body(**error)).code == code


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (429, "rate_limited", "The provider answered with status 429."),
        ("429", "rate_limited", "The provider answered with status 429."),
        (None, "provider_error", "The provider reported an error without saying which."),
        ("abc", "provider_error", "The provider reported an error without saying which."),
        (True, "provider_error", "The provider reported an error without saying which."),
        (0, "provider_error", "The provider reported an error without saying which."),
        (-1, "provider_error", "The provider reported an error without saying which."),
        (1e3, "provider_error", "The provider reported an error without saying which."),
        pytest.param(
            10**4000,
            "provider_error",
            "The provider reported an error without saying which.",
            id="V17 10^4000",
        ),
    ],
)
def test_V18_in_a_stream_the_code_stands_for_the_status(
    told: object, code: ErrorCode, words: str
) -> None:
    error = classify({"code": told})
    assert (error.code, str(error)) == (code, words)


def test_V18_some_say_status_instead_of_code() -> None:
    assert classify({"code": "x", "status": 503}).code == "overloaded"


@pytest.mark.parametrize("error", [None, "", [], 5, True, ["x"], {"message": None}])
def test_V18_an_error_without_sense_is_still_one(error: object) -> None:
    assert classify(error).code == "provider_error"


def test_every_code_is_one_of_the_contract() -> None:
    assert {*BY_STATUS.values(), *BY_TYPE.values()} <= ERROR_CODES


# --- may it be tried again ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "header", "retryable", "retry_after"),
    [
        pytest.param("openrouter_in_flight_budget", "20", True, 20, id="V37 budget in flight"),
        pytest.param(
            "openrouter_in_flight_budget", None, True, None, id="V37 in flight, no time given"
        ),
        pytest.param("openrouter_key_limit", None, False, None, id="V37 the key's limit"),
        pytest.param("openrouter_key_limit", "20", False, 20, id="V37 the key's limit, a time"),
        pytest.param("openrouter_credits", None, False, None, id="V37 no credits"),
        pytest.param("openrouter_credits", "20", False, 20, id="V37 no credits, a time"),
        pytest.param(None, None, False, None, id="V37 neither"),
        pytest.param(None, "20", True, 20, id="V37 only a time"),
    ],
)
def test_402_is_an_empty_purse_or_a_budget_in_flight(
    source: str | None, header: str | None, retryable: bool, retry_after: float | None
) -> None:
    metadata = {"limit_source": source} if source else {}
    headers = {"retry-after": header} if header else {}
    error = refusal(402, headers, body(code=402, message="No.", metadata=metadata))
    assert (error.code, error.retryable, error.retry_after) == (
        "payment_required",
        retryable,
        retry_after,
    )


def test_V37_429_for_want_of_credit_is_not_tried_again() -> None:
    error = refusal(429, {}, body(code="insufficient_quota", message="Check your plan."))
    assert (error.code, error.retryable) == ("payment_required", False)


@pytest.mark.parametrize("told", [True, False])
def test_availability_knows_best(told: bool) -> None:
    for status in (400, 402, 429, 503):
        availability = {"retryable": told, "retry_after": 12, "fallback_models": []}
        error = refusal(status, {}, body(code=status, availability=availability))
        assert (error.retryable, error.retry_after) == (told, 12)


@pytest.mark.parametrize(
    ("availability", "header", "retry_after"),
    [
        ({"retry_after": 3}, None, 3),
        ({"retry_after": 0.25}, None, 0.25),
        ({"retry_after": "3"}, None, 3),
        ({"retry_after": 3}, "7", 7),
        ({"retry_after": 3}, "soon", 3),
        ({"retry_after": None}, None, None),
        ({"retry_after": True}, None, None),
        ({"retry_after": -3}, None, None),
        ({"retry_after": [3]}, None, None),
        ({"retry_after": 10**400}, None, None),
        ({"retryable": "yes"}, None, None),
        ("soon", None, None),
        (None, None, None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_availability_may_hold_the_time_to_wait(
    availability: object, header: str | None, retry_after: float | None
) -> None:
    headers = {"retry-after": header} if header else {}
    error = refusal(429, headers, body(code=429, availability=availability))
    assert (error.code, error.retryable, error.retry_after) == ("rate_limited", True, retry_after)


# --- how long ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("0", 0.0, id="V38 zero"),
        pytest.param("7", 7.0, id="V38 seconds"),
        pytest.param(" 7 ", 7.0, id="V38 with spaces"),
        pytest.param("0.5", 0.5, id="V38 half a second"),
        pytest.param("1000000000", 3600.0, id="V38 10^9"),
        pytest.param("9" * 400, 3600.0, id="V38 400 digits"),
        pytest.param("1e999", 3600.0, id="V38 1e999"),
        pytest.param("inf", 3600.0, id="V38 inf"),
        pytest.param("-5", None, id="V38 negative"),
        pytest.param("-inf", None, id="V38 -inf"),
        pytest.param("nan", None, id="V38 nan"),
        pytest.param("", None, id="V38 empty"),
        pytest.param("soon", None, id="V38 garbage"),
        pytest.param("7, 7", None, id="V38 twice"),
        pytest.param("\0", None, id="V38 NUL"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, id="V38 a date long ago"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 -0000", 0.0, id="V38 a date without a zone"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0, id="V38 the last of dates"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -2300", 3600.0, id="V38 and later"),
        pytest.param("Wed, 21 Oct 2015 07:28:99 GMT", None, id="V38 99 seconds"),
        pytest.param("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None, id="V38 no year"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 +99999999999999", None, id="V38 no zone"),
        pytest.param("Wed, 21 Oct 2015", None, id="V38 a day"),
        pytest.param("2015-10-21T07:28:00Z", None, id="V38 another kind of date"),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_unknown(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value) == seconds
    assert refusal(429, {"retry-after": value}, b"").retry_after == seconds


def test_V38_a_date_to_come_is_so_many_seconds_away() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    seconds = retry_after_seconds(date)
    assert seconds is not None
    assert 80 < seconds <= 90


@pytest.mark.parametrize("value", [None, True, [], {}, b"7", 10**400, float("nan")])
def test_V38_what_is_no_text_and_no_number_is_no_time(value: object) -> None:
    assert retry_after_seconds(value) is None
