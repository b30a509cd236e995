"""What an answer costs, from what its provider asks for a token.

Providers print prices as decimal strings, some as small as 0.00000015 dollars, so they stay
`Decimal` until the last step. The figure is the list price of plain text: what a provider adds for
images, tools and very long questions, or takes off for what it had cached, is not in it. Where a
provider reports what it charged, that is told instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from service.events import Usage

__all__ = ["FREE", "Price", "cost_of"]

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider asks, in US dollars."""

    input: Decimal
    """For a token of the question."""
    output: Decimal
    """For a token of the answer, its reasoning among them."""
    request: Decimal = ZERO
    """For the request itself."""
    reasoning: Decimal | None = None
    """For a token of the reasoning, where that is not what one of the answer costs."""


FREE = Price(input=ZERO, output=ZERO)


def cost_of(usage: Usage | None, price: Price | None) -> float | None:
    """US dollars for so many tokens; None when the price, or what was used, is not known.

    The float nearest to the exact sum, so that 0.1 + 0.2 is written as 0.3.
    """
    if usage is None or price is None:
        return None
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    dear = price.output if price.reasoning is None else price.reasoning
    return float(
        price.request
        + price.input * usage.input_tokens
        + price.output * (usage.output_tokens - reasoning)
        + dear * reasoning
    )
