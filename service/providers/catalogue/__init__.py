"""The models that there are to choose from: a built-in list, and what the providers say of theirs.

- `models` what is known of a model, and how callers are shown it;
- `built_in` the list that is there before anybody has been asked, and when nobody can be;
- `lists` one pure parser for each form in which providers list their models;
- `kinds` whose list has which form, where it is, and whether it can be trusted to be complete;
- `fetching` one list over HTTP, bounded in bytes, pages and entries;
- `known` what is known now, of all providers together: it answers at once and asks nobody;
- `keeping` the task that asks, again and again, in nobody's way.
"""

from service.providers.catalogue.built_in import built_in
from service.providers.catalogue.fetching import FETCH_SECONDS, fetch
from service.providers.catalogue.keeping import Keeper
from service.providers.catalogue.kinds import Kind, Source, source_of
from service.providers.catalogue.known import Catalogue, UnknownModelError
from service.providers.catalogue.models import (
    CatalogueModel,
    ListedModel,
    Listing,
    ModelPrice,
    SourceState,
)

__all__ = [
    "FETCH_SECONDS",
    "Catalogue",
    "CatalogueModel",
    "Keeper",
    "Kind",
    "ListedModel",
    "Listing",
    "ModelPrice",
    "Source",
    "SourceState",
    "UnknownModelError",
    "built_in",
    "fetch",
    "source_of",
]
