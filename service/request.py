"""One request to a provider: when it left and was answered, and what it has taken.

A model's answer may take several, one after another or two at once. Each is counted once: as its
provider says, or else as an estimate of what was sent and what was heard.
"""

from __future__ import annotations

import trio

from service.events import Usage
from service.pricing import FREE, Price, cost_of
from service.providers import Prompt

__all__ = ["Request", "added", "milliseconds", "question_costs", "tokens"]

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English; used only where a provider does not report."""


class Request:
    """What is known of one request; times are in milliseconds since `began`, by Trio's clock.

    `price` is what the provider asks, for when it does not report what it charged.
    """

    def __init__(
        self, prompt: Prompt, price: Price | None, began: float, provider: str = ""
    ) -> None:
        self.provider = provider
        self.connect_ms: float | None = None
        self.first_byte_ms: float | None = None
        self.usage: Usage | None = None
        self.cost_usd: float | None = None
        self.reported = True
        """Whether nothing of the cost is an estimate."""
        self.is_settled = False
        """Whether it is known what it took; what is said of it after that changes nothing."""
        self.is_refused = False
        self._held = [0, 0]
        self._so_far: tuple[Usage | None, float | None] = (None, None)
        self._input_tokens = tokens(sum(len(message.content) for message in prompt.messages))
        self._price = price
        self._began = began

    @property
    def has_left(self) -> bool:
        """Whether it began to leave: whether the provider may have seen it."""
        return self.connect_ms is not None

    def connected(self) -> None:
        """It began to leave."""
        if self.connect_ms is None:
            self.connect_ms = self._elapsed_ms()

    def first_byte(self) -> None:
        """The response's headers are there."""
        if self.first_byte_ms is None:
            self.first_byte_ms = self._elapsed_ms()

    def refused(self) -> None:
        """The provider has said no, and charges nothing for it."""
        self.is_refused = True

    def tells(self, usage: Usage | None, cost_usd: float | None) -> None:
        """The provider had reported this when it was cut short."""
        self._so_far = usage, cost_usd

    def holds(self, characters: int, reasoning_characters: int) -> None:
        """So many were heard, of the answer and of its thinking, and are not handed on yet."""
        self._held[0] += characters
        self._held[1] += reasoning_characters

    def lets_go(self) -> None:
        """What was held is handed on now, and counted there."""
        self._held = [0, 0]

    @property
    def took_something(self) -> bool:
        """Whether it is part of a sum; one that never left is none."""
        return self.usage is not None or self.cost_usd is not None

    def estimated(self, characters: int = 0, reasoning_characters: int = 0) -> Usage | None:
        """What it has taken if so much was handed on, besides what is held.

        As far as the provider has not reported it. None: it never left, or was refused.
        """
        if not self.has_left or self.is_refused:
            return None
        reported, _ = self._so_far
        if reported is not None:
            return reported
        return self._estimate(characters, reasoning_characters)

    def _estimate(self, characters: int, reasoning_characters: int) -> Usage:
        answer, reasoning = self._held
        thought = tokens(reasoning_characters + reasoning)
        return Usage(
            input_tokens=self._input_tokens,
            output_tokens=tokens(characters + answer) + thought,
            reasoning_tokens=thought,
            estimated=True,
        )

    def costs_so_far(self, characters: int, reasoning_characters: int) -> float:
        """US dollars if so much was handed on; its question counts from the moment it is made."""
        if self.is_settled or self.is_refused:
            return self.cost_usd or 0.0
        usage = self._estimate(characters, reasoning_characters)
        return cost_of(usage, self._price) or 0.0

    def settle(self, usage: Usage | None, cost_usd: float | None = None) -> None:
        """This is what it took, unless that is known already."""
        if self.is_settled:
            return
        self.is_settled = True
        if cost_usd is None:
            cost_usd = self._so_far[1]
        self.reported = cost_usd is not None or self._price == FREE  # nothing can't be estimated
        if cost_usd is None:
            free = self.is_refused and self._price is not None
            cost_usd = 0.0 if free else cost_of(usage, self._price)
        self.usage, self.cost_usd = usage, cost_usd

    def _elapsed_ms(self) -> float:
        return milliseconds(trio.current_time() - self._began)


def question_costs(prompt: Prompt, price: Price | None) -> float:
    """US dollars for the question alone, by estimate; 0 where no price is known."""
    return Request(prompt, price, 0).costs_so_far(0, 0)


def added(one: Usage, other: Usage) -> Usage:
    """The sum; estimated if any of it is."""
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        estimated=one.estimated or other.estimated,
    )


def milliseconds(seconds: float) -> float:
    """Seconds as the wire shows them."""
    return round(seconds * 1000, 1)


def tokens(characters: int) -> int:
    """Estimated tokens of so much text."""
    return -(-characters // CHARACTERS_PER_TOKEN)
