"""The fields of a model's entry, read without trust: what is not as expected is left out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from service.pricing import Price

__all__ = ["price", "text", "whole", "words"]

MOST_WORDS = 64
"""Modalities or parameters of one model; there are some twenty."""
MOST_TOKENS = 2**53 - 1
"""A larger figure is nonsense, and JavaScript would not read it exactly."""
DEAREST = Decimal(1)
"""Dollars for a token, a thousand times what the dearest model takes; above it is nonsense."""


def price(pricing: Mapping[str, Any]) -> Price | None:
    """Prices as decimal strings, dollars for one of a kind; None: not known, or they vary."""
    question, answer = _dollars(pricing.get("prompt")), _dollars(pricing.get("completion"))
    if question is None or answer is None:
        return None
    # Zero stands there for "not priced apart", and then it is answered text like any other.
    reasoning = _dollars(pricing.get("internal_reasoning")) or None
    request = _dollars(pricing.get("request")) or Decimal(0)
    return Price(input=question, output=answer, request=request, reasoning=reasoning)


def _dollars(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        return None
    return dollars if dollars.is_finite() and 0 <= dollars <= DEAREST else None


def text(value: object, limit: int) -> str:
    """One printable line; empty when it is none."""
    if not isinstance(value, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in value[: 2 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def whole(value: object) -> int | None:
    """A number of tokens."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MOST_TOKENS else None


def words(value: object) -> tuple[str, ...] | None:
    """A list of words without what is none; None when it is no list."""
    if not isinstance(value, list):
        return None
    return tuple(word for word in value[:MOST_WORDS] if isinstance(word, str) and word)
