"""What a provider's headers say of the requests that it will still take.

Four spellings with one meaning, as the providers document them, and how each tells the time:

    x-ratelimit-remaining-requests, -reset-requests   OpenAI, Groq: "1m30s", "12ms"
    x-ratelimit-remaining, -reset                     OpenRouter: milliseconds since 1970
    anthropic-ratelimit-requests-remaining, -reset    Anthropic: RFC 3339
    ratelimit-remaining, -reset                       the IETF's draft: seconds

Some send seconds since 1970. What makes no sense is passed over.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["Rate", "rate_of"]

SPELLINGS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
)
EPOCH_SECONDS = 1e9
EPOCH_MILLISECONDS = 1e12
"""From here on a number is a date (2001) and no duration (32 years)."""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests more a provider takes, and for how long that holds."""

    remaining: int
    resets_in: float
    """Seconds."""


def rate_of(headers: Mapping[str, str]) -> Rate | None:
    """The tightest of the limits that a response's headers tell; None if they tell none.

    Of tokens only their end counts: how many a request takes is not known beforehand.
    """
    tightest: Rate | None = None
    for remaining_name, reset_name in SPELLINGS:
        told = headers.get(remaining_name)
        if told is None:
            continue
        remaining = _count(told)
        resets_in = _seconds(headers.get(reset_name, ""))
        if remaining is None or resets_in is None or ("token" in remaining_name and remaining):
            continue
        rate = Rate(remaining, resets_in)
        if tightest is None or (rate.remaining, -rate.resets_in) < (
            tightest.remaining,
            -tightest.resets_in,
        ):
            tightest = rate
    return tightest


def _count(text: str) -> int | None:
    with suppress(ValueError, OverflowError):
        return max(0, int(float(text)))
    return None


def _seconds(text: str) -> float | None:
    """Seconds from now, never negative."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))
    number = math.nan
    with suppress(ValueError):
        number = float(text)
    if math.isnan(number):
        return _seconds_until(text)
    if number >= EPOCH_MILLISECONDS:
        return max(0.0, number / 1000 - time.time())
    if number >= EPOCH_SECONDS:
        return max(0.0, number - time.time())
    return max(0.0, number)


def _seconds_until(text: str) -> float | None:
    with suppress(ValueError, OverflowError):
        date = datetime.fromisoformat(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    return None
