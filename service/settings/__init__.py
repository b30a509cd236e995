"""What an operator may choose; frozen, and read again as a whole.

A TOML file (`--config` or `COMPARE_CONFIG`) over defaults, keys from the environment only. Every
refusal is one line that names the file, the key, and what was expected.
"""

from service.settings.describing import Setting, markdown, settings_by_table, shown
from service.settings.effect import InEffect, in_effect
from service.settings.reading import Source, find, load, settle
from service.settings.values import (
    SIMULATOR,
    CatalogueSettings,
    Deadlines,
    Limits,
    ProviderSettings,
    Retries,
    Server,
    Settings,
    SettingsError,
    Stream,
)

__all__ = [
    "SIMULATOR",
    "CatalogueSettings",
    "Deadlines",
    "InEffect",
    "Limits",
    "ProviderSettings",
    "Retries",
    "Server",
    "Setting",
    "Settings",
    "SettingsError",
    "Source",
    "Stream",
    "find",
    "in_effect",
    "load",
    "markdown",
    "settings_by_table",
    "settle",
    "shown",
]
