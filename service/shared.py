"""What all requests of one process share, and the task that holds it open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import trio

from service.admission import Admission
from service.allowance import Allowance
from service.formatting import Formatter
from service.generation import Asgi, Generation, OpenRoster
from service.limiter import Limiters
from service.meter import Meter
from service.progress import Experience
from service.providers.roster import Roster, open_roster
from service.pulse import Pulse
from service.settings import Settings
from service.tally import Tally
from service.tracing import OFF, Tracing, open_tracing

__all__ = ["OpenRoster", "Shared", "Stopping"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

EXTENSION = "compare-stream"
"""Where an application keeps it among its extensions."""


class Stopping(Exception):
    """The process is about to end, and opens nothing any more."""


async def _nothing(*_: object) -> None:
    """An application that answers nobody."""


class Shared:
    """One process's counts, and the settings that are in force.

    `make_app` gives the application behind the surface that some settings ask for. `reread` reads
    the settings anew, and raises `SettingsError`; it may block. None: they can't be.

    The `roster` is there while `hold_open` runs, which is as long as requests are served.
    """

    def __init__(
        self,
        settings: Settings,
        open_roster: OpenRoster = open_roster,
        *,
        make_app: Callable[[Settings, Admission], Asgi] = lambda *_: _nothing,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        self._open_roster = open_roster
        self._make_app = make_app
        self._serving = trio.CancelScope()
        self.tracing: Tracing = OFF
        self._opening = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self.reread = reread
        self.opened = trio.Event()
        """Whether the providers were there once."""
        self.admission = Admission(settings.limits.max_comparisons)
        app = make_app(settings, self.admission)
        self.in_force = Generation(settings, app, Limiters(settings.ceilings()))
        """What a request takes that begins now."""
        self.generations = [self.in_force]
        """Those whose providers are open, in the order in which they were made."""
        self.on_renewed: Callable[[Settings], None] = lambda _: None
        """Called in the step in which other settings are put in force."""
        self.pulse = Pulse(settings.stream.flush_ms / 1000)
        self.tally = Tally()
        self.meter = Meter()
        self.experience = Experience()
        self.allowance = Allowance(settings.limits.daily_model_responses)
        self.formatter = Formatter()

    @staticmethod
    def of(app: Any) -> Shared | None:
        """What the requests of this application share; None if it is not one of ours."""
        return getattr(app, "extensions", {}).get(EXTENSION)

    def attach_to(self, app: Any) -> None:
        """Let the server that runs this application find it."""
        app.extensions[EXTENSION] = self

    @property
    def settings(self) -> Settings:
        """Those in force; a request has its own, see `Generation.of`."""
        return self.in_force.settings

    @property
    def roster(self) -> Roster:
        """The providers in force."""
        return self.in_force.roster

    @property
    def limiters(self) -> Limiters:
        """Those in force; the same for as long as a provider is the same."""
        return self.in_force.limiters

    async def hold_open(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open the providers, report that they are there, and keep them until `close`."""
        with trio.CancelScope() as self._serving:
            async with open_tracing() as self.tracing, trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    await self._open(self.in_force)
                    nursery.start_soon(self.pulse.beat, name="pulse")
                    self.opened.set()
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    # Before its end this waits for what is being opened, in whosever task.
                    self._nursery = None
                    self._opening.cancel("serving has ended")

    def close(self) -> None:
        """Let `hold_open` close the providers and end."""
        self._serving.cancel("serving has ended")

    async def open_next(self, settings: Settings) -> Generation:
        """Open what `settings` name, beside what is in force; a provider's limiter goes on.

        Raises what the opening does, and `Stopping`. Failing or cancelled it leaves nothing open,
        and nothing else changed.
        """
        limiters = Limiters(settings.ceilings(), kept=self._limiters_of_the_same(settings))
        generation = Generation(settings, self._make_app(settings, self.admission), limiters)
        await self._open(generation, before=self.in_force)
        return generation

    def put_in_force(self, generation: Generation) -> None:
        """Let every request that begins from now on have these settings; it takes one step."""
        settings = generation.settings
        before, self.in_force = self.in_force, generation
        before.retire()
        generation.limiters.allow()
        self.pulse.most = settings.stream.flush_ms / 1000
        self.allowance.daily_limit = settings.limits.daily_model_responses
        self.admission.limit = settings.limits.max_comparisons
        self.on_renewed(settings)

    async def _open(self, generation: Generation, before: Generation | None = None) -> None:
        if self._nursery is None:
            raise Stopping
        with trio.CancelScope() as self._opening:
            await self._nursery.start(partial(self._hold_open, generation, before))
            return
        raise Stopping

    async def _hold_open(  # noqa: ASYNC128  # the generation calls started
        self,
        generation: Generation,
        before: Generation | None,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        if generation not in self.generations:
            self.generations.append(generation)
        try:
            await generation.hold_open(self._open_roster, before, task_status=task_status)
        except Exception:
            if not generation.is_retired:
                raise
            log.exception("old providers failed")  # which must not end those in force
        finally:
            self.generations.remove(generation)

    def _limiters_of_the_same(self, settings: Settings) -> dict[str, Any]:
        """The limiters of providers that are the same in some generation; the newest one's."""
        return {
            name: limiter
            for generation in self.generations
            for name, provider in settings.providers.items()
            if generation.has_at_its_place(name, provider)
            and (limiter := generation.limiters.of(name)) is not None
        }
