"""The roster: which provider answers for a model id, and under which name it knows the model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from service.pricing import Price
from service.providers import Provider
from service.providers.call import HTTPProvider
from service.providers.catalogue import (
    Catalogue,
    CatalogueModel,
    Keeper,
    Source,
    SourceState,
    UnknownModelError,
    source_of,
)
from service.providers.dialect import Dialect
from service.providers.dialects import dialect_for
from service.providers.openai import ChatCompletions
from service.settings import Settings
from service.simulator import open_simulator, temperament_for
from service.upstream import Client, open_client

__all__ = ["Roster", "UnknownModelError", "open_roster"]


class Roster:
    """The configured providers.

    `sources` are those that can be asked for their models, every `refresh` seconds (0: never).
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        default: str,
        clients: Mapping[str, Client] | None = None,
        *,
        sources: Sequence[tuple[Source, Client]] = (),
        refresh: float = 0,
    ) -> None:
        self._providers = providers
        self._default = default
        self._clients = clients or {}
        self._catalogue = Catalogue(
            providers,
            default,
            simulated=lambda name: providers[name].simulated,
            sources={source.provider: source for source, _ in sources},
        )
        self._keeper = Keeper(self._catalogue, sources, refresh)

    def find(self, model_id: str) -> tuple[Provider, str]:
        """Who answers for `model_id`, and the model's name there.

        `name:model` goes to the provider of that name. Anything else, colons or not, is a bare
        id and goes to the default provider. Raises `UnknownModelError`, where it is sure that
        nobody has the model.
        """
        name, colon, model = model_id.partition(":")
        if not (colon and name in self._providers):
            self._catalogue.refuse_unknown(self._default, model_id, model_id)
            return self._providers[self._default], model_id
        provider = self._providers[name]
        if provider.simulated:
            model = f"sim:{model}"
            if temperament_for(model) is None:
                raise UnknownModelError(
                    f"The simulator has no model {model_id!r}; GET /models and "
                    "`compare-stream models` list those it has."
                )
        elif not model:
            raise UnknownModelError(f"{model_id!r} names a provider, but no model of it.")
        else:
            self._catalogue.refuse_unknown(name, model, model_id)
        return provider, model

    def price(self, provider: str, model: str) -> Price | None:
        """What this provider asks for this model, by the name that it has there; None: not known.

        It answers at once and never raises.
        """
        return self._catalogue.price(provider, model)

    def catalogue(self) -> list[CatalogueModel]:
        """The models to choose from; those that misbehave on purpose come last.

        What is known now: it answers at once and asks nobody.
        """
        return self._catalogue.models()

    def listed(self) -> list[SourceState]:
        """How much is known of each provider's own list of models."""
        return self._catalogue.states()

    def connections(self) -> dict[str, tuple[int, int]]:
        """Connections that are busy and those that are idle, by provider, where that is known."""
        return {
            name: client.connections
            for name, client in self._clients.items()
            if client.connections is not None
        }

    def take_over(self, older: Roster) -> None:
        """Go on with what another roster's catalogue knew of the same providers."""
        self._catalogue.take_over(older._catalogue)

    async def keep_catalogue(self) -> None:
        """Fetch the providers' lists again and again, until it is cancelled."""
        await self._keeper.keep()

    async def fetch_catalogue(self) -> None:
        """Fetch every provider's list once, all at the same time; `listed` has what failed."""
        await self._keeper.ask_once()

    async def close_what_expires(self) -> None:
        """Close idle connections to providers when their time is over; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            for client in self._clients.values():
                nursery.start_soon(client.close_what_expires, name="idle connections")
            await trio.sleep_forever()


@asynccontextmanager
async def open_roster(settings: Settings) -> AsyncIterator[Roster]:
    """The providers of `settings`, each with a client of its own, the simulator running.

    When the context has been left, no connection and no task of theirs remains.
    """
    async with AsyncExitStack() as stack:
        providers: dict[str, Provider] = {}
        clients: dict[str, Client] = {}
        sources: list[tuple[Source, Client]] = []
        for name, chosen in settings.providers.items():
            key = settings.keys.get(name)
            if chosen.dialect == "simulated":
                simulator = await stack.enter_async_context(
                    open_simulator(seed=chosen.seed, speed=chosen.speed)
                )
                dialect: Dialect = ChatCompletions(simulator.base_url, flavour="openrouter")
            else:
                dialect = dialect_for(chosen, key)
            client = await stack.enter_async_context(
                open_client(transport=chosen.transport, proxy=chosen.proxy)
            )
            clients[name] = client
            if (source := source_of(name, chosen, key)) is not None:
                sources.append((source, client))
            providers[name] = HTTPProvider(
                name, dialect, client, secret=key, simulated=chosen.dialect == "simulated"
            )
        yield Roster(
            providers,
            settings.default_provider,
            clients,
            sources=sources,
            refresh=settings.catalogue.refresh,
        )
