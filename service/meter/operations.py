"""What the answers of one model were like, by OpenTelemetry's conventions for GenAI clients.

The bounds of the histograms are theirs, too, so that boards made for others fit; and more at the
end, where theirs are below our clocks.
"""

from __future__ import annotations

from collections import defaultdict

from service.account import Account
from service.events import Done
from service.histogram import Histogram

__all__ = ["OTHER", "ModelNames", "Operations"]

SECONDS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    # Ours: an answer may take 300 s.
    *(163.84, 327.68),
)
FIRST_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    # Ours: a first token may take 30 s.
    *(15.0, 30.0, 60.0),
)
TOKENS = tuple(float(4**power) for power in range(14))

MOST_NAMES = 100
"""Models with a name of their own: ten times as many as one comparison has, and 72 series each."""
OTHER = "_other"
"""Stands for all others."""


class ModelNames:
    """Which models are told apart, whatever callers ask for: those that have answered.

    A name that somebody made up is answered by nobody, and so takes no place.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    def of(self, provider: str, model: str, *, answered: bool) -> str:
        """The name under which this answer is counted."""
        key = (provider, model)
        if key in self._known:
            return model
        if not answered or len(self._known) >= MOST_NAMES:
            return OTHER
        self._known.add(key)
        return model


class Operations:
    """The ended answers of one model.

    Times are without the wait in our own line for the provider, which is counted apart.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        """By the error that they ended with, if they did."""
        self.first_chunk = Histogram(FIRST_SECONDS)
        self.per_chunk = Histogram(Account.PACE_SECONDS)
        self.input_tokens = Histogram(TOKENS)
        self.output_tokens = Histogram(TOKENS)

    def count(self, account: Account, done: Done) -> None:
        """Count one more."""
        self.seconds[done.code or ""].observe(done.timings.asked_seconds)
        if (first := done.timings.first_token_seconds) is not None:
            self.first_chunk.observe(first)
        self.per_chunk.add(account.pace)
        # What a provider has not reported must not be: the conventions rule estimates out here.
        if done.usage is not None and not done.usage.estimated:
            self.input_tokens.observe(done.usage.input_tokens)
            self.output_tokens.observe(done.usage.output_tokens)
