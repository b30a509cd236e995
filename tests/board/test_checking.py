"""The check of queries finds what would be an empty panel, or one that says something else."""

from __future__ import annotations

import pytest

from tests.board.checking import MistakeError, labels_of
from tests.board.known import SAMPLES
from tests.board.promql import parse

MISTAKES = {
    "compare_models_runing": "there is no",
    "rate(compare_chunks[5m])": "there is no",  # its samples have _total
    "rate(compare_added_seconds[5m])": "there is no",  # a histogram's have suffixes
    'compare_tasks{provider=~"$provider"}': "has no label provider",
    'rate(compare_models_ended_total{outcome="ended"}[5m])': "is never 'ended'",
    'rate(compare_models_ended_total{code=~"rate_limited|timeout"}[5m])': "is never 'timeout'",
    'rate(compare_requests_refused_total{code="full"}[5m])': "is never 'full'",
    'compare_models_running{provider="openai"}': "who says that it is there",
    "rate(compare_tasks[5m])": "is no counter",
    "rate(compare_chunks_total)": "samples over a time",
    "sum by (provider) (compare_chunks_total)": "only ever grows",
    "sum by (model) (rate(compare_chunks_total[5m]))": "are not all among",
    "histogram_quantile(0.9, sum(rate(compare_added_seconds_bucket[5m])))": "without le",
    "histogram_quantile(0.9, rate(compare_added_seconds_sum[5m]))": "without le",
    "compare_models_queued / compare_comparisons_running": "never the same",
    "sum by (provider) (compare_models_queued) > sum(compare_tasks)": "never the same",
    "compare_models_queued and on (code) compare_limiter_ceiling": "but left there is",
    "compare_models_queued / on (job) compare_limiter_ceiling * on (code) up": "but left there is",
    'label_replace(up, "a", "$1", "provider", "(.*)")': "is not among",
    "predict_linear(compare_tasks[5m], 60)": "is not known here",
}


@pytest.mark.parametrize("query", MISTAKES)
def test_a_query_that_can_mean_nothing_is_found(query: str) -> None:
    with pytest.raises(MistakeError, match=MISTAKES[query]):
        labels_of(query, SAMPLES)


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("sum(compare_tasks)", set()),
        ("compare_limiter_ceiling", {"job", "instance", "provider"}),
        (
            "histogram_quantile(0.9, sum by (job, le) (rate(compare_added_seconds_bucket[5m])))",
            {"job"},
        ),
        ("3600 * sum by (provider) (rate(compare_cost_usd_total[5m])) > 1", {"provider"}),
        ("compare_tasks > 1 and on (job) up", {"job", "instance"}),
        (
            "sum by (provider, state) (compare_provider_connections) / on (provider)"
            " group_left () sum by (provider) (compare_models_running)",
            {"provider", "state"},
        ),
        ("sum(rate(compare_chunks_total[5m])) or vector(0)", set()),
    ],
)
def test_a_query_that_can_mean_something_has_its_labels(query: str, labels: set[str]) -> None:
    assert labels_of(query, SAMPLES) == labels


@pytest.mark.parametrize(
    "query", ["sum(", "up up", "up{job}", "rate(up[5m]", "up offset 5m", "up{job=~'x'}", "{a='b'}"]
)
def test_what_the_reader_does_not_know_it_refuses(query: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(query)
