"""One of two requests of a race: an asker, and the sink of what its provider says.

Nothing of it reaches the client before it has won. What it thinks is held back until then, and so
is white space; with the text that wins all of it is handed on in one step, so that no wait for the
client, and no stop, comes between.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from service.account import Account
from service.attempts import fallback_event
from service.entrants import Candidate
from service.events import ErrorCode, Queued, Usage
from service.fanin import Outbox
from service.limiter import Ticket
from service.outlet import Outlet
from service.patience import Silence
from service.providers import Sink, Step, no_step
from service.providers.rates import Rate
from service.request import Request

__all__ = ["Contender"]

HELD_CHARACTERS = 64 * 1024
"""Of thinking, while a race is open; who has thought that much has won, as it can't be held for
ever."""


class Contender:
    """Who asks `candidate`, and in its place whoever steps in for it; `own` is the model itself.

    `wins` is called when it has won, in the step in which it does. Its `scope` is cancelled when
    somebody else has; from then on it asks nobody, though it may be in the middle of a step.
    """

    def __init__(
        self,
        candidate: Candidate,
        *,
        own: Candidate,
        account: Account,
        outlet: Outlet,
        outbox: Outbox,
        tells_its_place: bool,
        wins: Callable[[Contender], None],
    ) -> None:
        self.candidate = candidate
        self.scope = trio.CancelScope()
        self.silence: Silence
        """The clocks of the candidate that is asked now."""
        self.request: Request | None = None
        self.has_asked = trio.Event()
        self.has_spoken = False
        self.sink: Sink = self
        self.room: Callable[[], int] = outlet.room
        self._own = own
        self._because: ErrorCode | None = None
        """Why the candidate before this one failed; None: there was none, or it was only slow."""
        self._account = account
        self._outlet = outlet
        self._outbox = outbox
        self._tells_its_place = tells_its_place
        self._wins = wins
        self._ticket: Ticket | None = None
        self._held_size = 0
        self._held: list[tuple[bool, str]] = []
        """Pieces in the order in which they came, and whether they are of the answer itself."""

    def is_replaced(self, follower: Candidate, because: ErrorCode) -> None:
        """Its candidate has failed, and this one steps in."""
        self.candidate, self._because = follower, because

    # --- the asker ---

    def waits(self) -> None:
        """Nobody is being asked."""
        self.silence.waits()

    def in_line(self, ahead: int) -> None:
        """It waits for its turn; told of the first of the two only, until somebody has won."""
        if self._tells_its_place and not self.scope.cancel_called:
            self._account.waits()
            self._outbox.tell_ahead(Queued(model=self._account.name, ahead=ahead))

    async def asks(self, candidate: Candidate, ticket: Ticket | None) -> None:
        """A request is about to be made; never returns when somebody else has won."""
        await trio.lowlevel.checkpoint()  # who speaks at that very moment has won, or had before
        self._ticket = ticket
        self._held, self._held_size = [], 0
        self.request = self._account.asks(candidate.provider.name, candidate.price)
        self.has_asked.set()
        self.silence.asks()
        await trio.lowlevel.checkpoint_if_cancelled()  # this may be one more than may be paid for

    # --- the sink ---

    def connected(self) -> None:
        """The request began to leave."""
        self.silence.connected()
        self._asked.connected()

    def refused(self) -> None:
        """The provider has said no."""
        self.silence.pause()  # its words have a bound of their own
        self._asked.refused()
        if self._ticket is not None:
            self._ticket.refuses()

    def first_byte(self) -> None:
        """The response's headers are there."""
        self._asked.first_byte()
        if self._ticket is not None:
            self._ticket.first_byte()

    def reported(self, usage: Usage | None, cost_usd: float | None) -> None:
        """What the provider had told when it was cut short."""
        self._asked.tells(usage, cost_usd)

    def rate(self, rate: Rate) -> None:
        """The provider has said how many requests more it takes."""
        if self._ticket is not None:
            self._ticket.rate(rate.remaining, rate.resets_in)

    def alive(self) -> None:
        """Something came that is no token."""
        if self.has_spoken:
            self._outlet.alive()
        else:
            self.silence.alive()

    async def text(
        self,
        *contents: str,
        more: bool = False,
        step: Step = no_step,
        came_at: float | None = None,
    ) -> None:
        """Win with the first text of the answer itself, and hand it on; hold white space back."""
        if not self.has_spoken:
            if not any(map(str.strip, contents)) and self._may_hold(contents):
                await self._hold(True, contents)
                return
            await self.win()
        await self._outlet.text(*contents, more=more, step=step, came_at=came_at)

    def has_room(self) -> bool:
        """Whether the client has taken what was handed on."""
        return self._outlet.has_room()

    def text_nowait(self, contents: tuple[str, ...]) -> None:
        """Hand on pieces of the answer in a step."""
        self._outlet.text_nowait(contents)

    async def reasoning(self, content: str, *, more: bool = False) -> None:
        """Hold a piece of the thinking back until the answer has begun; hand it on after that."""
        if not self.has_spoken:
            if self._may_hold((content,)):
                await self._hold(False, (content,))
                return
            await self.win()
        await self._outlet.reasoning(content, more=more)

    # --- until it has won ---

    def is_told_of(self) -> None:
        """What is told of the model from here on is told of this one."""
        if self.request is not None:
            self._account.tells_of(self.request)
        if self.candidate is not self._own:
            self._account.answered_by = self.candidate.asked

    @property
    def is_asking(self) -> bool:
        """Whether the request that was made last may have an answer yet."""
        return self.request is not None and not self.request.is_settled

    @property
    def _asked(self) -> Request:
        if self.request is None:
            raise RuntimeError("nobody has been asked")
        return self.request

    def _may_hold(self, contents: tuple[str, ...]) -> bool:
        return self._held_size + sum(map(len, contents)) <= HELD_CHARACTERS

    async def _hold(self, is_text: bool, contents: tuple[str, ...]) -> None:
        characters = sum(map(len, contents))
        self._held += [(is_text, content) for content in contents]
        self._held_size += characters
        self._asked.holds(*((characters, 0) if is_text else (0, characters)))
        self.silence.resume(trio.current_time())
        self._account.on_spent()
        await trio.lowlevel.checkpoint()

    async def win(self) -> None:
        """Be the one whose answer is handed on, beginning with what was held back."""
        if self.scope.cancel_called or self.silence.has_lapsed:
            await trio.sleep_forever()  # it is too late, and its cancellation is on the way
        self.has_spoken = True
        self.silence.waits()  # the model's own clocks go on from here
        self._wins(self)
        self.is_told_of()
        if self.candidate is not self._own:
            event = fallback_event(self._account.name, self.candidate, self._because)
            self._outbox.tell_ahead(event)
        self._asked.lets_go()
        self._outlet.begin(self._held)
        self._held = []
