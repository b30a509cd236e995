"""What is known of a model: as its provider lists it, and as callers are shown it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from service.pricing import Price

__all__ = ["CatalogueModel", "ListedModel", "Listing", "ModelPrice", "SourceState", "shown"]

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """One model as its provider lists it; None: the list does not say."""

    id: str
    """The name under which its provider knows it."""
    name: str
    maker: str
    """Who made the model."""
    category: str = "Language"
    description: str = ""
    context_length: int | None = None
    """Tokens of question and answer together."""
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] | None = None
    supported_parameters: tuple[str, ...] | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What one provider said of its models."""

    models: tuple[ListedModel, ...]
    """Those that can answer a question in text, in the provider's order."""
    ids: frozenset[str]
    """Every name under which it may be asked for something, of models that do not chat too."""
    complete: bool = True
    """Whether nothing of it is missing: no page, and no entry that could not be read."""


class ModelPrice(Struct, frozen=True, kw_only=True):
    """What a provider asks for plain text, in US dollars; surcharges and discounts apart."""

    input: float
    """For a million tokens of the question."""
    output: float
    """For a million tokens of the answer, reasoning included."""
    request: float
    """For each request, besides."""


class CatalogueModel(Struct, frozen=True, kw_only=True):
    """One model to choose."""

    id: str
    """What a request names."""
    name: str
    description: str
    category: str
    provider: str
    """Who made the model, as front ends group them."""
    simulated: bool = False
    well_behaved: bool = True
    """False for the simulator's models that fail on purpose: no default choice holds one."""
    context_length: int | None = None
    """Tokens of question and answer together; null: not known."""
    max_output_tokens: int | None = None
    """The longest answer in tokens; null: not known."""
    input_modalities: list[str] | None = None
    """What it takes besides and including `text`, such as `image`; null: not known."""
    supported_parameters: list[str] | None = None
    """Parameters of a request that it takes, in the provider's words; null: not known."""
    price: ModelPrice | None = None
    """Null: not known, which is not the same as nothing."""
    source: Literal["built-in", "provider"] = "built-in"
    """Who says so: the list in this program, or the provider's own, fetched from it."""


class SourceState(Struct, frozen=True, kw_only=True):
    """How much of one provider's models is known, and since when."""

    provider: str
    """The name under which it is configured."""
    models: int
    """How many it listed when it was last asked; 0: never, so the built-in list stands in."""
    age_seconds: float | None
    """Since its list was fetched; null: never."""
    complete: bool
    """Whether nothing of the list was missing or unreadable."""
    error: str | None
    """Why the last attempt failed; null: it did not, or there was none."""


def shown(
    model: ListedModel, id_: str, *, source: Literal["built-in", "provider"]
) -> CatalogueModel:
    """A listed model as callers see it; `id_` is what a request names."""
    return CatalogueModel(
        id=id_,
        name=model.name,
        description=model.description,
        category=model.category,
        provider=model.maker,
        context_length=model.context_length,
        max_output_tokens=model.max_output_tokens,
        input_modalities=_listed(model.input_modalities),
        supported_parameters=_listed(model.supported_parameters),
        price=_per_million(model.price),
        source=source,
    )


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _per_million(price: Price | None) -> ModelPrice | None:
    if price is None:
        return None
    # Exact as a Decimal, and then the nearest float: 0.15, never 0.15000000000000002.
    return ModelPrice(
        input=float(price.input * MILLION),
        output=float(price.output * MILLION),
        request=float(price.request),
    )
