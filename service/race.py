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
own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import trio

from service.account import estimate
from service.attempts import Attempts, fallback_event, tell_place
from service.entrants import Candidate
from service.errors import ProviderError
from service.events import ErrorCode, Usage
from service.fanin import Outbox
from service.limiter import Ticket
from service.outlet import Outlet
from service.patience import Patience
from service.providers import Ending, Sink, Step, no_step
from service.providers.rates import Rate

__all__ = ["Race"]

HELD_CHARACTERS = 64 * 1024
"""Of thinking, while a race is open; who has thought that much has won, as it can't be held for
ever."""


class Race:
    """One model's candidates, two at a time at most."""

    def __init__(
        self,
        attempts: Attempts,
        outlet: Outlet,
        outbox: Outbox,
        patience: Patience,
        hedge_after: float,
    ) -> None:
        self.attempts = attempts
        self.account = attempts.account
        self.outlet = outlet
        self.outbox = outbox
        self.patience = patience
        self.winner: _Contender | None = None
        self._hedge_after = hedge_after
        self._left: Iterator[Candidate] = iter(attempts.candidates)
        self._contenders: list[_Contender] = []
        self._running = 0
        self._nursery: trio.Nursery
        self._hedge_scope = trio.CancelScope()
        self._ending: Ending | None = None
        self._error: ProviderError | None = None

    async def run(self) -> Ending:
        """The winner's answer; raises `ProviderError`: the winner's, or the last when nobody
        won."""
        self.attempts.watch.waits()
        try:
            async with trio.open_nursery() as self._nursery:
                first = self._enter(next(self._left))
                self._nursery.start_soon(self._hedge, first, name="hedge")
        finally:
            self._settle()
        if self._ending is not None:
            return self._ending
        if self._error is None:
            raise RuntimeError("a race ended without an end")
        raise self._error

    def won_by(self, winner: _Contender) -> None:
        """From here on there is one; the others are told to stop."""
        self.winner = winner
        self._hedge_scope.cancel("somebody has won")
        for contender in self._contenders:
            if contender is not winner:
                contender.scope.cancel("somebody else has won")

    def _enter(self, candidate: Candidate) -> _Contender:
        contender = _Contender(self, candidate, tells_its_place=not self._contenders)
        self._contenders.append(contender)
        self._running += 1
        self._nursery.start_soon(self._contend, contender, name=f"candidate {candidate.asked}")
        return contender

    async def _hedge(self, first: _Contender) -> None:
        with self._hedge_scope:
            await first.has_asked.wait()
            await trio.sleep(self._hedge_after)
            self._enter(next(self._left, first.candidate))

    async def _contend(self, contender: _Contender) -> None:
        with contender.scope:
            try:
                self._ending = await self._first_whole(contender)
            except ProviderError as error:
                self._running -= 1
                if contender is not self.winner and self._running:
                    contender.is_out(error)
                    return
                self._error = error
            self._nursery.cancel_scope.cancel("the race is over")

    async def _first_whole(self, contender: _Contender) -> Ending:
        """What this contender comes to, with whoever steps in for its candidates."""
        while True:  # noqa: ASYNC913  # each turn asks somebody, and they are few
            try:
                return await self._whole(contender)
            except ProviderError as error:
                if contender is self.winner or (follower := next(self._left, None)) is None:
                    raise
                self.attempts.gives_up(contender.candidate, error)
                contender.candidate = follower

    async def _whole(self, contender: _Contender) -> Ending:
        with trio.CancelScope() as contender.clock:
            ending = await self.attempts.persist(contender, contender.candidate)
            if contender is self.winner:
                return ending
            raise ProviderError(
                "empty_response",
                "The provider ended without any text.",
                usage=ending.usage,
                cost_usd=ending.cost_usd,
            )
        raise contender.lapsed()

    def _settle(self) -> None:
        """Count what the others took; without a winner, tell of whoever is still at it, or was."""
        told_of = self.winner or next(
            (contender for contender in self._contenders if contender.is_asking),
            self._contenders[-1],
        )
        if told_of is not self.winner:
            told_of.adopted()
            self.account.heard_in_vain(*told_of.held_characters())
        for contender in self._contenders:
            if contender is not told_of and contender.is_asking:
                self.account.loses(contender.estimated(), None, contender.candidate.price)


