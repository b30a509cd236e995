"""Hedging: when a model is slow to begin, a second request runs beside the first.

    the model's task ─ Race.run()
                        └─ nursery
                            ├─ the first candidate, then who steps in for it
                            ├─ the second, from `hedge_after` on
                            └─ the hedge: waits for that moment

What is raced for is the first text of the answer itself. White space alone is none, and neither is
reasoning: what a model thinks is held back here until its answer has begun, for nothing of the one
that loses may reach the client. An error does not win, nor does a stream that ends without text;
such a candidate is asked again or replaced as ever, and is out when nobody is left to step in.

With the first text the others are cancelled in the same step; their connections are closed when
they next run, which is before anything else of the winner's can be read. What they took is counted,
as an estimate unless they said.

The model's own clocks of silence stand still until there is a winner: each request here has its
own, kept by the same vigil. What one of the two is in itself: `contender.py`.
"""

from __future__ import annotations

from collections import deque

import trio

from service.attempts import Attempts
from service.contender import Contender
from service.entrants import Candidate
from service.errors import ProviderError
from service.fanin import Outbox
from service.outlet import Outlet
from service.providers import Ending

__all__ = ["Race"]


class Race:
    """One model's candidates, two at a time at most."""

    def __init__(
        self, attempts: Attempts, outlet: Outlet, outbox: Outbox, hedge_after: float
    ) -> None:
        self._attempts = attempts
        self._outlet = outlet
        self._outbox = outbox
        self._hedge_after = hedge_after
        self._left = deque(attempts.candidates)
        self._contenders: list[Contender] = []
        self._winner: Contender | None = None
        self._running = 0
        self._nursery: trio.Nursery
        self._hedge_scope = trio.CancelScope()
        self._ending: Ending | None = None
        self._error: ProviderError | None = None

    async def run(self) -> Ending:
        """The winner's answer; raises `ProviderError`: the winner's, or the last when nobody
        won."""
        self._attempts.watch.waits()
        try:
            async with trio.open_nursery() as self._nursery:
                first = self._enter(self._left.popleft())
                self._nursery.start_soon(self._hedge, first, name="hedge")
        finally:
            self._told_of().is_told_of()
        if self._ending is not None:
            return self._ending
        if self._error is None:
            raise RuntimeError("a race ended without an end")
        raise self._error

    def _won_by(self, winner: Contender) -> None:
        """From here on there is one; the others are told to stop."""
        self._winner = winner
        self._hedge_scope.cancel("somebody has won")
        for contender in self._contenders:
            if contender is not winner:
                contender.scope.cancel("somebody else has won")

    def _enter(self, candidate: Candidate) -> Contender:
        contender = Contender(
            candidate,
            own=self._attempts.candidates[0],
            account=self._attempts.account,
            outlet=self._outlet,
            outbox=self._outbox,
            tells_its_place=not self._contenders,
            wins=self._won_by,
        )
        self._contenders.append(contender)
        self._running += 1
        self._nursery.start_soon(self._contend, contender, name=f"candidate {candidate.asked}")
        return contender

    async def _hedge(self, first: Contender) -> None:
        with self._hedge_scope:
            await first.has_asked.wait()
            await trio.sleep(self._hedge_after)
            if self._winner is None:  # nor in this very moment
                self._enter(self._left.popleft() if self._left else first.candidate)

    async def _contend(self, contender: Contender) -> None:
        with contender.scope:
            try:
                self._ending = await self._first_whole(contender)
            except ProviderError as error:
                self._running -= 1
                if contender is not self._winner and self._running:
                    self._attempts.account.loses(contender.request, error)
                    return
                self._error = error
            self._nursery.cancel_scope.cancel("the race is over")

    async def _first_whole(self, contender: Contender) -> Ending:
        """What this contender comes to, with whoever steps in for its candidates."""
        while True:  # noqa: ASYNC913  # each turn asks somebody, and they are few
            try:
                return await self._whole(contender)
            except ProviderError as error:
                if contender is self._winner or not self._left:
                    raise
                follower = self._left.popleft()
                self._attempts.gives_up(contender, contender.candidate, error)
                contender.is_replaced(follower, error.code)

    async def _whole(self, contender: Contender) -> Ending:
        with self._attempts.watch.beside() as contender.silence:
            ending = await self._attempts.persist(contender, contender.candidate)
            if contender is not self._winner and self._running == 1 and not self._left:
                await contender.win()  # all thought as it is, for nobody else is left
            if contender is self._winner:
                return ending
            raise ProviderError(
                "empty_response",
                "The provider ended without any text.",
                usage=ending.usage,
                cost_usd=ending.cost_usd,
            )
        error = contender.silence.lapsed()
        if contender.request is not None:
            error.usage = contender.request.estimated()
        raise error

    def _told_of(self) -> Contender:
        """Who has won; without a winner whoever is still at it, or was."""
        asked = [contender for contender in self._contenders if contender.request is not None]
        at_work = [contender for contender in asked if contender.is_asking]
        return self._winner or (at_work or asked[::-1] or self._contenders)[0]
