"""Every setting in words, out of the types that are its truth: what it takes, its default, why.

Two things are made of this: the tables of docs/settings.md, and `compare-stream settings`. A new
field, or a new table, is in both as soon as it has its `About`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import fields

from service.settings.about import About
from service.settings.provider import ProviderSettings
from service.settings.values import Settings

__all__ = ["TOP", "Setting", "markdown", "settings_by_table", "shown"]

TOP = ""
"""What stands before any table."""
PROVIDER = "providers.<name>"
NOT_SETTINGS = {"keys"}
"""Fields of `Settings` that no file may hold."""

Sections = dict[str, type[Struct]]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what an operator is told about it."""

    table: str
    name: str
    default: Any
    """NODEFAULT where it must be given."""
    takes: str
    about: About

    @property
    def default_shown(self) -> str:
        """The default, or what it depends on."""
        return self.about.default or shown(self.default)


def settings_by_table() -> dict[str, list[Setting]]:
    """All settings by their table's name, in the order of the types; `TOP` first.

    Raises `TypeError` for a field that has no `About`: it could not be told of.
    """
    top: list[Setting] = []
    found = {TOP: top}
    hints = get_type_hints(Settings, include_extras=True)
    for field in dataclasses.fields(Settings):
        hint = hints[field.name]
        if field.name in NOT_SETTINGS:
            continue
        if field.name == "providers":
            found[PROVIDER] = _of(PROVIDER, ProviderSettings)
        elif isinstance(hint, type) and issubclass(hint, Struct):
            found[field.name] = _of(field.name, hint)
        else:
            top.append(_setting(TOP, field.name, hint, field.default))
    return found


def _of(table: str, section: type[Struct]) -> list[Setting]:
    hints = get_type_hints(section, include_extras=True)
    return [
        _setting(
            table,
            field.name,
            hints[field.name],
            field.default if field.default_factory is NODEFAULT else field.default_factory(),
        )
        for field in fields(section)
    ]


def _setting(table: str, name: str, hint: Any, default: Any) -> Setting:
    metadata = getattr(hint, "__metadata__", ())
    abouts = [fact for fact in metadata if isinstance(fact, About)]
    if not abouts:
        raise TypeError(f"{table or 'Settings'}.{name} has no About: its unit and its reason")
    [about] = abouts
    return Setting(table, name, default, about.takes or _takes(hint), about)


def _takes(hint: Any) -> str:
    """A type and its bounds, in words."""
    bounds = ""
    if get_origin(hint) is Annotated:
        bounds = "".join(_bounds(fact) for fact in hint.__metadata__ if isinstance(fact, Meta))
        hint = hint.__origin__
    if get_origin(hint) in (Union, UnionType):
        [hint] = [part for part in get_args(hint) if part is not NoneType]
        return _takes(hint) + bounds
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(hint))
    words = {int: "whole number", float: "number", str: "text", tuple: "list", dict: "table"}
    return words[get_origin(hint) or hint] + bounds


def _bounds(meta: Meta) -> str:
    limits = {"from": meta.ge, "above": meta.gt, "to": meta.le, "below": meta.lt}
    return "".join(f" {word} {shown(n)}" for word, n in limits.items() if n is not None)


def shown(value: Any) -> str:
    """A value as an operator writes it; `none` for what is empty."""
    if value is NODEFAULT:
        return "required"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if value is None or (isinstance(value, (tuple, list, Mapping, str)) and not value):
        return "none"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)


def markdown(settings: list[Setting]) -> str:
    """A table of docs/settings.md."""
    head = "| name | default | takes | unit | reason |\n|---|---|---|---|---|\n"
    return head + "".join(map(_row, settings))


def _row(setting: Setting) -> str:
    default = setting.default_shown
    if not setting.about.default and default not in ("none", "required"):
        default = f"`{default}`"
    only = f"`{setting.about.only}` only: " if setting.about.only else ""
    cells = [
        *(f"`{setting.name}`", default, setting.takes, setting.about.unit),
        only + setting.about.reason,
    ]
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")
