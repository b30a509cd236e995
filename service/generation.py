"""What one reading of the settings has made, and whoever began under it.

A request takes the generation that is in force when it begins, and all of it: who is let in, the
limits, the clocks, the providers with their connections. It keeps that to its end, whatever is read
meanwhile. A generation that is no longer in force has its providers closed when the last of its
requests has ended, so there are never more of them than there are requests that run, and one.

    in force ── retire() ──► its lists are no longer fetched ── the last request ends ──► closed
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from service.limiter import Limiters
from service.providers.roster import Roster
from service.settings import ProviderSettings, Settings

__all__ = ["Asgi", "Generation", "OpenRoster"]

Scope = MutableMapping[str, Any]
Asgi = Callable[..., Awaitable[None]]
OpenRoster = Callable[[Settings], AbstractAsyncContextManager[Roster]]

KEY = "compare.generation"


class Generation:
    """One reading of the settings; `app` is the application behind the surface that they ask for.

    `roster` is there from when `hold_open` has reported.
    """

    roster: Roster

    def __init__(self, settings: Settings, app: Asgi, limiters: Limiters) -> None:
        self.settings = settings
        self.patience = settings.deadlines.patience()
        self.persistence = settings.retries.persistence()
        self.limiters = limiters
        self.requests = 0
        """Those that began under it and have not ended."""
        self._app = app
        self._retired = trio.Event()
        self._unused = trio.Event()

    @staticmethod
    def of(scope: Any) -> Generation:
        """The one under which the request with this ASGI scope began."""
        generation: Generation = scope[KEY]
        return generation

    @property
    def is_retired(self) -> bool:
        """Whether no request begins under it any more."""
        return self._retired.is_set()

    async def answer(self, scope: Scope, receive: Any, send: Any) -> None:
        """Have a request answered under these settings; they stay for as long as that takes."""
        scope[KEY] = self
        self.requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.requests -= 1
            self._look_whether_it_is_used()

    def retire(self) -> None:
        """Another one is in force: no request begins under this one any more."""
        self._retired.set()
        self._look_whether_it_is_used()

    async def hold_open(
        self,
        open_roster: OpenRoster,
        before: Generation | None = None,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Open the providers, report that they are there, keep them until nobody needs them.

        That is when it is retired and the last request has ended. What `before` knew of the same
        providers' models is known here, too. Raises what the opening does. When it has ended, for
        whatever reason, no connection and no task is left.
        """
        async with open_roster(self.settings) as self.roster, trio.open_nursery() as nursery:
            if before is not None:
                self.roster.take_over(before.roster)
            nursery.start_soon(self.roster.close_what_expires)
            async with trio.open_nursery() as in_force:
                in_force.start_soon(self.roster.keep_catalogue, name="catalogue")
                task_status.started()
                await self._retired.wait()
                in_force.cancel_scope.cancel("other settings are in force")
            await self._unused.wait()
            nursery.cancel_scope.cancel("the last request has ended")

    def has_at_its_place(self, name: str, provider: ProviderSettings) -> bool:
        """Whether the provider of this name is the same here: it has the same address."""
        known = self.settings.providers.get(name)
        return known is not None and (
            (known.dialect, known.base_url) == (provider.dialect, provider.base_url)
        )

    def _look_whether_it_is_used(self) -> None:
        if self._retired.is_set() and not self.requests:
            self._unused.set()