class _Contender:
    """One of two requests: an asker, and the sink of what its provider says."""

    def __init__(self, race: Race, candidate: Candidate, *, tells_its_place: bool) -> None:
        self.candidate = candidate
        self.scope = trio.CancelScope()
        """Cancelled when somebody else has won."""
        self.clock = trio.CancelScope()
        """Its deadline is the clock of silence; each candidate has a new one."""
        self.has_asked = trio.Event()
        self.is_asking = False
        self.sink: Sink = self
        self.room: Callable[[], int] = race.outlet.room
        self._race = race
        self._tells_its_place = tells_its_place
        self._ahead: int | None = None
        self._ticket: Ticket | None = None
        self._held: list[tuple[bool, str]] = []
        """Pieces in the order in which they came, and whether they are of the answer itself."""
        self._clock_of: tuple[ErrorCode, float] = ("connect_timeout", math.inf)
        self._connect_ms: float | None = None
        self._first_byte_ms: float | None = None
        self._refused = False

    @property
    def has_spoken(self) -> bool:
        return self._race.winner is self

    @property
    def has_begun(self) -> bool:
        return self._first_byte_ms is not None

    def waits(self) -> None:
        self.is_asking = False
        self._ahead = None
        self.clock.deadline = math.inf

    def in_line(self, ahead: int) -> bool:
        race = self._race
        if not self._tells_its_place or race.winner is not None:
            return True
        race.account.waits()
        self._ahead = tell_place(race.outbox, race.account.name, ahead, self._ahead)
        return self._ahead == ahead

    async def asks(self, ticket: Ticket | None) -> None:
        self._ticket = ticket
        self._held = []
        self._connect_ms = self._first_byte_ms = None
        self._refused = False
        self.is_asking = True
        self._race.account.asks()
        self.has_asked.set()
        self._listen("connect_timeout", self._race.patience.connect)

    def lapsed(self) -> ProviderError:
        """The failure when its clock has run out."""
        code, seconds = self._clock_of
        return ProviderError(code, f"Timeout ({seconds:g}s)", usage=self.estimated())

    def estimated(self) -> Usage | None:
        """What its request has taken so far; None: it never left."""
        if self._connect_ms is None:
            return None
        return estimate(self.candidate.prompt, *self.held_characters())

    def held_characters(self) -> tuple[int, int]:
        """Of the answer, and of its thinking, that were not handed on."""
        answer = sum(len(piece) for is_text, piece in self._held if is_text)
        return answer, sum(len(piece) for _, piece in self._held) - answer

    def is_out(self, error: ProviderError) -> None:
        """It has failed for good while the other one runs."""
        self.is_asking = False
        self._race.account.loses(error.usage, error.cost_usd, self.candidate.price)

    def adopted(self) -> None:
        """What is told of the model from here on is told of this one."""
        race = self._race
        race.account.adopts(self._connect_ms, self._first_byte_ms)
        race.account.price = self.candidate.price
        if self._refused:
            race.account.refused()
        first = race.attempts.candidates[0]
        if self.candidate is not first:
            race.account.answered_by = self.candidate.asked

    def connected(self) -> None:
        self._connect_ms = self._race.account.elapsed_ms()
        self._listen("first_token_timeout", self._race.patience.first_token)

    def refused(self) -> None:
        self._refused = True
        self.clock.deadline = math.inf  # its words have a bound of their own
        if self._ticket is not None:
            self._ticket.refuses()

    def first_byte(self) -> None:
        self._first_byte_ms = self._race.account.elapsed_ms()
        if self._ticket is not None:
            self._ticket.first_byte()

    def rate(self, rate: Rate) -> None:
        if self._ticket is not None:
            self._ticket.rate(rate.remaining, rate.resets_in)

    def alive(self) -> None:
        if self.has_spoken:
            self._race.outlet.alive()
        elif self._clock_of[0] == "idle_timeout":
            self._listen(*self._clock_of)

    async def text(self, *contents: str, more: bool = False, step: Step = no_step) -> None:
        if not self.has_spoken:
            if not any(map(str.strip, contents)):
                await self._hold(True, *contents)
                return
            await self._win()
        await self._race.outlet.text(*contents, more=more, step=step)

    def has_room(self) -> bool:
        return self._race.outlet.has_room()

    def text_nowait(self, contents: tuple[str, ...]) -> None:
        self._race.outlet.text_nowait(contents)

    async def reasoning(self, content: str, *, more: bool = False) -> None:
        if self.has_spoken:
            await self._race.outlet.reasoning(content, more=more)
        else:
            await self._hold(False, content)

    async def _hold(self, is_text: bool, *contents: str) -> None:
        self._held += [(is_text, content) for content in contents]
        self._listen("idle_timeout", self._race.patience.idle)
        if sum(len(piece) for _, piece in self._held) > HELD_CHARACTERS:
            await self._win()
        else:
            await trio.lowlevel.checkpoint()

    async def _win(self) -> None:
        """Be the one whose answer is handed on, beginning with what was held back."""
        race = self._race
        if race.winner is not None:
            await trio.sleep_forever()  # it has lost, and its cancellation is on the way
        race.won_by(self)
        self.clock.deadline = math.inf  # the model's own clocks go on from here
        self.adopted()
        await race.outbox.taken()  # of what was told while it waited
        first = race.attempts.candidates[0]
        if self.candidate is not first:
            await race.outbox.send(fallback_event(race.account.name, self.candidate, None))
        for is_text, piece in self._held:
            hand_on = race.outlet.text if is_text else race.outlet.reasoning
            await hand_on(piece, more=True)
        self._held = []

    def _listen(self, code: ErrorCode, seconds: float) -> None:
        self._clock_of = (code, seconds)
        self.clock.deadline = trio.current_time() + seconds
