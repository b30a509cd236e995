"""How long we wait for a model, and the clocks that watch it.

Silence (connecting, then the first token, then between tokens) blames the provider, so it stops
while a send to the client blocks: a slow reader is not the model's fault. The whole answer's
clock never stops: it is what frees the provider's socket when a client stalls for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

import trio

from service.errors import ProviderError
from service.events import ErrorCode

__all__ = ["Clock", "Patience", "Silence", "Vigil", "Watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The four deadlines of one model's answer, in seconds."""

    connect: float = 5
    """To reach the provider: name, connection, TLS."""
    first_token: float = 30
    """From the connection to the first token, of the answer or of its reasoning."""
    idle: float = 60
    """Between two signs of life once tokens have come; a provider's comments count."""
    total: float = 300
    """The whole answer, time spent waiting for the client included."""


Phase = Literal["connect", "first_token", "idle"]


class Clock(Protocol):
    """Something that is to be done at its time, which may move."""

    @property
    def due(self) -> float:
        """When, by Trio's clock, as far as is known now; it may become later, also unsaid."""

    def run_out(self) -> None:
        """It is due. Must not block."""


class Vigil:
    """Keeps the clocks of one comparison's models, with one timer for all of them.

    A deadline of its own for each clock would have to be moved with every token; here that is a
    number, and the timer looks again when the earliest of them may have come. `others` are clocks
    that no model has.
    """

    def __init__(self, *others: Clock) -> None:
        self._others = others
        self._watched: set[Clock] = set()
        self.looks_at = -math.inf
        """When the clocks are looked at next; -inf: before anything else happens."""
        self._woken = trio.Event()

    async def keep(self) -> None:
        """Cut short whoever's time is over; returns when nobody is watched any more."""
        while self._watched:
            clocks: list[Clock] = [*self._others, *self._watched]
            self.looks_at = min(clock.due for clock in clocks)
            self._woken = trio.Event()
            with trio.move_on_at(self.looks_at):
                await self._woken.wait()
            now = trio.current_time()
            await trio.lowlevel.checkpoint()  # who speaks at that very moment is in time
            for clock in clocks:
                if clock.due <= now:
                    clock.run_out()

    def add(self, clock: Clock) -> None:
        """Watch over one more."""
        self._watched.add(clock)
        self.expect(clock.due)

    def discard(self, clock: Clock) -> None:
        """It is of no account any more."""
        self._watched.discard(clock)
        if not self._watched:
            self._woken.set()

    def expect(self, due: float) -> None:
        """Something is due then, which may be before `looks_at`."""
        if due < self.looks_at:
            self._woken.set()


class Silence:
    """One request's clocks of silence, of which one runs at a time, or none.

    The owner enters it around the request; when one of them has run out it is cut short, and
    `lapsed` says by which. None runs before `asks`.
    """

    def __init__(self, patience: Patience, vigil: Vigil) -> None:
        self._patience = patience
        self._vigil = vigil
        self._phase: Phase = "connect"
        self._silent_at = math.inf
        self._scope = trio.CancelScope()
        self._lapse: tuple[ErrorCode, float] | None = None

    @property
    def due(self) -> float:
        """When one of the clocks runs out, by Trio's clock."""
        return self._silent_at

    def __enter__(self) -> Self:
        self._vigil.add(self)
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        self._vigil.discard(self)
        return self._scope.__exit__(exc_type, exc, tb)

    def waits(self) -> None:
        """Nobody has been asked yet, or nobody any more: there is no silence to be heard."""
        self._phase = "connect"
        self._silent_at = math.inf

    def asks(self) -> None:
        """A request is about to be made: from here the connection's clock runs."""
        self._phase = "connect"
        self._listen(self._patience.connect)

    def connected(self) -> None:
        """The request is on its way: from here the first token's clock runs."""
        if self._phase == "connect":
            self._phase = "first_token"
            self._listen(self._patience.first_token)

    def alive(self) -> None:
        """The provider sent something that is no token: enough between tokens, not before."""
        if self._phase == "idle":
            self._listen(self._patience.idle)

    def pause(self) -> None:
        """Silence is nobody's fault now: a token waits for the client, or a refusal was heard."""
        self._silent_at = math.inf

    def resume(self, now: float) -> None:
        """A token came, or the client took it, at this time: from here the idle clock runs."""
        self._phase = "idle"
        self._silent_at = now + self._patience.idle
        if self._silent_at < self._vigil.looks_at:
            self._vigil.expect(self._silent_at)

    def run_out(self) -> None:
        """Cut the request short: one of its clocks has run out."""
        self._lapses(self._scope)

    @property
    def has_lapsed(self) -> bool:
        """Whether a request was cut short for its silence."""
        return self._lapse is not None

    def lapsed(self) -> ProviderError:
        """What cut it short, as a failure."""
        code, seconds = self._lapse or self._blame()
        return ProviderError(code, f"Timeout ({seconds:g}s)")

    def _lapses(self, scope: trio.CancelScope) -> None:
        self._lapse = self._blame()
        self._silent_at = math.inf
        scope.cancel(self._lapse[0])

    def _blame(self) -> tuple[ErrorCode, float]:
        match self._phase:
            case "connect":
                return "connect_timeout", self._patience.connect
            case "first_token":
                return "first_token_timeout", self._patience.first_token
            case "idle":
                return "idle_timeout", self._patience.idle

    def _listen(self, seconds: float) -> None:
        self._silent_at = trio.current_time() + seconds
        self._vigil.expect(self._silent_at)


class Watch(Silence):
    """The clocks around one model's answer; they start to run when this is made.

    The owner enters it around all its requests, and asks `verdict` when that was cut short.
    Everything else is what the one that is made now reports.
    """

    def __init__(self, patience: Patience, vigil: Vigil) -> None:
        super().__init__(patience, vigil)
        self._verdict: tuple[ErrorCode, float | None] | None = None
        self.attempt: trio.CancelScope | None = None
        """Cut in place of the whole when a provider is silent and there is somebody else to ask."""
        self._over_at = trio.current_time() + patience.total
        self.asks()  # at once, as a rule: that the vigil knows beforehand saves it a look
        vigil.add(self)

    @property
    def due(self) -> float:
        """When one of the clocks runs out, by Trio's clock."""
        return math.inf if self._verdict else min(self._over_at, self._silent_at)

    @property
    def left(self) -> float:
        """Seconds until the whole answer's clock runs out."""
        return self._over_at - trio.current_time()

    def beside(self) -> Silence:
        """Clocks of silence for one request of several at once."""
        return Silence(self._patience, self._vigil)

    def stop(self, code: ErrorCode) -> None:
        """Cut the answer short for a reason that is no clock's, unless one has done so already."""
        if self._verdict is None:
            self._verdict = (code, None)
            self._scope.cancel(code)

    def run_out(self) -> None:
        """Cut the answer short: one of its clocks has run out."""
        verdict = self._blame()
        if self.attempt is not None and verdict[0] != "total_timeout":
            self._lapses(self.attempt)
        else:
            self._verdict = verdict
            self._scope.cancel(verdict[0])

    def verdict(self) -> tuple[ErrorCode, float | None]:
        """What cut the answer short, and the seconds if it was a clock; ask only when one did."""
        return self._verdict or self._blame()

    def _blame(self) -> tuple[ErrorCode, float]:
        if self._silent_at <= self._over_at:
            return super()._blame()
        return "total_timeout", self._patience.total
