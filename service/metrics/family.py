"""One metric with its samples, as one process counts it, and the sum over several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

from msgspec import Struct
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
    """A metric; of its samples each has a suffix of the name, and values for the labels.

    A histogram's buckets have one value more, their `le`.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = "sum"
    samples: dict[tuple[str, LabelValues], float] = {}

    def set(self, value: float, *labels: str) -> None:
        """This is the value for these labels."""
        self.samples["_total" if self.kind == "counter" else "", labels] = value

    def set_histogram(self, histogram: Histogram, *labels: str) -> None:
        """These are the counts for these labels."""
        count = 0
        for bound, more in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            count += more
            le = floatToGoString(bound)  # type: ignore[no-untyped-call]
            self.samples["_bucket", (*labels, le)] = count
        self.samples["_count", labels] = count
        self.samples["_sum", labels] = histogram.sum


def merged(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """The families of several processes as one; the order is the first one's."""
    found: dict[str, Family] = {}
    for families in processes:
        for family in families:
            known = found.get(family.name)
            if known is None:
                found[family.name] = Family(
                    family.name,
                    family.kind,
                    family.help,
                    family.labels,
                    family.merge,
                    dict(family.samples),
                )
                continue
            merge = _MERGES[known.merge]
            for key, value in family.samples.items():
                mine = known.samples.get(key)
                known.samples[key] = value if mine is None else merge(mine, value)
    return list(found.values())
