"""What is wrong with a query, as far as that can be known without data.

A query that asks for what is not there is no error to Prometheus: it answers with nothing, and a
board with an empty panel looks as calm as one with nothing to tell.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.board.known import TARGET, Sample, allowed
from tests.board.promql import (
    Aggregation,
    Call,
    Node,
    Number,
    Operation,
    Selector,
    Text,
    parse,
    walk,
)

__all__ = ["MistakeError", "labels_of"]

OF_COUNTERS = {"rate", "increase"}
OF_WINDOWS = OF_COUNTERS | {"changes"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


class MistakeError(Exception):
    """A query that can't mean what it says."""


def labels_of(
    query: str, samples: Mapping[str, Sample], *, raw_counters: bool = False
) -> frozenset[str]:
    """The labels of what a query answers; raises `MistakeError`.

    `raw_counters`: counters may stand without a rate, as where a rule adds some up for another.
    """
    return _Reading(samples, raw_counters).labels(parse(query))


class _Reading:
    def __init__(self, samples: Mapping[str, Sample], raw_counters: bool) -> None:
        self._samples = samples
        self._raw_counters = raw_counters

    def labels(self, node: Node) -> frozenset[str]:
        match node:
            case Number() | Text():
                return frozenset()
            case Selector():
                return self._selected(node)
            case Call():
                return self._called(node)
            case Aggregation():
                labels = self.labels(node.arguments[-1])
                _hold(labels.issuperset(node.by), f"{node.by} are not all among {set(labels)}")
                return labels if node.operator == "topk" else frozenset(node.by)
            case Operation():
                return self._combined(node)

    def _selected(self, node: Selector) -> frozenset[str]:
        sample = self._known(node)
        rated = node.window is not None
        _hold(
            rated or not sample.grows or self._raw_counters,
            f"{node.name} only ever grows: how much it has is an accident of the last restart",
        )
        for matcher in node.matchers:
            _hold(matcher.label in sample.labels, f"{node.name} has no label {matcher.label}")
            values = allowed(node.name, matcher.label)
            for value in matcher.values:
                if values is None:
                    own = matcher.label in TARGET and value == "compare-stream"
                    _hold(value.startswith("$") or own, f"{matcher}: who says that it is there?")
                else:
                    _hold(value in values, f"{node.name}: {matcher.label} is never {value!r}")
        return sample.labels

    def _known(self, node: Selector) -> Sample:
        _hold(node.name in self._samples, f"there is no {node.name}")
        return self._samples[node.name]

    def _called(self, node: Call) -> frozenset[str]:
        function, arguments = node.function, node.arguments
        if function in OF_WINDOWS:
            (over,) = arguments
            _hold(
                isinstance(over, Selector) and over.window is not None,
                f"{function} is one of samples over a time",
            )
            if isinstance(over, Selector) and function in OF_COUNTERS:
                _hold(self._known(over).grows, f"{over.name} is no counter: no {function} of it")
            return self.labels(over)
        if function == "histogram_quantile":
            labels = self.labels(arguments[1])
            _hold("le" in labels, f"without le no quantile: {set(labels)}")
            return labels - {"le"}
        if function == "label_replace":
            labels = self.labels(arguments[0])
            _, made, _, source, _ = (a.value if isinstance(a, Text) else "" for a in arguments)
            _hold(source in labels, f"{source} is not among {set(labels)}")
            return labels | {made}
        if function == "absent":
            (of,) = arguments
            self.labels(of)
            equals = (m.label for m in of.matchers) if isinstance(of, Selector) else ()
            return frozenset(equals)
        if function == "vector":
            return frozenset()
        raise MistakeError(f"{function} is not known here")

    def _combined(self, node: Operation) -> frozenset[str]:
        left, right = self.labels(node.left), self.labels(node.right)
        if _is_number(node.left):
            return right
        if _is_number(node.right):
            return left
        if node.operator == "or":
            return left & right  # one of both
        if node.on is None:
            _hold(left == right, f"never the same: {set(left)} and {set(right)}")
            return left
        _hold(left.issuperset(node.on), f"on {node.on}, but left there is {set(left)}")
        _hold(right.issuperset(node.on), f"on {node.on}, but right there is {set(right)}")
        if node.operator in ("and", "unless") or node.group == "group_left":
            return left
        _hold(left == right or node.group is not None, f"several of {set(left)} for one")
        return right if node.group == "group_right" else frozenset(node.on)


def _is_number(node: Node) -> bool:
    return not any(isinstance(each, Selector | Call) for each in walk(node))


def _hold(condition: bool, mistake: str) -> None:
    if not condition:
        raise MistakeError(mistake)
