"""The roster: which provider answers for a model id, and under which name it knows the model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from service.providers import CostOf, Provider, costs_nothing
from service.providers.call import HTTPProvider
from service.providers.catalogue import CatalogueModel, built_in
from service.providers.dialect import Dialect
from service.providers.dialects import dialect_for
from service.providers.openai import ChatCompletions
from service.settings import Settings
from service.simulator import open_simulator, temperament_for
from service.upstream import Client, open_client

__all__ = ["Roster", "UnknownModelError", "open_roster"]


class UnknownModelError(LookupError):
    """No provider has this model; the message is one sentence for the caller."""


class Roster:
    """The configured providers."""

    def __init__(
        self, providers: Mapping[str, Provider], default: str, clients: Sequence[Client] = ()
    ) -> None:
        self._providers = providers
        self._default = default
        self._clients = clients

    def find(self, model_id: str) -> tuple[Provider, str]:
        """Who answers for `model_id`, and the model's name there.

        `name:model` goes to the provider of that name. Anything else, colons or not, is a bare
        id and goes to the default provider. Raises `UnknownModelError`.
        """
        name, colon, model = model_id.partition(":")
        if not (colon and name in self._providers):
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
        return provider, model

    def cost_of(self, provider: Provider, model: str) -> CostOf | None:  # noqa: ARG002
        """What tokens of this model cost there; None: no price is known, as of any real one."""
        return costs_nothing if provider.simulated else None

    def catalogue(self) -> list[CatalogueModel]:
        """The models to choose from; those that misbehave on purpose come last."""
        return built_in(self._providers, self._default)

    async def close_what_expires(self) -> None:
        """Close idle connections to providers when their time is over; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(client.close_what_expires, name="idle connections")
            await trio.sleep_forever()


@asynccontextmanager
async def open_roster(settings: Settings) -> AsyncIterator[Roster]:
    """The providers of `settings`, each with a client of its own, the simulator running.

    When the context has been left, no connection and no task of theirs remains.
    """
    async with AsyncExitStack() as stack:
        providers: dict[str, Provider] = {}
        clients: list[Client] = []
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
            clients.append(client)
            providers[name] = HTTPProvider(
                name, dialect, client, secret=key, simulated=chosen.dialect == "simulated"
            )
        yield Roster(providers, settings.default_provider, clients)
