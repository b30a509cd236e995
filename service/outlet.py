"""What one model says: to its clocks, its account, its gauge, and its place in the channel.

This is where a model waits, and for whom. For the client, until what was put last has been taken:
its silence is nobody's fault meanwhile. And under load for the next beat, at which a step of its
provider's is taken for it, so that its task need not wake to find that more text has come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog
import trio

from service.account import Account
from service.events import Chunk, Chunks, Progress, Reasoning, Usage
from service.fanin import Outbox
from service.limiter import Ticket
from service.patience import Watch
from service.progress import Gauge
from service.providers import Step, no_step
from service.providers.rates import Rate
from service.pulse import Pulse
from service.request import Request

__all__ = ["Outlet"]

LOGGED_EVERY = 10
"""Chunks between two lines of the log, at debug level."""


class Outlet:
    """The `Sink` of one model: what it hears goes to the clocks, the account and the channel."""

    def __init__(
        self,
        account: Account,
        watch: Watch,
        outbox: Outbox,
        pulse: Pulse,
        log: structlog.typing.FilteringBoundLogger,
        gauge: Gauge,
    ) -> None:
        self._account = account
        self._watch = watch
        self._outbox = outbox
        self._pulse = pulse
        self._log = log
        self._gauge = gauge
        self._wrote_at = -math.inf
        self._looks_at = -math.inf
        """When the gauge is to be looked at again."""
        self.room = outbox.room
        self._request: Request
        self._ticket: Ticket | None = None

    def hears(self, request: Request, ticket: Ticket | None) -> None:
        """What follows is of this request, which has this turn where its provider has a limiter."""
        self._request, self._ticket = request, ticket

    def connected(self) -> None:
        """The request began to leave."""
        self._watch.connected()
        self._request.connected()

    def first_byte(self) -> None:
        """The response's headers are there."""
        self._request.first_byte()
        if self._ticket is not None:
            self._ticket.first_byte()

    def alive(self) -> None:
        """Something came that is no token."""
        self._watch.alive()

    def reported(self, usage: Usage | None, cost_usd: float | None) -> None:
        """What the provider had told when it was cut short."""
        self._request.tells(usage, cost_usd)

    def refused(self) -> None:
        """The provider has said no."""
        self._watch.pause()
        self._request.refused()
        if self._ticket is not None:
            self._ticket.refuses()

    def rate(self, rate: Rate) -> None:
        """The provider has said how many requests more it takes."""
        if self._ticket is not None:
            self._ticket.rate(rate.remaining, rate.resets_in)

    def begin(self, held: Sequence[tuple[bool, str]]) -> None:
        """Hand on what was held back, together with what comes next, in front of it.

        Each piece with whether it is of the answer itself.
        """
        texts = tuple(piece for is_text, piece in held if is_text)
        self._account.begins(texts, "".join(piece for is_text, piece in held if not is_text))
        name, tell = self._account.name, self._outbox.tell_ahead
        for is_text, piece in held:
            tell(
                Chunk(model=name, content=piece)
                if is_text
                else Reasoning(model=name, content=piece)
            )

    async def text(
        self,
        *contents: str,
        more: bool = False,
        step: Step = no_step,
        came_at: float | None = None,
    ) -> None:
        """Hand on pieces of the answer; see `Sink.text`."""
        now = self._pulse.count(len(contents), came_at)
        self._put_text(contents, now)
        await self._until_more_may_come(now, len(contents), more, step)

    async def reasoning(self, content: str, *, more: bool = False) -> None:
        """Hand on a piece of the thinking."""
        now = self._pulse.count(1)
        self._account.reasoning(content)
        thought = Reasoning(model=self._account.name, content=content)
        if now < self._looks_at:
            self._outbox.put(thought)
        else:
            self._outbox.put(thought, *self._look(now))
        await self._until_more_may_come(now, 1, more, no_step)

    def has_room(self) -> bool:
        """Whether the client has taken what was handed on."""
        return self._outbox.is_free

    def text_nowait(self, contents: tuple[str, ...]) -> None:
        """Hand on pieces of the answer in a step."""
        self._wrote_at = now = self._pulse.count_in_step(len(contents))
        self._put_text(contents, now)
        self._watch.resume(now)

    def _put_text(self, contents: tuple[str, ...], now: float) -> None:
        account = self._account
        characters = account.text(contents, now)
        if account.chunks % LOGGED_EVERY < len(contents):
            self._log.debug("model writes", model=account.name, chunks=account.chunks)
        chunks = Chunks(account.name, contents, now)
        if now < self._looks_at:
            self._outbox.put_text(chunks, characters)
        else:
            self._outbox.put(chunks, *self._look(now))

    def _look(self, now: float) -> tuple[Progress, ...]:
        self._looks_at, told = self._gauge.look(now)
        return told

    async def _until_more_may_come(self, now: float, chunks: int, more: bool, step: Step) -> None:
        """Return when the next may be looked for by the model's own task."""
        outbox, pulse = self._outbox, self._pulse
        pays = chunks > 1 or now - self._wrote_at < pulse.interval
        self._wrote_at = now
        self._watch.resume(now)
        if pulse.interval and pays and not more:
            await pulse.follow(step)
        if not outbox.is_free:
            self._watch.pause()  # a slow reader is not the model's fault
            await outbox.taken()
            await outbox.turn()
            self._watch.resume(trio.current_time())
