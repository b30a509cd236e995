"""What a comparison costs while it runs, and the end of it where that is more than it may.

The estimate is of what has been spent and what is bound to be: the question itself for each request
that is at work or will be made, what has been heard of each answer, handed on or not, what requests
took that came to nothing, and for a model that has ended what it came to. A price is taken to be so
much for a question and so much for a token of the answer, as providers have it. What a model thinks
unheard is not seen before its end.

Looked at with everything that a model says, so that no more is spent than what was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from service.account import Account
from service.events import Done, Usage
from service.pricing import Price, cost_of, dearest

__all__ = ["Spending"]

MANY = 1_000_000
"""Tokens by which the price of one is found: prices are told for as many."""


class Spending:
    """What one comparison has spent, of what it may; `stop` is called when that is crossed.

    `asked` has for each model the tokens of its question, and what those ask who may answer it.
    """

    def __init__(
        self,
        most: float,
        asked: Mapping[str, tuple[int, Sequence[Price | None]]],
        stop: Callable[[], object],
    ) -> None:
        self._most = most
        self._stop = stop
        self._question: dict[str, float] = {}
        self._each: dict[str, float] = {}
        for name, (input_tokens, prices) in asked.items():
            # Who steps in for a model may be the dearer one.
            price = dearest([price for price in prices if price is not None])
            question = cost_of(_usage(input_tokens, 0), price) or 0.0
            answered = cost_of(_usage(input_tokens, MANY), price) or 0.0
            self._question[name] = question
            self._each[name] = (answered - question) / MANY
        self._spent = dict(self._question)
        self._check()

    @property
    def total(self) -> float:
        """The estimate so far, in US dollars."""
        return sum(self._spent.values())

    def look(self, account: Account) -> None:
        """More has been spent on this model."""
        name = account.name
        heard = account.tokens + account.held_tokens
        self._spent[name] = (
            account.lost_usd
            + self._question[name] * max(1, account.at_work)  # none: the next is about to be made
            + self._each[name] * heard
        )
        self._check()

    def ended(self, done: Done) -> None:
        """A model has ended: what the provider said that it cost, or what its tokens do."""
        self._spent[done.model] = done.cost_usd or 0.0
        self._check()

    def _check(self) -> None:
        if self.total > self._most:
            self._stop()


def _usage(input_tokens: int, output_tokens: int) -> Usage:
    return Usage(
        input_tokens=input_tokens, output_tokens=output_tokens, reasoning_tokens=0, estimated=True
    )
