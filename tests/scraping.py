"""What a process shows at `/metrics`, read as Prometheus reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from service.metrics.collecting import collected
from service.metrics.family import Family
from service.shared import Shared

__all__ = ["Figures", "figures_of", "read"]


class Figures(dict[str, dict[tuple[tuple[str, str], ...], float]]):
    """Values by sample name and labels."""

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels, whatever others they have."""
        wanted = set(labels.items())
        return sum(value for found, value in self.get(name, {}).items() if wanted <= set(found))

    def buckets(self, name: str, **labels: str) -> dict[str, int]:
        """The buckets of a histogram by `le`, each without those below it, if not empty."""
        wanted = set(labels.items())
        found: Counter[str] = Counter()
        for known, value in self.get(f"{name}_bucket", {}).items():
            if wanted <= set(known):
                found[dict(known)["le"]] += int(value)
        own, below = {}, 0
        for le in sorted(found, key=float):
            if found[le] > below:
                own[le] = found[le] - below
            below = found[le]
        return own


def read(text: str) -> Figures:
    """The samples of an exposition."""
    figures = Figures()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in figures.setdefault(sample.name, {}), "a sample comes once"
            figures[sample.name][labels] = sample.value
    return figures


def figures_of(app: object) -> Figures:
    """The same of an application in this process, without a request."""
    shared = Shared.of(app)
    assert shared is not None
    return as_read(collected(shared))


def as_read(families: Iterable[Family]) -> Figures:
    """Families as they will be read."""
    figures = Figures()
    for family in families:
        for suffix, labels, value in family.points():
            key = tuple(sorted(labels.items()))
            figures.setdefault(f"{family.name}{suffix}", {})[key] = value
    return figures
