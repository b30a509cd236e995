"""What an operator may choose; frozen, read once.

A TOML file (`--config` or `COMPARE_CONFIG`) over defaults, keys from the environment only. Every
refusal is one line that names the file, the key, and what was expected.
"""

from service.settings.reading import load
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
    "Limits",
    "ProviderSettings",
    "Retries",
    "Server",
    "Settings",
    "SettingsError",
    "Stream",
    "load",
]
