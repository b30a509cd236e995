"""The settings as one value, and the error for those that can't be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from service.settings.about import About
from service.settings.provider import MOST_AT_ONCE, SIMULATOR, ProviderSettings
from service.settings.sections import (
    CatalogueSettings,
    Deadlines,
    Limits,
    Retries,
    Server,
    Stream,
)

__all__ = [
    "SIMULATOR",
    "CatalogueSettings",
    "Deadlines",
    "Limits",
    "ProviderSettings",
    "Retries",
    "Server",
    "Settings",
    "SettingsError",
    "Stream",
]


class SettingsError(Exception):
    """The service can't start with these settings; the message is one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator may choose."""

    default_provider: Annotated[
        str,
        About(
            "name of a provider",
            "who gets the ids that name no provider; at the top of the file, before any table",
            default="`openrouter`, if there is such a provider, else `sim`",
        ),
    ] = SIMULATOR
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    retries: Retries = field(default_factory=Retries)
    stream: Stream = field(default_factory=Stream)
    server: Server = field(default_factory=Server)
    catalogue: CatalogueSettings = field(default_factory=lambda: CatalogueSettings(refresh=0))
    """What a program makes for itself asks nobody unless it says so; what `load` reads does."""
    providers: Mapping[str, ProviderSettings] = field(
        default_factory=lambda: {SIMULATOR: ProviderSettings(dialect="simulated")}
    )
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Each provider's key, where it has one."""

    def ceilings(self) -> dict[str, int]:
        """The most requests at once, of each provider that has a limit."""
        return {
            name: provider.max_concurrency or MOST_AT_ONCE
            for name, provider in self.providers.items()
            if provider.max_concurrency is not None or provider.dialect != "simulated"
        }
