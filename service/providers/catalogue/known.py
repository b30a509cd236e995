"""What is known of the models now. It answers at once, and asks nobody.

For each provider there is either its own list, fetched some time ago, or the built-in one. Its own
list stays in force, however old, until a newer one has come: stale is better than slow, and than
nothing. Only one thing an old list may not do: prove that a model does not exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

import trio

from service.pricing import FREE, Price
from service.providers.catalogue.built_in import built_in, list_price, simulated
from service.providers.catalogue.kinds import Source
from service.providers.catalogue.models import (
    CatalogueModel,
    ListedModel,
    Listing,
    SourceState,
    shown,
)

__all__ = ["Catalogue", "UnknownModelError"]

CLOSE_MATCHES = 3
LONGEST_COMPARED = 80
"""Characters; likeness is quadratic in the length, and whoever asks may ask often."""
MOST_COMPARED = 1000
"""Names, for the same reason."""


class UnknownModelError(LookupError):
    """No provider has this model; the message is one sentence for the caller."""


@dataclass(slots=True)
class _Fetched:
    """What came of asking one provider."""

    listing: Listing | None = None
    at: float = 0
    """Seconds by the Trio clock."""
    prices: Mapping[str, Price | None] | None = None
    error: str | None = None


class Catalogue:
    """The models of all configured providers.

    `simulated` says which provider's models are played by the simulator; `sources` are those that
    can be asked.
    """

    def __init__(
        self,
        providers: Iterable[str],
        default: str,
        *,
        simulated: Callable[[str], bool] = lambda _: False,
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        self._names = [default, *(name for name in providers if name != default)]
        self._default = default
        self._is_simulated = simulated
        self._sources = sources or {}
        self._fetched = {name: _Fetched() for name in self._sources}
        self._taken_over: set[str] = set()
        """Providers whose list another catalogue had fetched, as this one would have."""
        self._models: list[CatalogueModel] | None = None
        self.on_doubt: Callable[[str], None] = lambda _: None
        """Called with a provider's name when somebody asks for what its list does not have."""

    # --- what callers ask -----------------------------------------------------------------------

    def models(self) -> list[CatalogueModel]:
        """The models to choose from: the default provider's first, faults last."""
        if self._models is None:
            models = [model for name in self._names for model in self._models_of(name)]
            self._models = sorted(models, key=lambda model: not model.well_behaved)
        return self._models

    def states(self) -> list[SourceState]:
        """How much is known of each provider that can be asked."""
        return [self._state_of(name, fetched) for name, fetched in self._fetched.items()]

    def price(self, provider: str, model: str) -> Price | None:
        """What this provider asks for this model, by the name that it has there; None: not known.

        A price that the provider lists goes before one that is built in.
        """
        if self._is_simulated(provider):
            return FREE
        fetched = self._fetched.get(provider)
        if fetched is not None and fetched.prices is not None:
            price = fetched.prices.get(model)
            if price is not None:
                return price
        return list_price(self._known_as(provider), model)

    def refuse_unknown(self, provider: str, model: str, asked: str) -> None:
        """Raise `UnknownModelError` if it is sure that this provider has no such model.

        Sure is: its own list, fetched recently and whole, names everything that it has. Who is not
        in it has the list fetched anew, for it may be the news.
        """
        fetched = self._fetched.get(provider)
        if fetched is None or fetched.listing is None or model in fetched.listing.ids:
            return
        kind = self._sources[provider].kind
        if not kind.trusted_seconds or kind.has(fetched.listing, model):
            return
        self.on_doubt(provider)
        age = trio.current_time() - fetched.at
        if fetched.listing.complete and age <= kind.trusted_seconds:
            raise UnknownModelError(self._refusal(provider, model, asked, fetched.listing))

    def age(self, provider: str) -> float:
        """Seconds since a list was fetched that need not be fetched again; infinity: there is none.

        Only one that was taken over counts.
        """
        if provider not in self._taken_over:
            return math.inf
        return trio.current_time() - self._fetched[provider].at

    # --- what came of asking --------------------------------------------------------------------

    def take_over(self, older: Catalogue) -> None:
        """Go on with what another catalogue knew of the same providers.

        A provider is the same by its address. One that is asked with another key may list something
        else, and one that failed may have been mended: what was known stays, and it is asked again.
        """
        for name, source in self._sources.items():
            before = older._sources.get(name)
            if before is None or (before.kind, before.base_url) != (source.kind, source.base_url):
                continue
            known = replace(older._fetched[name])
            self._fetched[name] = known
            if before == source and known.listing is not None and known.error is None:
                self._taken_over.add(name)
        self._models = None

    def learn(self, provider: str, listing: Listing) -> None:
        """A provider's list has come."""
        self._fetched[provider] = _Fetched(
            listing=listing,
            at=trio.current_time(),
            prices={model.id: model.price for model in listing.models},
        )
        self._models = None

    def failed(self, provider: str, words: str) -> None:
        """It has not; what was known stays."""
        self._fetched[provider].error = words

    # --- how it is put together -----------------------------------------------------------------

    def _known_as(self, provider: str) -> str:
        """The name under which the built-in list has it."""
        source = self._sources.get(provider)
        if source is None or source.kind.name == "compatible":
            return provider
        return source.kind.name

    def _models_of(self, provider: str) -> list[CatalogueModel]:
        if self._is_simulated(provider):
            return simulated(provider)
        known = built_in(self._known_as(provider))
        fetched = self._fetched.get(provider)
        if fetched is None or fetched.listing is None:
            return [shown(m, self._qualified(provider, m.id), source="built-in") for m in known]
        return self._merged(provider, known, fetched.listing)

    def _merged(
        self, provider: str, known: Iterable[ListedModel], listing: Listing
    ) -> list[CatalogueModel]:
        """The provider's list in its order, but what the built-in one recommends comes first.

        Of that stays what the provider lists, and what its list may have left out.
        """
        listed = {model.id: model for model in listing.models}
        may_lack = not (listing.complete and self._sources[provider].kind.trusted_seconds)
        first = [model for model in known if model.id in listed or may_lack]
        ids = dict.fromkeys([model.id for model in first] + list(listed))
        built_ins = {model.id: model for model in first}
        return [
            shown(
                self._filled(provider, listed[id_], built_ins.get(id_))
                if id_ in listed
                else built_ins[id_],
                self._qualified(provider, id_),
                source="provider" if id_ in listed else "built-in",
            )
            for id_ in ids
        ]

    def _filled(self, provider: str, model: ListedModel, known: ListedModel | None) -> ListedModel:
        """A listed model with what is known besides of those that say little of themselves."""
        price = model.price or list_price(self._known_as(provider), model.id)
        if known is None:
            return replace(model, price=price)
        return replace(
            model,
            name=known.name if model.name == model.id else model.name,
            category=known.category,
            description=model.description or known.description,
            context_length=model.context_length or known.context_length,
            max_output_tokens=model.max_output_tokens or known.max_output_tokens,
            input_modalities=model.input_modalities or known.input_modalities,
            price=price,
        )

    def _qualified(self, provider: str, model: str) -> str:
        """What a request names: bare at the default provider, unless it would be taken amiss."""
        prefix, colon, _ = model.partition(":")
        is_bare = provider == self._default and not (colon and prefix in self._names)
        return model if is_bare else f"{provider}:{model}"

    def _state_of(self, provider: str, fetched: _Fetched) -> SourceState:
        listing = fetched.listing
        return SourceState(
            provider=provider,
            models=len(listing.models) if listing else 0,
            age_seconds=round(trio.current_time() - fetched.at, 1) if listing else None,
            complete=listing.complete if listing else False,
            error=fetched.error,
        )

    def _refusal(self, provider: str, model: str, asked: str, listing: Listing) -> str:
        names = [m.id for m in listing.models][:MOST_COMPARED]
        close = get_close_matches(model[:LONGEST_COMPARED], names, CLOSE_MATCHES)
        like = [repr(self._qualified(provider, name)) for name in close]
        hint = f"close to it: {', '.join(like)}" if like else "GET /models lists those it has"
        return f"The provider {provider} has no model {asked!r}; {hint}."
