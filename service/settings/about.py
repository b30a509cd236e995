"""What is said about a setting beside its type: its unit, and why its default is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

__all__ = ["About", "NotNegative", "PositiveInt", "Seconds"]

Seconds = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
PositiveInt = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, slots=True)
class About:
    """Stands in a setting's `Annotated`; the tables of docs/settings.md are made of it.

    Markdown, without `|`; its links are seen from `docs/`.
    """

    unit: str
    """What one of them is, or what the text names; empty where there is none."""
    reason: str
    """Why the default is what it is, and what another value does."""
    takes: str = ""
    """What it may be, where that is more than its type and bounds say."""
    default: str = ""
    """The default in words, where it depends on something."""
    only: str = ""
    """The dialect in which it has an effect; empty: in every one."""
