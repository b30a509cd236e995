"""What all requests of one process share, and the task that holds it open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from service.admission import Admission
from service.allowance import Allowance
from service.formatting import Formatter
from service.limiter import Limiters
from service.meter import Meter
from service.progress import Experience
from service.providers.roster import Roster, open_roster
from service.pulse import Pulse
from service.settings import Settings
from service.tally import Tally
from service.tracing import OFF, Tracing, open_tracing

__all__ = ["OpenRoster", "Shared"]

EXTENSION = "compare-stream"
"""Where an application keeps it among its extensions."""

OpenRoster = Callable[[Settings], AbstractAsyncContextManager[Roster]]


class Shared:
    """One process's settings, providers and counts.

    `roster` is there while `hold_open` runs, which is as long as requests are served.
    """

    roster: Roster

    def __init__(self, settings: Settings, open_roster: OpenRoster = open_roster) -> None:
        self._open_roster = open_roster
        self._serving = trio.CancelScope()
        self.settings = settings
        self.tracing: Tracing = OFF
        self.patience = settings.deadlines.patience()
        self.persistence = settings.retries.persistence()
        self.limiters = Limiters(settings.ceilings())
        self.pulse = Pulse(settings.stream.flush_ms / 1000)
        self.tally = Tally()
        self.meter = Meter()
        self.experience = Experience()
        self.allowance = Allowance(settings.limits.daily_model_responses)
        self.formatter = Formatter()
        self.admission = Admission(settings.limits.max_comparisons)

    @staticmethod
    def of(app: Any) -> Shared | None:
        """What the requests of this application share; None if it is not one of ours."""
        return getattr(app, "extensions", {}).get(EXTENSION)

    def attach_to(self, app: Any) -> None:
        """Let the server that runs this application find it."""
        app.extensions[EXTENSION] = self

    async def hold_open(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open the providers, report that they are there, and keep them until `close`."""
        with trio.CancelScope() as self._serving:
            async with (
                open_tracing() as self.tracing,
                self._open_roster(self.settings) as self.roster,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self.roster.close_what_expires)
                nursery.start_soon(self.roster.keep_catalogue, name="catalogue")
                nursery.start_soon(self.pulse.beat, name="pulse")
                task_status.started()
                await trio.sleep_forever()

    def close(self) -> None:
        """Let `hold_open` close the providers and end."""
        self._serving.cancel("serving has ended")
