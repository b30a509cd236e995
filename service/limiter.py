"""Who may ask a provider now, and who waits: one limiter for each provider, outside its HTTP
client.

    Attempts ── limiter.queue(party) ──► Ticket ── admitted ──► the provider's request ──► left
                                           └─ or in line: `ahead`, `changed()`

How many may run at once is learned (`ceiling.py`, `latency.py`), and who is next is a matter of
turns (`line.py`). Besides, the provider's own words hold: a `Retry-After` and an
`x-ratelimit-reset` close the door for everybody until then, and `x-ratelimit-remaining` is counted
down.

**No place is lost.** A place is given in a step, by whoever frees one, and counted as taken from
that moment. A ticket is a context manager: whoever leaves it gives back what it has by then, be
that a place or a turn in the line, whether it had noticed or not.

No tasks here: the door's opening is awaited by those who stand before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType

import structlog
import trio

from service.ceiling import Ceiling
from service.errors import ProviderError
from service.latency import Latency
from service.line import Line

__all__ = ["Limiter", "Limiters", "Ticket"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LONGEST_HOLD = 30.0
"""Seconds that a provider's word may keep everybody from asking. One that says "in an hour" is
asked again after this: it may have meant one model, and a process must not stand still on one
header."""
ROUNDS = 32
"""Places in line for each that may run. An answer takes ten seconds or so, and the clock of the
whole answer is 300: whoever stands behind more rounds than that would wait in vain."""
LEAST_LINE = 256
"""Places in line at least, so that a provider of one request at a time can be asked nine models by
some dozens of comparisons."""
TOLD_EVERY = 0.25
"""Seconds between two numbers that one ticket is told: a reader sees no more than four a second,
and without a bound a line of `n` would cost `n` wake-ups for each step forward."""


class Ticket:
    """One request's turn; left by leaving its context."""

    __slots__ = (
        "_asked_at",
        "_heard",
        "_late",
        "_limiter",
        "_listens",
        "_model",
        "_moves",
        "_party",
        "_refused",
        "_window",
        "_woken",
        "admitted",
    )

    def __init__(self, limiter: Limiter, party: object, model: str) -> None:
        self.admitted = False
        """Whether the request may be made."""
        self._limiter = limiter
        self._party = party
        self._model = model
        self._window = 0
        self._asked_at = 0.0
        self._heard = False
        self._refused = False
        self._late = False
        self._woken: trio.Event | None = None
        self._listens = False
        self._moves = 0

    @property
    def ahead(self) -> int:
        """How many will be admitted before this one, if nobody leaves the line."""
        return 0 if self.admitted else self._limiter._line.ahead_of(self._party, self)

    async def changed(self) -> None:
        """Return when this is admitted, or its number may be another; not sooner than it may be
        told.

        Cancelled, it loses nothing: what has been given by then is given back by leaving.
        """
        limiter = self._limiter
        quiet_until = trio.current_time() + TOLD_EVERY
        limiter.admit()  # the door may have opened before anybody stood there
        while not self.admitted:
            now = trio.current_time()
            self._listens = now >= quiet_until
            if self._listens and self._moves != limiter.moves:
                break
            self._woken = trio.Event()
            with trio.move_on_at(min(limiter.opens_at, math.inf if self._listens else quiet_until)):
                await self._woken.wait()
            limiter.admit()
        self._listens = False
        self._moves = limiter.moves

    def first_byte(self) -> None:
        """The provider began to answer, and it is no refusal unless `refuses` was called."""
        if not self._heard and not self._refused:
            self._limiter._began(self)
        self._hear()

    def refuses(self) -> None:
        """The provider said no; what it has to say is not looked at for its speed."""
        self._refused = True
        self._hear()

    def failed(self, error: ProviderError) -> None:
        """The request failed; learns from it if it is about how much the provider takes."""
        if error.code in ("rate_limited", "overloaded") and not error.of_model:
            self._hear()
            self._limiter._lower(self, error.retry_after)

    def whole(self) -> None:
        """The answer came whole."""
        if not self._late:  # how many it takes well is not learned from those it kept waiting
            self._limiter._raise()

    def rate(self, remaining: int, resets_in: float) -> None:
        """The provider said how many requests more it takes until then, in seconds."""
        self._hear()
        self._limiter._budget(remaining, resets_in)

    def _hear(self) -> None:
        if not self._heard:
            self._heard = True
            self._limiter._unanswered -= 1

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._limiter._leave(self)


