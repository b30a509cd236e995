"""The JSON answers of the routes: the types that are sent, and that the OpenAPI document shows."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from service.events import ErrorCode, Metadata
from service.providers.catalogue import CatalogueModel, SourceState

__all__ = [
    "Compared",
    "Greeting",
    "Health",
    "ModelStatistics",
    "ModelStats",
    "Models",
    "RateLimitStatus",
    "Ready",
    "Refused",
    "ShortModelStatistics",
    "Stopping",
]


class Refused(Struct, frozen=True):
    """A request that was not served."""

    detail: str
    """One sentence for a person."""
    code: str
    """One word for a program."""


class Compared(Struct, frozen=True):
    """All answers at once."""

    results: dict[str, str]
    """Each model's text; for a failed one what had come, then a line that begins `Error: `."""
    errors: dict[str, ErrorCode]
    """The failed models and why; no other model is named here."""
    metadata: Metadata


class Stopping(Struct, frozen=True):
    """What is being stopped; the stream of the comparison tells how each model ended."""

    comparison_id: str
    stopping: list[str]
    """The models that had not ended yet, as the events call them."""


class Models(Struct, frozen=True):
    """The models to choose from, as a list and grouped by who made them."""

    models: list[CatalogueModel]
    models_by_provider: dict[str, list[CatalogueModel]]
    sources: list[SourceState]
    """What is known of each provider's own list; those that are not asked for one are not here."""


class ModelStatistics(Struct, frozen=True):
    """One model's record since the process began."""

    success_count: int
    failure_count: int
    total_attempts: int
    success_rate: float
    """Per cent, one decimal."""
    last_error: str | None
    """When it last failed; ISO 8601."""
    last_success: str | None


class ShortModelStatistics(Struct, frozen=True):
    """The same under the names that another client reads."""

    success: int
    failure: int
    last_error: str | None
    last_success: str | None


class ModelStats(Struct, frozen=True):
    """Every model's record."""

    model_statistics: dict[str, ModelStatistics]
    model_stats: dict[str, ShortModelStatistics]


class RateLimitStatus(Struct, frozen=True, kw_only=True):
    """How much of today's allowance is used; the fingerprint's figures are null without one."""

    daily_usage: int
    daily_limit: int
    """Where nothing is limited, the largest number that every client can hold: 2147483647."""
    remaining_usage: int
    subscription_tier: Literal["anonymous"] = "anonymous"
    usage_reset_date: str
    """When the count begins anew; ISO 8601."""
    authenticated: bool = False
    """Whether the request came with a valid key."""
    ip_address: str
    fingerprint_usage: int | None
    fingerprint_remaining: int | None
    fingerprint_usage_count: int | None
    ip_usage_count: int


class Health(Struct, frozen=True):
    """The process answers."""

    status: Literal["healthy"] = "healthy"


class Ready(Struct, frozen=True):
    """The process takes comparisons."""

    status: Literal["ready"] = "ready"


class Greeting(Struct, frozen=True):
    """Who is there."""

    message: str
