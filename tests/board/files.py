"""The files under docs/operations that are held to the metrics, as they are read."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.board.checking import labels_of
from tests.board.known import SAMPLES, Sample
from tests.board.promql import Number, Operation, parse, walk
from tests.command import ROOT
from tests.tools import require_module

__all__ = [
    "ALERTS",
    "BOARD",
    "OPERATIONS",
    "SCRAPE",
    "Rule",
    "alerts",
    "board",
    "limit_of",
    "read_yaml",
    "recorded",
    "samples",
]

OPERATIONS = ROOT / "docs" / "operations"
BOARD = OPERATIONS / "grafana.json"
ALERTS = OPERATIONS / "alerts.yaml"
SCRAPE = OPERATIONS / "prometheus.yaml"

COUNTS = ":total"
"""The last part of a recorded name that may be taken for a counter's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A recorded figure or an alert."""

    name: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    wait: str
    """How long an alert holds before it fires."""

    def written(self) -> dict[str, object]:
        """An alert as its file has it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.wait,
            "labels": self.labels,
            "annotations": self.annotations,
        }

    @property
    def grows(self) -> bool:
        """Whether it is a sum of counters, and as such recorded."""
        return self.name.endswith(COUNTS)


def read_yaml(text: str) -> Any:
    """What a YAML file holds."""
    return require_module("yaml").safe_load(text)


@functools.cache
def _groups() -> Any:
    return read_yaml(ALERTS.read_text())["groups"]


def _rules(kind: str) -> Iterator[Rule]:
    for group in _groups():
        for rule in group["rules"]:
            if kind in rule:
                yield Rule(
                    rule[kind],
                    rule["expr"],
                    rule.get("labels", {}),
                    rule.get("annotations", {}),
                    rule.get("for", "0s"),
                )


def alerts() -> list[Rule]:
    """The alerts, in their order."""
    return list(_rules("alert"))


def recorded() -> list[Rule]:
    """What is recorded for them, in its order."""
    return list(_rules("record"))


@functools.cache
def samples() -> dict[str, Sample]:
    """All that a query may select: what is scraped, and what is recorded."""
    found = dict(SAMPLES)
    for rule in recorded():
        labels = labels_of(rule.expr, found, raw_counters=rule.grows)
        found[rule.name] = Sample(labels, grows=rule.grows)
    return found


def limit_of(alert: str) -> float:
    """The number that an alert compares with first."""
    (expr,) = (rule.expr for rule in alerts() if rule.name == alert)
    for node in walk(parse(expr)):
        match node:
            case Operation(">", _, Number(value)):
                return value
    raise ValueError(f"{alert} compares with no number")


def board() -> dict[str, Any]:
    """The board, as Grafana reads it."""
    found: dict[str, Any] = json.loads(BOARD.read_text())
    return found