class Limiter:
    """One provider's places; `ceiling` is the most that may ever run at once."""

    def __init__(self, ceiling: int, name: str = "") -> None:
        self._name = name
        self._ceiling = Ceiling(ceiling)
        self._latency = Latency()
        self._line = Line[Ticket]()
        self._most_waiting = max(LEAST_LINE, ROUNDS * ceiling)
        self.running = 0
        self.moves = 0
        """Goes up whenever the line moves."""
        self._unanswered = 0
        self._held_until = -math.inf
        self._left: int | None = None
        """Requests that the provider takes until `_left_until`; None: it did not say."""
        self._left_until = -math.inf

    @property
    def limit(self) -> int:
        """How many may run at once now."""
        return self._ceiling.limit

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @property
    def opens_at(self) -> float:
        """When the provider's word ends that keeps everybody waiting; infinity if none does."""
        now = trio.current_time()
        if self._left == 0 and now < self._left_until:
            return max(self._held_until, self._left_until)
        return self._held_until if now < self._held_until else math.inf

    def queue(self, party: object, model: str = "") -> Ticket:
        """A turn for one request of `party` to `model`; admitted at once when nobody has to wait.

        Raises `ProviderError` (`overloaded`) when the line is as long as it may be.
        """
        ticket = Ticket(self, party, model)
        if not self._line and self._is_open():
            self._take(ticket)
            return ticket
        if self.waiting >= self._most_waiting:
            raise ProviderError(
                "overloaded",
                "Too many requests wait for this provider already; try again in a moment.",
            )
        self._line.join(party, ticket)
        ticket._moves = self.moves
        return ticket

    def admit(self) -> None:
        """Give what is free to those whose turn it is."""
        moved = False
        while self._line and self._is_open():
            self._take(self._line.next())
            moved = True
        if moved:
            self._moved()

    def _is_open(self) -> bool:
        if self.running >= self._ceiling.limit:
            return False
        now = trio.current_time()
        if now < self._held_until:
            return False
        if self._left is not None and now >= self._left_until:
            self._left = None
        return self._left is None or self._left > 0

    def _take(self, ticket: Ticket) -> None:
        self.running += 1
        self._unanswered += 1
        if self._left is not None:
            self._left -= 1
        ticket.admitted = True
        ticket._window = self._ceiling.window
        ticket._asked_at = trio.current_time()
        if ticket._woken is not None:
            ticket._woken.set()

    def _leave(self, ticket: Ticket) -> None:
        if ticket.admitted:
            ticket._hear()
            self.running -= 1
            self.admit()
            return
        self._line.leave(ticket._party, ticket)
        self._moved()

    def _moved(self) -> None:
        self.moves += 1
        for ticket in self._line:
            if ticket._listens and ticket._woken is not None:
                ticket._woken.set()

    def _began(self, ticket: Ticket) -> None:
        seconds = trio.current_time() - ticket._asked_at
        ticket._late = self._latency.note(ticket._model, seconds)
        if self._latency.has_grown() and self._ceiling.late(self.running, ticket._window):
            self._log("later than usual")

    def _lower(self, ticket: Ticket, retry_after: float | None) -> None:
        now = trio.current_time()
        if self._ceiling.refused(self.running, ticket._window, now):
            self._log("refused")
        if retry_after:
            self._held_until = max(self._held_until, now + min(retry_after, LONGEST_HOLD))
            self._moved()  # they have to wait for something else now

    def _raise(self) -> None:
        if self._ceiling.whole(self.running, trio.current_time()):
            self._log("taken well")
            self.admit()

    def _budget(self, remaining: int, resets_in: float) -> None:
        # Those who have not been answered yet may be counted in it or not: as if they were not.
        self._left = max(0, remaining - self._unanswered)
        self._left_until = trio.current_time() + min(resets_in, LONGEST_HOLD)
        self._moved()
        self.admit()

    def _log(self, why: str) -> None:
        log.info(
            "provider limit", provider=self._name, limit=self.limit, running=self.running, why=why
        )


class Limiters:
    """The limiters of one process, by provider; one that has no ceiling has no limiter."""

    def __init__(self, ceilings: Mapping[str, int] | None = None) -> None:
        self._limiters = {name: Limiter(most, name) for name, most in (ceilings or {}).items()}

    def of(self, provider: str) -> Limiter | None:
        """The limiter of the provider of that name."""
        return self._limiters.get(provider)
