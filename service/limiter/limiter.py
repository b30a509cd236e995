"""Who may ask a provider now, and who waits: one limiter for each provider, outside its HTTP
client.

    Attempts ── limiter.queue(party) ──► Ticket ── admitted ──► the provider's request ──► left
                                           └─ or in line: `ahead`, `changed()`

Three things decide, each in a file of its own: how many may run, which is learned (`load.py`); the
provider's own words of when (`door.py`); and whose turn it is, which is fair between comparisons
(`line.py`).

**No place is lost.** A place is given in a step, by whoever frees one, and counted as taken from
that moment. A ticket is a context manager: whoever leaves it gives back what it has by then, be
that a place or a turn in the line, whether it had noticed or not.

No tasks here: what opens by the clock alone, the door or a place that has rested, is awaited by the
ticket whose turn it is; the others sleep until the line moves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from types import TracebackType

import trio

from service.errors import ProviderError
from service.limiter.door import Door
from service.limiter.line import Line
from service.limiter.load import Load, Run

__all__ = ["Limiter", "Limiters", "Ticket"]

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

    __slots__ = ("_limiter", "_listens", "_model", "_moves", "_party", "_run", "_woken")

    def __init__(self, limiter: Limiter, party: object, model: str) -> None:
        self._limiter = limiter
        self._party = party
        self._model = model
        self._run: Run | None = None
        self._woken: trio.Event | None = None
        self._listens = False
        self._moves = 0

    @property
    def admitted(self) -> bool:
        """Whether the request may be made."""
        return self._run is not None

    @property
    def ahead(self) -> int:
        """How many will be admitted before this one, if nobody leaves the line."""
        return 0 if self.admitted else self._limiter.ahead_of(self, self._party)

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
            looks_at = math.inf if self._listens else quiet_until
            with trio.move_on_at(min(looks_at, limiter.looks_at(self))):
                await self._woken.wait()
            limiter.admit()
        self._listens = False
        self._moves = limiter.moves

    def first_byte(self) -> None:
        """The provider began to answer, and it is no refusal unless `refuses` was called."""
        self._limiter._begun(self._running)

    def refuses(self) -> None:
        """The provider said no; what it has to say is not looked at for its speed."""
        self._limiter._says_no(self._running)

    def failed(self, error: ProviderError) -> None:
        """The request failed; learns from it if it is about how much the provider takes."""
        if error.code in ("rate_limited", "overloaded") and not error.of_model:
            self._limiter._refused(self._running, error.retry_after)

    def whole(self) -> None:
        """The answer came whole."""
        self._limiter._whole(self._running)

    def rate(self, remaining: int, resets_in: float) -> None:
        """The provider said how many requests more it takes until then, in seconds."""
        self._limiter._budget(self._running, remaining, resets_in)

    @property
    def _running(self) -> Run:
        if self._run is None:
            raise RuntimeError("nothing can be heard of a request that was not admitted")
        return self._run

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
    """One provider's places; `ceiling` is the most that may ever run at once.

    `draw` gives a number from 0 up to 1, for the length of pauses; another one is for tests.
    """

    def __init__(
        self, ceiling: int, name: str = "", draw: Callable[[], float] = random.random
    ) -> None:
        self._load = Load(ceiling, name)
        self._door = Door(draw)
        self._line: Line[Ticket] = Line()
        self._most_waiting = _longest_line(ceiling)
        self.moves = 0
        """Goes up whenever the line moves."""

    @property
    def limit(self) -> int:
        """How many may run at once now."""
        return self._load.limit

    @property
    def running(self) -> int:
        """How many have a place."""
        return self._load.running

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def allow(self, ceiling: int) -> None:
        """Let another number be the most; whoever may run by it gets a place in this step.

        Nobody loses one: where more run than may, the next place is given when enough have left.
        Who stands in a line that is too long now keeps their turn.
        """
        self._load.allow(ceiling)
        self._most_waiting = _longest_line(ceiling)
        self._changed()

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
        self._line.add(party, ticket)
        ticket._moves = self.moves
        return ticket

    def admit(self) -> None:
        """Give what is free to those whose turn it is."""
        moved = False
        while self._line and self._is_open():
            self._take(self._line.take())
            moved = True
        if moved:
            self._moved()

    def ahead_of(self, ticket: Ticket, party: object) -> int:
        """How many are admitted before `ticket`, who waits in the line of `party`."""
        return self._line.ahead_of(party, ticket)

    def looks_at(self, ticket: Ticket) -> float:
        """When `ticket` is to see whether it is admitted; infinity: it is woken, and need not."""
        if ticket is not self._line.first:
            return math.inf
        now = trio.current_time()
        at = max(self._door.opens_at(now), self._load.room_at(now))
        return at if at > now else math.inf

    def _is_open(self) -> bool:
        now = trio.current_time()
        return self._load.has_room(now) and self._door.is_open(now)

    def _take(self, ticket: Ticket) -> None:
        self._door.passed()
        ticket._run = self._load.begin(ticket._model, trio.current_time())
        if ticket._woken is not None:
            ticket._woken.set()

    def _leave(self, ticket: Ticket) -> None:
        if ticket._run is None:
            self._line.remove(ticket._party, ticket)
            self._moved()
        else:
            self._load.leave(ticket._run, trio.current_time())
            self._changed()

    def _moved(self) -> None:
        self.moves += 1
        for ticket in self._line:
            if ticket._listens and ticket._woken is not None:
                ticket._woken.set()
        self._wake_first()

    def _changed(self) -> None:
        """There may be room, or there may be at another time."""
        self.admit()
        self._wake_first()

    def _wake_first(self) -> None:
        first = self._line.first
        if first is not None and first._woken is not None:
            first._woken.set()

    def _begun(self, run: Run) -> None:
        self._load.begun(run, trio.current_time())
        self._changed()

    def _says_no(self, run: Run) -> None:
        run.refused = True
        self._load.heard(run)

    def _refused(self, run: Run, retry_after: float | None) -> None:
        now = trio.current_time()
        if self._load.refuse(run, now) and retry_after:
            self._door.hold(retry_after, now)
        else:
            self._door.pause(now)
        self._changed()

    def _whole(self, run: Run) -> None:
        self._load.whole(run, trio.current_time())
        self._changed()

    def _budget(self, run: Run, remaining: int, resets_in: float) -> None:
        self._load.heard(run)
        # Those who have not been answered yet may be counted in it or not: as if they were not.
        self._door.budget(remaining - self._load.unanswered, resets_in, trio.current_time())
        self._changed()


def _longest_line(ceiling: int) -> int:
    return max(LEAST_LINE, ROUNDS * ceiling)


class Limiters:
    """The limiters of one process, by provider; one that has no ceiling has no limiter.

    `kept` are limiters that go on with what they have learned; only `allow` tells them their
    ceiling.
    """

    def __init__(
        self,
        ceilings: Mapping[str, int] | None = None,
        kept: Mapping[str, Limiter] | None = None,
    ) -> None:
        self._ceilings = dict(ceilings or {})
        known = kept or {}
        self._limiters = {
            name: known.get(name) or Limiter(most, name) for name, most in self._ceilings.items()
        }

    def allow(self) -> None:
        """Give each limiter its ceiling, those that were kept among them."""
        for name, limiter in self._limiters.items():
            limiter.allow(self._ceilings[name])

    def of(self, provider: str) -> Limiter | None:
        """The limiter of the provider of that name."""
        return self._limiters.get(provider)
