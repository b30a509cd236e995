"""How far a model is: what it has written, of what it usually needs.

Nobody is woken to tell of progress: it rides along with what is handed on anyway, when at least
`PROGRESS_SECONDS` have gone by since it was told last. So a model that is silent shows none.

Tokens are estimated from characters until the provider reports, which it does at the end. They are
measured against what the model needed for its last whole answers, counted in the same way, so that
a language in which four characters are no token shifts nothing. What is not known yet, or would be
more than `max_tokens`, is `max_tokens`.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from statistics import median_low

from service.account import Account
from service.events import Progress

__all__ = ["Experience", "Gauge"]

PROGRESS_SECONDS = 0.25
"""Four times a second moves a bar smoothly enough, and is no load beside the text."""
MOST_MODELS = 1000
"""Model ids come from callers; past this many, the one not asked for the longest is forgotten."""
REMEMBERED = 9
"""Answers of a model: enough for one of unusual length to be outvoted, and for habits to change."""
FEWEST = 3
"""Answers by which "usually" begins to mean something."""
NEARLY = 0.99
"""Whole is only an answer that is done."""


class Experience:
    """How long each model's last whole answers were, in estimated tokens."""

    def __init__(self) -> None:
        self._lengths: OrderedDict[str, deque[int]] = OrderedDict()

    def record(self, model: str, tokens: int) -> None:
        """An answer of this model was whole."""
        if not tokens:
            return
        lengths = self._lengths.setdefault(model, deque(maxlen=REMEMBERED))
        self._lengths.move_to_end(model)
        lengths.append(tokens)
        if len(self._lengths) > MOST_MODELS:
            self._lengths.popitem(last=False)

    def usual(self, model: str) -> int | None:
        """What it usually needs; None: not known."""
        lengths = self._lengths.get(model, ())
        return median_low(lengths) if len(lengths) >= FEWEST else None


class Gauge:
    """One model's progress; asked with what it says, and answers when it is time.

    `expected` is asked once, when there is something to tell. `on_words` is told every time
    that something is said; without it, nobody is asked between two events.
    """

    def __init__(
        self,
        account: Account,
        expected: Callable[[], int],
        on_words: Callable[[], object] | None = None,
    ) -> None:
        self._account = account
        self._expected = expected
        self._on_words = on_words
        self._due = -math.inf
        self._whole = 0

    def look(self, now: float) -> tuple[float, tuple[Progress, ...]]:
        """What to tell at this moment, if anything; and when to ask again, at the earliest."""
        tokens = self._account.tokens
        if self._on_words is not None:
            self._on_words()
        told: tuple[Progress, ...] = ()
        if now >= self._due:
            if self._due > -math.inf:  # not with the first words: they are news enough
                told = (self._progress(tokens),)
            self._due = now + PROGRESS_SECONDS
        return (self._due if self._on_words is None else -math.inf), told

    def _progress(self, tokens: int) -> Progress:
        if not self._whole:
            self._whole = self._expected()
        fraction = round(min(tokens / self._whole, NEARLY), 3)
        return Progress(model=self._account.name, fraction=fraction, tokens=tokens)
