"""The task that asks the providers for their lists, again and again, in nobody's way.

One for each provider, so that one that hangs holds up no other. It asks at the start, then at the
chosen interval; after a failure sooner, and then at twice the distance each time, up to the
interval. Each wait is changed a little by chance, so that processes that began together do not
ask together for ever. Somebody who names a model that the list does not have wakes it early, but
not more often than once a minute: the model may be new, and it may be a mistyped one asked for a
thousand times.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from service.errors import ProviderError
from service.providers.catalogue.fetching import Getter, fetch_in_time
from service.providers.catalogue.kinds import Source
from service.providers.catalogue.known import Catalogue
from service.providers.catalogue.models import Listing

__all__ = ["Keeper"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FIRST_RETRY_SECONDS = 30.0
"""After one failure: what is only a restart is over by then."""
JITTER = 0.1
"""Of a wait, to either side."""
DOUBT_SECONDS = 60.0
"""Between two fetches at least, however often somebody asks for what is not there."""

Fetch = Callable[[Getter, Source], Awaitable[Listing]]


class Keeper:
    """Keeps a catalogue fresh.

    `refresh` is the interval in seconds; 0: nobody is ever asked. `chance` gives numbers from 0
    to 1.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sources: Sequence[tuple[Source, Getter]],
        refresh: float,
        *,
        fetch: Fetch = fetch_in_time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._catalogue = catalogue
        self._sources = sources
        self._refresh = refresh
        self._fetch = fetch
        self._chance = chance
        self._doubts: dict[str, trio.Event] = {}
        catalogue.on_doubt = self._wake

    async def keep(self) -> None:
        """Ask until it is cancelled; returns at once if there is nobody to ask."""
        if not self._refresh:
            return
        async with trio.open_nursery() as nursery:
            for source, client in self._sources:
                nursery.start_soon(
                    self._keep_one, source, client, name=f"catalogue of {source.provider}"
                )

    async def ask_once(self) -> None:
        """Ask everybody once, at the same time; what fails is in the catalogue's states."""
        async with trio.open_nursery() as nursery:
            for source, client in self._sources:
                nursery.start_soon(self._ask, source, client)

    def _wake(self, provider: str) -> None:
        if (doubt := self._doubts.get(provider)) is not None:
            doubt.set()

    async def _keep_one(self, source: Source, client: Getter) -> None:
        failures = 0
        rest = self._refresh - self._catalogue.age(source.provider)
        if rest > 0:
            await self._wait(source, rest)
        while True:
            error = await self._ask(source, client)
            if error is not None:
                # Once loudly; that it goes on is no news.
                (log.info if failures else log.warning)(
                    "catalogue not fetched",
                    provider=source.provider,
                    code=error.code,
                    **error.facts(),
                )
            failures = failures + 1 if error else 0
            await self._wait(source, self._pause(failures, error))

    async def _wait(self, source: Source, seconds: float) -> None:
        """So long, or until somebody doubts the list; then at least `DOUBT_SECONDS`."""
        asked_at = trio.current_time()
        self._doubts[source.provider] = trio.Event()
        with trio.move_on_after(seconds):
            await self._doubts[source.provider].wait()
            await trio.sleep_until(asked_at + DOUBT_SECONDS)

    def _pause(self, failures: int, error: ProviderError | None) -> float:
        seconds = self._refresh
        if error is not None:
            # The exponent has a bound, or it would be a number too large to be one.
            seconds = min(seconds, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20))
        seconds *= 1 + JITTER * (2 * self._chance() - 1)
        return max(seconds, (error.retry_after or 0) if error else 0)

    async def _ask(self, source: Source, client: Getter) -> ProviderError | None:
        """Ask one provider; what went wrong. Nothing but being cancelled is raised."""
        try:
            listing = await self._fetch(client, source)
        except ProviderError as error:
            failure = error
        except Exception:
            # A fault of ours in a list must not end the service, which can do without it.
            log.exception("catalogue failed", provider=source.provider)
            failure = ProviderError("internal_error", "The service could not read its list.")
        else:
            self._catalogue.learn(source.provider, listing)
            log.info(
                "catalogue fetched",
                provider=source.provider,
                models=len(listing.models),
                complete=listing.complete,
            )
            return None
        self._catalogue.failed(source.provider, str(failure))
        return failure
