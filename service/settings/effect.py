"""What is in effect, and where it came from: the file, the environment, or nobody but us.

Keys are never part of it. Of a key one is told whether it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from service.settings.about import About
from service.settings.describing import TOP, Setting, settings_by_table
from service.settings.reading import Source
from service.settings.values import SIMULATOR, ProviderSettings, Settings

__all__ = ["InEffect", "Origin", "in_effect"]

Origin = Literal["file", "environment", "default"]
SET, NOT_SET = "set", "not set"
KEY = About("", "where it is, says `api_key_env`", takes="text", default="not set")


@dataclass(frozen=True, slots=True)
class InEffect:
    """A setting as it holds now."""

    name: str
    """With its table: `limits.max_models`."""
    value: Any
    origin: Origin
    setting: Setting


def in_effect(settings: Settings, source: Source) -> Iterator[InEffect]:
    """Every setting of `settings`, which were read from `source`, in the order of the file."""
    for table, of_table in settings_by_table().items():
        if table == TOP:
            yield from (_at_the_top(settings, source, setting) for setting in of_table)
        elif table.startswith("providers."):
            for name, provider in settings.providers.items():
                yield from _of_provider(name, provider, settings, source, of_table)
        else:
            said = source.tables.get(table, {})
            yield from _of_table(table, getattr(settings, table), said, of_table)


def _at_the_top(settings: Settings, source: Source, setting: Setting) -> InEffect:
    value = getattr(settings, setting.name)
    origin: Origin = "file" if setting.name in source.tables else "default"
    if origin == "default" and setting.name == "default_provider" and value != SIMULATOR:
        # A key makes OpenRouter appear, and with it another default.
        origin = "default" if value in source.tables.get("providers", {}) else "environment"
    return InEffect(setting.name, value, origin, setting)


def _of_table(
    table: str, section: Struct, said: Mapping[str, Any], settings: list[Setting]
) -> Iterator[InEffect]:
    for setting in settings:
        value = getattr(section, setting.name)
        if setting.name == "api_keys":
            value = dict.fromkeys(value, SET)
        origin: Origin = "file" if setting.name in said else "default"
        yield InEffect(f"{table}.{setting.name}", value, origin, setting)


def _of_provider(
    name: str,
    provider: ProviderSettings,
    settings: Settings,
    source: Source,
    of_table: list[Setting],
) -> Iterator[InEffect]:
    """What a provider's dialect has no use for is left out, unless the file says it."""
    table = f"providers.{name}"
    said = source.tables.get("providers", {}).get(name, {})
    is_from_environment = name != SIMULATOR and name not in source.tables.get("providers", {})
    for setting in of_table:
        if setting.about.only not in ("", provider.dialect) and setting.name not in said:
            continue
        value = getattr(provider, setting.name)
        origin: Origin = "file" if setting.name in said else "default"
        if is_from_environment and value != setting.default:
            origin = "environment"
        if setting.name == "proxy" and value is not None:
            value = _without_login(value)
        yield InEffect(f"{table}.{setting.name}", value, origin, setting)
    if provider.dialect != "simulated":
        is_set = name in settings.keys
        key = Setting(table, "key", NOT_SET, KEY.takes, KEY)
        yield InEffect(
            f"{table}.key",
            SET if is_set else NOT_SET,
            "environment" if is_set else "default",
            key,
        )


def _without_login(url: str) -> str:
    """A proxy's address without the name and the password that it may ask for."""
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    return url.replace(f"{login}@", "[hidden]@", 1) if at else url
