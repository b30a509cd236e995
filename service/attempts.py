"""From a model's turn to its first token: the line, the requests that are made again, who steps in.

Between a comparison and its providers. Until something of an answer has been handed on, its reader
knows nothing of it, and another request can take its place without a word. After that nothing is
asked again: a second answer would double the first.

    for each candidate: the model, then its fallbacks        until one has spoken
        for each attempt                                     while the provider says that it helps
            the line of the provider's limiter               a place is held for one request only
                provider.stream(prompt, sink)

A wait between two requests holds no place. All of it is inside the clock of the whole answer; the
clocks of silence are each request's own, and end a candidate where there is another. With
`hedge_after` two candidates may run at once: `race.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
import trio
from msgspec import UNSET

from service.account import Account
from service.entrants import Candidate
from service.errors import ProviderError
from service.events import ErrorCode, Fallback, Queued
from service.fanin import Outbox
from service.limiter import Limiters, Ticket
from service.outlet import Outlet
from service.patience import Watch
from service.persistence import Persistence
from service.providers import Ending, Sink
from service.request import Request
from service.tracing import attempt_begins

__all__ = ["Asker", "Attempts", "fallback_event"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


BROKEN_OFF = frozenset({"upstream_disconnected", "truncated"})
"""How an answer ends of which nobody knows what would have come."""


class Asker(Protocol):
    """On whose behalf requests are made, one after another: whose clocks they are under."""

    @property
    def sink(self) -> Sink:
        """Where what is heard goes."""

    @property
    def request(self) -> Request | None:
        """The request that was made last; None: none has been."""

    @property
    def has_spoken(self) -> bool:
        """Whether an answer has been handed on, so that nothing may be asked again."""

    def waits(self) -> None:
        """Nobody is being asked."""

    def in_line(self, ahead: int) -> None:
        """It waits for its turn, behind so many."""

    async def asks(self, candidate: Candidate, ticket: Ticket | None) -> None:
        """A request is about to be made; never returns if it must not be."""


class Attempts:
    """One model's requests, until one of them is whole or none may be made any more."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        party: object,
        limiters: Limiters,
        persistence: Persistence,
        account: Account,
        watch: Watch,
    ) -> None:
        self.candidates = candidates
        self.account = account
        self.watch = watch
        self._party = party
        self._limiters = limiters
        self._persistence = persistence

    async def answer(self, outlet: Outlet, outbox: Outbox) -> Ending:
        """The answer of the first candidate that has one, handed on as it comes.

        Raises the `ProviderError` of the one that was asked last.
        """
        asker = _Alone(self.account, self.watch, outlet, outbox)
        *others, last = self.candidates
        for position, candidate in enumerate(others):
            try:
                return await self._unless_silent(asker, candidate)
            except ProviderError as error:
                if asker.has_spoken:
                    raise
                self.gives_up(asker, candidate, error)
                follower = self.candidates[position + 1]
                self.account.answered_by = follower.asked
                asker.waits()
                outbox.tell_ahead(fallback_event(self.account.name, follower, error.code))
        return await self.persist(asker, last)

    async def _unless_silent(self, asker: _Alone, candidate: Candidate) -> Ending:
        """The same, but silence is a failure like others: there is somebody else to ask."""
        with trio.CancelScope() as scope:
            self.watch.attempt = scope
            try:
                return await self.persist(asker, candidate)
            finally:
                self.watch.attempt = None
        error = self.watch.lapsed()
        if asker.request is not None:
            error.usage = asker.request.estimated()  # it was at work, for all that we know
        raise error

    async def persist(self, asker: Asker, candidate: Candidate) -> Ending:
        """One candidate's answer, asked for again as long as that helps. Raises `ProviderError`."""
        made = 0
        while True:
            made += 1
            try:
                return await self._request(asker, candidate)
            except ProviderError as error:
                wait = self._wait_after(error, made, asker)
                if wait is None:
                    raise
                self.account.loses(asker.request, error)
                log.info("asked again", code=error.code, after=round(wait, 3), **error.facts())
            asker.waits()
            await trio.sleep(wait)

    def gives_up(self, asker: Asker, candidate: Candidate, error: ProviderError) -> None:
        """Nobody asks this candidate again, and somebody else steps in."""
        self.account.loses(asker.request, error)
        log.info("given up", asked=candidate.asked, code=error.code, **error.facts())

    def _wait_after(self, error: ProviderError, made: int, asker: Asker) -> float | None:
        """Seconds until the next request; None: there is none."""
        if asker.has_spoken:
            return None
        request = asker.request
        begun = request is not None and request.first_byte_ms is not None
        if begun and error.code in BROKEN_OFF:
            return None  # it was at work on it, and may bill it
        wait = self._persistence.wait_after(error, made)
        return None if wait is None or wait >= self.watch.left else wait

    async def _request(self, asker: Asker, candidate: Candidate) -> Ending:
        limiter = self._limiters.of(candidate.provider.name)
        if limiter is None:
            await self._asks(asker, candidate, None)
            return await candidate.provider.stream(candidate.prompt, asker.sink)
        with limiter.queue(self._party, candidate.prompt.model) as ticket:
            if not ticket.admitted:
                await self._stand_in_line(asker, ticket)
                # It may have been stopped in the very step in which its turn came.
                await trio.lowlevel.checkpoint_if_cancelled()
            await self._asks(asker, candidate, ticket)
            try:
                ending = await candidate.provider.stream(candidate.prompt, asker.sink)
            except ProviderError as error:
                ticket.failed(error)
                raise
            ticket.whole()
            return ending

    async def _asks(self, asker: Asker, candidate: Candidate, ticket: Ticket | None) -> None:
        await asker.asks(candidate, ticket)
        attempt_begins(candidate.provider.name, candidate.prompt.model)

    async def _stand_in_line(self, asker: Asker, ticket: Ticket) -> None:
        asker.waits()
        while not ticket.admitted:
            asker.in_line(ticket.ahead)
            await ticket.changed()


class _Alone:
    """The only asker for its model: the model's own clocks, account and place in the channel."""

    def __init__(self, account: Account, watch: Watch, outlet: Outlet, outbox: Outbox) -> None:
        self._account = account
        self._watch = watch
        self._outlet = outlet
        self._outbox = outbox
        self.request: Request | None = None
        self.sink: Sink = outlet

    @property
    def has_spoken(self) -> bool:
        return self._account.has_spoken

    def waits(self) -> None:
        self._watch.waits()

    def in_line(self, ahead: int) -> None:
        self._account.waits()
        self._outbox.tell_ahead(Queued(model=self._account.name, ahead=ahead))

    async def asks(self, candidate: Candidate, ticket: Ticket | None) -> None:
        self._watch.asks()
        self.request = self._account.asks(candidate.provider.name, candidate.price)
        self._account.tells_of(self.request)
        self._outlet.hears(self.request, ticket)


def fallback_event(model: str, candidate: Candidate, code: ErrorCode | None) -> Fallback:
    """What a client is told of who steps in."""
    return Fallback(
        model=model,
        asked=candidate.asked,
        provider=candidate.provider.name,
        parameters=dict(candidate.provider.parameters(candidate.prompt)),
        simulated=True if candidate.provider.simulated else UNSET,
        code=code,
    )
