"""How long we wait for a model, and the two clocks that watch it.

Silence (connecting, then the first token, then between tokens) blames the provider, so it stops
while a send to the client blocks: a slow reader is not the model's fault. The whole answer's
clock never stops: it is what frees the provider's socket when a client stalls for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import trio

from service.events import ErrorCode

__all__ = ["Patience", "Watch"]


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


class Watch:
    """The two cancel scopes around one model's answer; both start to run when this is made.

    The owner enters `whole` and `silence` around the provider's call, and asks `verdict` after
    it. Everything else is what the call reports.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._phase: Phase = "connect"
        self._stopped: ErrorCode | None = None
        now = trio.current_time()
        self.whole = trio.CancelScope(deadline=now + patience.total)
        self.silence = trio.CancelScope(deadline=now + patience.connect)

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
        self.silence.deadline = math.inf

    def resume(self) -> None:
        """The client took the token: from here the idle clock runs."""
        self._phase = "idle"
        self._listen(self._patience.idle)

    def stop(self, code: ErrorCode) -> None:
        """Cut the answer short for a reason that is no clock's."""
        self._stopped = code
        self.whole.cancel(code)

    def verdict(self) -> tuple[ErrorCode, float | None]:
        """What cut the answer short, and the seconds if it was a clock; ask only when one did."""
        if self._stopped is not None:
            return self._stopped, None
        if self.silence.cancelled_caught:
            match self._phase:
                case "connect":
                    return "connect_timeout", self._patience.connect
                case "first_token":
                    return "first_token_timeout", self._patience.first_token
                case "idle":
                    return "idle_timeout", self._patience.idle
        return "total_timeout", self._patience.total

    def _listen(self, seconds: float) -> None:
        self.silence.deadline = trio.current_time() + seconds
