"""What a provider's refusal means: from its status, its error object and its headers to our codes.

The names of `error_type` are those of OpenRouter's documentation ("Errors"); OpenAI and the
servers that imitate it say the same things in `type` or `code`. Those that end in `_error` are
Anthropic's ("Errors" in the documentation of its API), some of them OpenAI's too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from service.errors import ProviderError
from service.events import ErrorCode
from service.providers.loose_json import loads

__all__ = ["classify", "mapping", "not_whole", "refusal", "retry_after_seconds"]

LONGEST_RETRY_AFTER = 3600.0
"""Seconds; a provider that asks for more is not waited for anyway."""

BY_STATUS: dict[int, ErrorCode] = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    403: "unauthorized",
    404: "model_not_found",
    413: "bad_request",
    422: "bad_request",
    429: "rate_limited",
    503: "overloaded",
    529: "overloaded",
}
BY_TYPE: dict[str, ErrorCode] = {
    "api_error": "provider_error",
    "authentication": "unauthorized",
    "authentication_error": "unauthorized",
    "billing_error": "payment_required",
    "content_filter": "content_filtered",
    "content_policy_violation": "content_filtered",
    "context_length_exceeded": "bad_request",
    "insufficient_quota": "payment_required",
    "invalid_api_key": "unauthorized",
    "invalid_prompt": "bad_request",
    "invalid_request": "bad_request",
    "invalid_request_error": "bad_request",
    "max_tokens_exceeded": "bad_request",
    "model_not_found": "model_not_found",
    "not_found": "model_not_found",
    "not_found_error": "model_not_found",
    "overloaded_error": "overloaded",
    "payload_too_large": "bad_request",
    "payment_required": "payment_required",
    "permission_denied": "unauthorized",
    "permission_error": "unauthorized",
    "precondition_failed": "bad_request",
    "provider_overloaded": "overloaded",
    "provider_unavailable": "overloaded",
    "rate_limit_error": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "refusal": "content_filtered",
    "request_too_large": "bad_request",
    "server": "provider_error",
    "server_error": "provider_error",
    "string_too_long": "bad_request",
    "timeout": "provider_error",
    "timeout_error": "provider_error",
    "token_limit_exceeded": "bad_request",
    "unmapped": "provider_error",
    "unprocessable": "bad_request",
}
SAYS_LITTLE = frozenset(
    {"api_error", "invalid_request_error", "server", "server_error", "unmapped"}
)
"""OpenAI's word for every 4xx, and everybody's for every 5xx: the status knows more."""
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 529})
RETRYABLE_TYPES = frozenset({"api_error", "server", "server_error", "timeout", "timeout_error"})
"""Where there is no status: in the middle of a stream."""
MODERATION = frozenset({"reasons", "flagged_input", "patterns"})
"""What OpenRouter's `metadata` holds when a filter stopped the question; it says 403 then."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """What an HTTP response other than 200 means; its body may be JSON, HTML or nothing."""
    retry_after = retry_after_seconds(headers.get("retry-after"))
    if 300 <= status < 400:
        return ProviderError(
            "protocol_error", "The provider redirects; the service does not follow."
        )
    answer = mapping(loads(body))
    return classify(answer.get("error") or answer, status=status, retry_after=retry_after)


def not_whole(*, heard: bool) -> ProviderError:
    """What an answer is that ended though nobody said that it was done."""
    if not heard:
        return ProviderError("empty_response", "The provider sent an empty answer.")
    return ProviderError(
        "truncated",
        "The answer broke off: the provider closed it without saying that it was done.",
        retryable=True,
    )


def classify(
    error: object, *, status: int | None = None, retry_after: float | None = None
) -> ProviderError:
    """What an error object means: the value of `error`, in a body or in the middle of a stream."""
    details = mapping(error)
    metadata = mapping(details.get("metadata"))
    availability = mapping(details.get("availability"))
    if status is None:
        status = _status_of(details)
    message = error if isinstance(error, str) else details.get("message")
    words = message if isinstance(message, str) and message.strip() else _by_default(status)
    types = [
        name
        for name in (metadata.get("error_type"), details.get("code"), details.get("type"))
        if isinstance(name, str)
    ]
    code = _code_of(status, metadata, types, words)
    if retry_after is None:
        retry_after = retry_after_seconds(availability.get("retry_after"))
    retryable = availability.get("retryable")
    if not isinstance(retryable, bool):
        if code == "payment_required":
            retryable = _is_in_flight(metadata, retry_after)
        else:
            retryable = status in RETRYABLE_STATUSES or code in ("rate_limited", "overloaded")
            retryable = retryable or not RETRYABLE_TYPES.isdisjoint(types)
    # OpenRouter names whose refusal it passes on; its own comes without a name.
    of_model = isinstance(metadata.get("provider_name"), str)
    return ProviderError(
        code, words, retryable=retryable, retry_after=retry_after, of_model=of_model
    )


def retry_after_seconds(value: object) -> float | None:
    """The seconds of a `Retry-After` (RFC 9110, 10.2.3: seconds or a date); None for nonsense."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        seconds = _seconds_until(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    return min(seconds, LONGEST_RETRY_AFTER) if seconds >= 0 else None  # NaN is neither


def _seconds_until(value: str) -> float:
    with suppress(ValueError):
        return float(value)
    date = parsedate_to_datetime(value)
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _status_of(details: Mapping[str, Any]) -> int | None:
    for key in ("code", "status"):
        value = details.get(key)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 100 <= value <= 599:
            return value
    return None


def _is_in_flight(metadata: Mapping[str, Any], retry_after: float | None) -> bool:
    """Whether the budget is taken by requests that still run, not an empty purse.

    OpenRouter names it; without the name, only who waits for it is given a time to wait.
    """
    source = metadata.get("limit_source")
    if isinstance(source, str):
        return source == "openrouter_in_flight_budget"
    return retry_after is not None


def _code_of(
    status: int | None, metadata: Mapping[str, Any], types: Sequence[str], words: str
) -> ErrorCode:
    # From the most exact to the vaguest. OpenRouter says 400 to an unknown model, and Anthropic to
    # an account without credit, in these words.
    if "not a valid model" in words.lower():
        return "model_not_found"
    if "credit balance is too low" in words.lower():
        return "payment_required"
    if "limit_source" in metadata and status in (402, 403):
        return "payment_required"
    if status == 403 and not MODERATION.isdisjoint(metadata):
        return "content_filtered"
    for name in types:
        if name in BY_TYPE:
            if name in SAYS_LITTLE and status in BY_STATUS:
                break
            return BY_TYPE[name]
    return BY_STATUS.get(status, "provider_error") if status is not None else "provider_error"


def _by_default(status: int | None) -> str:
    if status is None:
        return "The provider reported an error without saying which."
    return f"The provider answered with status {status}."
