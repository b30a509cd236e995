"""What the service says of itself at /metrics, in the text format of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Metrics", "parsed", "quantile"]

LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Metrics:
    """One scrape."""

    samples: Mapping[str, Mapping[frozenset[tuple[str, str]], float]] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of a metric's samples with these labels; None when there is none of that name."""
        found = self.samples.get(name)
        if found is None:
            return None
        wanted = set(labels.items())
        return sum(value for held, value in found.items() if wanted <= held)

    def buckets(self, name: str) -> list[tuple[float, float]]:
        """A histogram's bounds with the counts up to them, over all labels."""
        counts: dict[float, float] = {}
        for labels, value in self.samples.get(f"{name}_bucket", {}).items():
            bound = float(dict(labels)["le"])
            counts[bound] = counts.get(bound, 0) + value
        return sorted(counts.items())

    @property
    def series(self) -> int:
        """How many samples there are: labels that grow with what clients send are a leak."""
        return sum(map(len, self.samples.values()))


def parsed(text: str) -> Metrics:
    """The samples of a page; comments and what is no sample are passed over."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for line in text.splitlines():
        if found := LINE.match(line):
            name, labels, value = found.groups()
            held = frozenset(LABEL.findall(labels or ""))
            samples.setdefault(name, {})[held] = float(value)
    return Metrics(samples)


def quantile(before: Metrics, after: Metrics, name: str, part: float) -> float | None:
    """A histogram's quantile between two scrapes, straight through its bucket; None without one."""
    earlier = dict(before.buckets(name))
    grown = [(bound, count - earlier.get(bound, 0)) for bound, count in after.buckets(name)]
    if not grown or grown[-1][1] <= 0:
        return None
    wanted = part * grown[-1][1]
    low, below = 0.0, 0.0
    for bound, count in grown:
        if count >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low
