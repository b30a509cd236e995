"""What providers' headers say of the requests that they still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from service.providers.rates import Rate, rate_of
from tests.calling import DONE, HEAD, LAST, STOP, ask_wire, chunk, chunked, response


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param(
            {"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1m30.5s"},
            Rate(59, 90.5),
            id="OpenAI",
        ),
        pytest.param(
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12ms"},
            Rate(0, 0.012),
            id="milliseconds",
        ),
        pytest.param(
            {"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "6s"},
            None,
            id="tokens: nobody knows how many a request takes",
        ),
        pytest.param(
            {
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6s",
            },
            Rate(0, 6),
            id="the tightest counts",
        ),
        pytest.param(
            {"ratelimit-remaining": "3", "ratelimit-reset": "50"}, Rate(3, 50), id="the draft"
        ),
        pytest.param(
            {"x-ratelimit-remaining": "3", "x-ratelimit-reset": "0"}, Rate(3, 0), id="now"
        ),
        pytest.param({"x-ratelimit-remaining": "3"}, None, id="until when?"),
        pytest.param(
            {"x-ratelimit-remaining": "-3", "x-ratelimit-reset": "-5"}, Rate(0, 0), id="negative"
        ),
        *(
            pytest.param(
                {"x-ratelimit-remaining": count, "x-ratelimit-reset": reset}, None, id="nonsense"
            )
            for count, reset in [("x", "5"), ("5", "x"), ("", ""), ("inf", "5"), ("nan", "1")]
        ),
    ],
)
def test_each_spelling_means_the_same(headers: dict[str, str], rate: Rate | None) -> None:
    assert rate_of(headers) == rate


@pytest.mark.parametrize(
    "told",
    [
        lambda: f"{time.time() + 3600:.0f}",
        lambda: f"{(time.time() + 3600) * 1000:.0f}",
        lambda: (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        lambda: (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ],
    ids=["epoch", "epoch in milliseconds", "RFC 3339", "RFC 3339 with Z"],
)
def test_a_date_is_as_far_as_it_is_from_now(told: Callable[[], str]) -> None:
    rate = rate_of(
        {
            "anthropic-ratelimit-requests-remaining": "5",
            "anthropic-ratelimit-requests-reset": told(),
        }
    )
    assert rate is not None
    assert 3500 < rate.resets_in < 3601


async def test_the_headers_of_an_answer_are_told() -> None:
    head = HEAD.replace(
        b"\r\n\r\n", b"\r\nX-RateLimit-Remaining: 4\r\nX-RateLimit-Reset: 9\r\n\r\n"
    )
    heard = await ask_wire(head, chunked(chunk("x"), STOP, DONE), LAST, kept=True)
    assert heard.rates == [Rate(4, 9)]


async def test_those_of_a_refusal_too() -> None:
    told = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "9"}
    heard = await ask_wire(response(b"{}", status="429 Too Many Requests", **told), kept=True)
    assert heard.code == "rate_limited"
    assert heard.rates == [Rate(0, 9)]
