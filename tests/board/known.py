"""What a query may ask for: the samples that there are, their labels, and what these may hold."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from service.events import ERROR_CODES
from service.meter.meter import CUTS, OUTCOMES
from service.metrics.names import METRICS
from tests.command import ROOT
from tests.markdown import section, tables

__all__ = ["SAMPLES", "TARGET", "Sample", "allowed"]

TARGET = frozenset({"job", "instance"})
"""The labels that Prometheus gives to everything that it scrapes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One name that a query may select."""

    labels: frozenset[str]
    grows: bool
    """Whether it is a counter, or counts as one: what a rate can be taken of."""


def _samples() -> dict[str, Sample]:
    found = {"up": Sample(TARGET, grows=False)}
    for name, metric in METRICS.items():
        labels = TARGET | set(metric.labels)
        if metric.kind == "histogram":
            found[f"{name}_bucket"] = Sample(labels | {"le"}, grows=True)
            found[f"{name}_count"] = found[f"{name}_sum"] = Sample(labels, grows=True)
        elif metric.kind == "counter":
            found[f"{name}_total"] = Sample(labels, grows=True)
        else:
            found[name] = Sample(labels, grows=False)
    return found


SAMPLES: Mapping[str, Sample] = _samples()


def _refusals() -> set[str]:
    """The codes of refusals; tests/test_docs.py holds that the contract names them all."""
    (rows,) = tables(section(ROOT / "docs" / "contract.md", "## Refusals"))
    return {row[1].strip("`") for row in rows}


CODES = ERROR_CODES | {""}
_VALUES: Mapping[tuple[str, str], Set[str]] = {
    ("compare_comparisons_ended_total", "outcome"): set(OUTCOMES),
    ("compare_models_ended_total", "outcome"): {"finished", "failed", "cancelled"},
    ("compare_models_ended_total", "code"): CODES,
    ("compare_requests_refused_total", "code"): _refusals(),
    ("compare_clients_cut_total", "reason"): set(CUTS),
    ("compare_tokens_total", "direction"): {"input", "output"},
    ("compare_tokens_total", "estimated"): {"true", "false"},
    ("compare_cost_usd_total", "estimated"): {"true", "false"},
    ("compare_provider_connections", "state"): {"busy", "idle"},
}
_VALUES_ANYWHERE: Mapping[str, Set[str]] = {
    "error_type": CODES,
    "gen_ai_operation_name": {"chat"},
    "gen_ai_token_type": {"input", "output"},
}


def allowed(sample: str, label: str) -> Set[str] | None:
    """What the label can be on this sample; None where the operator's words decide."""
    return _VALUES.get((sample, label), _VALUES_ANYWHERE.get(label))
