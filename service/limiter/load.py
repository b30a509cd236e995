"""What runs at one provider, and what each request that runs there teaches of how many may.

    Load.begin() ──► Run ── begun ── whole ──► left
                      └──── refused ─────────► left

Each is heard of in a step. What is made of it: `ceiling.py` (how many), `latency.py` (later than
usual), `refusals.py` (a refusal that is no news of how many, and a place's rest between two
requests).
"""

from __future__ import annotations

import math
from collections import deque

import structlog

from service.limiter.ceiling import Ceiling
from service.limiter.latency import Latency
from service.limiter.refusals import Refused, Rest

__all__ = ["Load", "Run"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Run:
    """One request, from the moment at which it was given its place."""

    __slots__ = (
        "asked_at",
        "at_once",
        "heard",
        "late",
        "model",
        "refused",
        "since_freed",
        "window",
    )

    def __init__(
        self, model: str, window: int, asked_at: float, at_once: int, since_freed: float
    ) -> None:
        self.model = model
        self.window = window
        self.asked_at = asked_at
        self.at_once = at_once
        """How many ran then, itself among them."""
        self.since_freed = since_freed
        """Seconds since the last place had been given back."""
        self.heard = False
        """Whether the provider has said anything; `refused`: whether it said no."""
        self.refused = False
        self.late = False
        """Whether it began to be answered later than usual."""


class Load:
    """The requests at one provider, of which there may be `most`; `now` is the clock's time."""

    def __init__(self, most: int, name: str = "") -> None:
        self._name = name
        self._ceiling = Ceiling(most)
        self._latency = Latency()
        self._refused = Refused()
        self._rest = Rest()
        self.running = 0
        self.unanswered = 0
        """Of those that run, how many have heard nothing yet."""
        self._answered: set[Run] = set()
        self._resting: deque[float] = deque()
        """When each place that rests may be given again."""
        self._freed_at = -math.inf

    @property
    def limit(self) -> int:
        """How many may run at once now."""
        return self._ceiling.limit

    def allow(self, most: int) -> None:
        """There may be another number of them; those that run are let be."""
        before = self.limit
        self._ceiling.allow(most)
        if self.limit != before:
            self._log("the settings were read again")

    def has_room(self, now: float) -> bool:
        """Whether one more may run."""
        return self._in_use(now) < self.limit

    def room_at(self, now: float) -> float:
        """When one more may run if nobody leaves; infinity: then none may."""
        if self.running >= self.limit:
            return math.inf
        return now if self.has_room(now) else self._resting[self._in_use(now) - self.limit]

    def begin(self, model: str, now: float) -> Run:
        """One more runs."""
        self.running += 1
        self.unanswered += 1
        since_freed = now - self._freed_at
        return Run(model, self._ceiling.window, now, self.running, since_freed)

    def heard(self, run: Run) -> None:
        """The provider has said something to it."""
        if not run.heard:
            run.heard = True
            self.unanswered -= 1

    def begun(self, run: Run, now: float) -> None:
        """The provider has begun to answer it."""
        if run.heard:
            return
        self.heard(run)
        self._answered.add(run)
        self._refused.answered(run.model)
        if self._ceiling.taken(len(self._answered)):
            self._log("as many are answered")
        run.late = self._latency.note(run.model, now - run.asked_at)
        if self._latency.has_grown() and self._ceiling.late(self.running, run.window):
            self._log("later than usual")

    def refuse(self, run: Run, now: float) -> bool:
        """The provider takes no more; whether that is about all of its models, as far as known."""
        self.heard(run)
        self._answered.discard(run)  # it was, if so, up to here
        if self._refused.again(run.model):
            return False
        at_once = max(run.at_once, self.running)
        if (
            run.window == self._ceiling.window
            and at_once <= self._ceiling.ran_well
            and self._rest.is_too_short(run.since_freed, now)
        ):
            self._ceiling.explained()
            self._log("refused, a place was not free yet")
        elif self._ceiling.refused(
            at_once,
            run.window,
            now,
            answered=len(self._answered),
            unanswered=self.unanswered,
            together=sum(other.window == run.window for other in self._answered),
        ):
            self._log("refused")
        return True

    def whole(self, run: Run, now: float) -> None:
        """Its answer came whole."""
        if run.late:
            return  # how many it takes well is not learned from those it kept waiting
        if self._ceiling.whole(self._in_use(now), now):
            self._log("taken well")

    def leave(self, run: Run, now: float) -> None:
        """It runs no more, for whatever reason."""
        self.heard(run)
        self.running -= 1
        self._answered.discard(run)
        if run.refused:
            return  # it never was in the provider's own count
        self._freed_at = now
        if rest := self._rest.seconds(now):
            self._resting.append(now + rest)

    def _in_use(self, now: float) -> int:
        while self._resting and self._resting[0] <= now:
            self._resting.popleft()
        return self.running + len(self._resting)

    def _log(self, why: str) -> None:
        log.info(
            "provider limit", provider=self._name, limit=self.limit, running=self.running, why=why
        )
