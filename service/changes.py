"""What differs between two readings of the settings, by name and never by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, structs

from service.settings import Settings

__all__ = ["changes"]

SECTIONS = ("limits", "deadlines", "retries", "stream", "server", "catalogue")


def changes(before: Settings, after: Settings) -> list[str]:
    """The names of what differs, as the file has them; a provider's key is `keys.<provider>`.

    Of a table whose names are the operator's own (providers, callers' keys) each line has a name.
    """
    return list(_changes(before, after))


def _changes(before: Settings, after: Settings) -> Iterator[str]:
    if before.default_provider != after.default_provider:
        yield "default_provider"
    for section in SECTIONS:
        yield from _fields(section, getattr(before, section), getattr(after, section))
    for name in _names(before.providers, after.providers):
        old, new = before.providers.get(name), after.providers.get(name)
        if old is None or new is None:
            yield f"providers.{name}"
        else:
            yield from _fields(f"providers.{name}", old, new)
    for name in _names(before.keys, after.keys):
        if before.keys.get(name) != after.keys.get(name):
            yield f"keys.{name}"


def _fields(table: str, before: Struct, after: Struct) -> Iterator[str]:
    old, new = structs.asdict(before), structs.asdict(after)
    for name in old:
        if old[name] == new[name]:
            continue
        if isinstance(old[name], dict):
            own = _names(old[name], new[name])
            yield from (
                f"{table}.{name}.{key}" for key in own if old[name].get(key) != new[name].get(key)
            )
        else:
            yield f"{table}.{name}"


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys((*before, *after)))
