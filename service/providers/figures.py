"""Figures as providers report them: tokens and dollars, or what only looks like them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

__all__ = ["MOST", "count", "is_figure"]

MOST = 2**53 - 1
"""Of tokens or dollars; a larger figure is nonsense, and JavaScript would not read it exactly."""


def count(figures: Mapping[str, Any], key: str) -> int:
    """How many there are of something; 0 when that is not said, or makes no sense."""
    value = figures.get(key)
    return int(value) if is_figure(value) else 0


def is_figure(value: object) -> TypeGuard[int | float]:
    """Whether it counts something: NaN, infinity and what is below zero do not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST
