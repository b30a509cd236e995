"""What the board's queries have in common: whom they are about, and the ways to count."""

from __future__ import annotations

from tests.board.files import limit_of
from tests.board.grafana import Limits, Query, Variable

__all__ = [
    "ANSWERS",
    "EVERY",
    "FAILED",
    "PROVIDER",
    "VARIABLES",
    "WHOLE",
    "a_minute",
    "a_second",
    "limits",
    "quantile",
    "quantiles",
]

EVERY = 'job=~"$job", instance=~"$instance"'
"""The processes that are chosen at the top of the board."""
PROVIDER = f'{EVERY}, provider=~"$provider"'
ANSWERS = f'{EVERY}, gen_ai_provider_name=~"$provider", gen_ai_request_model=~"$model"'

_NOT_THE_PROVIDERS = "bad_request|content_filtered|model_not_found|server_shutdown"
"""Failures that are the question's own, or our stopping: as in alerts.yaml."""
WHOLE = f'{PROVIDER}, outcome!="cancelled", code!~"{_NOT_THE_PROVIDERS}"'
FAILED = f'{PROVIDER}, outcome="failed", code!~"{_NOT_THE_PROVIDERS}"'

ANYTHING = ".*"
"""Not each of a hundred models by its name, in every query. Of jobs it would be others' too."""
VARIABLES = (
    Variable("job", "Job", "label_values(compare_build_info, job)"),
    Variable("instance", "Address", 'label_values(compare_build_info{job=~"$job"}, instance)'),
    Variable(
        "provider",
        "Provider",
        'label_values(compare_provider_requests_total{job=~"$job"}, provider)',
        ANYTHING,
    ),
    Variable(
        "model",
        "Model",
        "label_values(gen_ai_client_operation_duration_seconds_count"
        '{job=~"$job", gen_ai_provider_name=~"$provider"}, gen_ai_request_model)',
        ANYTHING,
    ),
)

RECENT = "$__rate_interval"
"""As short as the interval between two scrapes allows, or as long as a point on the screen."""


def limits(alert: str, *, watch: float | None = None) -> Limits:
    """Red from where the alert fires, yellow from `watch` on."""
    red: Limits = [(limit_of(alert), "red")]
    return red if watch is None else [(watch, "yellow"), *red]


def a_second(sample: str, *by: str, window: str = RECENT) -> str:
    """How many a second of a counter, by these labels."""
    return f"sum{_by(*by)} (rate({sample}[{window}]))"


def a_minute(sample: str, *by: str) -> str:
    """How many a minute: what happens rarely reads better."""
    return f"60 * {a_second(sample, *by)}"


def quantile(q: float, histogram: str, of: str, *by: str, window: str = RECENT) -> str:
    """Below this value are so many of a histogram's, by these labels."""
    rate = f"rate({histogram}_bucket{{{of}}}[{window}])"
    return f"histogram_quantile({q}, sum{_by(*by, 'le')} ({rate}))"


def quantiles(
    histogram: str, of: str, *by: str, at: tuple[float, ...] = (0.5, 0.95, 0.99)
) -> list[Query]:
    """A line for each of them and each value of the labels."""
    whose = " ".join(f"{{{{{label}}}}}" for label in by)
    return [Query(quantile(q, histogram, of, *by), f"{whose} p{q * 100:g}".strip()) for q in at]


def _by(*labels: str) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
