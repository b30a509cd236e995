"""One metric with its samples, as one process counts it, and the sum over several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from prometheus_client.utils import floatToGoString

from service.histogram import Histogram

__all__ = ["Family", "Kind", "Merge", "merged"]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Merge: TypeAlias = Literal["sum", "max", "min"]
"""What several processes make together."""

LabelValues: TypeAlias = tuple[str, ...]

_MERGES: Mapping[str, Callable[[float, float], float]] = {
    "sum": lambda one, other: one + other,
    "max": max,
    "min": min,
}


class Family(Struct):
    """A metric with its values by those of its labels.

    A histogram is held as it is counted and becomes lines in `points` only: of a hundred models
    these are tens of thousands, which must not be made where answers wait for it.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = "sum"
    values: dict[LabelValues, float] = {}
    bounds: tuple[float, ...] = ()
    histograms: dict[LabelValues, tuple[list[int], float]] = {}
    """Counts between the bounds, not added up, and the sum of what was counted."""

    def set(self, value: float, *labels: str) -> None:
        """This is the value for these labels."""
        self.values[labels] = value

    def set_histogram(self, histogram: Histogram, *labels: str) -> None:
        """These are the counts for these labels, as they are now."""
        self.bounds = tuple(histogram.bounds)
        self.histograms[labels] = (list(histogram.counts), histogram.sum)

    def points(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """What Prometheus reads: a suffix of the name, labels without empty ones, the value."""
        suffix = "_total" if self.kind == "counter" else ""
        for values, value in self.values.items():
            yield suffix, self._labelled(values), value
        bounds = [_le(bound) for bound in (*self.bounds, float("inf"))]
        for values, (counts, total) in self.histograms.items():
            labels = self._labelled(values)
            for le, count in zip(bounds, accumulate(counts), strict=True):
                yield "_bucket", {**labels, "le": le}, count
            yield "_count", labels, sum(counts)
            yield "_sum", labels, total

    def add(self, other: Family) -> None:
        """Make of both what they are together; histograms of other bounds are left out."""
        merge = _MERGES[self.merge]
        for labels, value in other.values.items():
            mine = self.values.get(labels)
            self.values[labels] = value if mine is None else merge(mine, value)
        self.bounds = self.bounds or other.bounds
        if other.bounds != self.bounds:
            return
        for labels, (counts, total) in other.histograms.items():
            known = self.histograms.get(labels)
            if known is not None:
                counts = [one + more for one, more in zip(known[0], counts, strict=True)]
                total += known[1]
            self.histograms[labels] = (counts, total)

    def _labelled(self, values: LabelValues) -> dict[str, str]:
        return {name: text for name, text in zip(self.labels, values, strict=True) if text}


def merged(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """The families of several processes as one; the order is the first one's."""
    found: dict[str, Family] = {}
    for families in processes:
        for family in families:
            if family.name in found:
                found[family.name].add(family)
            else:
                found[family.name] = replace(
                    family, values=dict(family.values), histograms=dict(family.histograms)
                )
    return list(found.values())


def _le(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text
