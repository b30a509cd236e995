"""What a comparison costs while it runs, and the end of it where that is more than it may.

The estimate is of what has been spent: for each request the question itself, from the moment at
which it is made, and what has been heard of its answer, handed on or not; what requests took that
came to nothing; and for a model that has ended what it came to. A model that nobody has asked yet
counts with its question, for it will be. What a model thinks unheard is not seen before its end.

Looked at with everything that a model says, so that no more is spent than what was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.account import Account
from service.events import Done

__all__ = ["Spending"]


class Spending:
    """What one comparison has spent, of what it may; `stop` is called when that is crossed.

    `questions` has for each model what its question costs by itself.
    """

    def __init__(
        self,
        most: float,
        questions: Mapping[str, float],
        stop: Callable[[], object],
    ) -> None:
        self._most = most
        self._stop = stop
        self._spent = dict(questions)
        self._check()

    @property
    def total(self) -> float:
        """The estimate so far, in US dollars."""
        return sum(self._spent.values())

    def look(self, account: Account) -> None:
        """More has been spent on this model."""
        self._spent[account.name] = account.spent_usd
        self._check()

    def ended(self, done: Done) -> None:
        """A model has ended: what the provider said that it cost, or what its tokens do."""
        self._spent[done.model] = done.cost_usd or 0.0
        self._check()

    def _check(self) -> None:
        if self.total > self._most:
            self._stop()
