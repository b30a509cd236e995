"""What was wrong: the first in full, all by number."""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["Findings"]

KEPT = 100
"""In full. Whoever breaks one answer in ten would fill the disk in a night otherwise."""
KINDS = 200
NUMBERS = re.compile(r"\d+|~[0-9a-f]{8}|'[^']*'")


class Findings:
    """All that was wrong so far."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.kinds: Counter[str] = Counter()
        """The same without their numbers, so that those of a kind are one."""

    def add(self, what: str) -> None:
        """Note it."""
        if len(self.first) < KEPT:
            self.first.append(what)
        kind = NUMBERS.sub("n", what)
        if kind in self.kinds or len(self.kinds) < KINDS:
            self.kinds[kind] += 1
        else:
            self.kinds["others"] += 1

    @property
    def count(self) -> int:
        """How many."""
        return self.kinds.total()
