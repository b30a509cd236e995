"""A sign of life for a reader who waits while all models are silent."""

from __future__ import annotations

import trio

from service.events import SILENCE
from service.fanin import Inbox, Outbox

__all__ = ["Heartbeat"]


class Heartbeat:
    """One of a comparison's clocks (`service.patience.Clock`).

    When the reader has waited for `seconds`, it finds `SILENCE`; while it is writing it needs none.
    """

    def __init__(self, seconds: float, inbox: Inbox, outbox: Outbox) -> None:
        self._seconds = seconds
        self._inbox = inbox
        self._outbox = outbox

    @property
    def due(self) -> float:
        """When it has waited so long; if it does not wait yet, that is not before then."""
        since = self._inbox.waits_since
        return (trio.current_time() if since is None else since) + self._seconds

    def run_out(self) -> None:
        """Say that there is nothing to say."""
        if self._inbox.waits_since is not None and self._outbox.is_free:
            self._outbox.put(SILENCE)
