"""One process's figures, as they are at this moment."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import trio
from prometheus_client import ProcessCollector

from service import __version__, log
from service.metrics.family import Family
from service.metrics.names import METRICS, family
from service.providers.roster import Roster
from service.shared import Shared

__all__ = ["collected"]

CHAT = "chat"
"""The conventions' word for what is asked of the models."""

_process = ProcessCollector(registry=None)


class _Families(dict[str, Family]):
    """All metrics by name; those that nothing was counted for yet have no samples."""

    def __init__(self) -> None:
        super().__init__({name: family(name) for name in METRICS})

    def count(self, name: str, counts: Iterable[tuple[tuple[str, ...] | str, float]]) -> None:
        for labels, value in counts:
            self[name].set(value, *((labels,) if isinstance(labels, str) else labels))


def collected(shared: Shared) -> list[Family]:
    """What has been counted, and what runs now; takes no waiting."""
    families = _Families()
    for collect in _PARTS:
        collect(families, shared)
    return list(families.values())


def _of_operations(families: _Families, shared: Shared) -> None:
    for (provider, model), answers in shared.meter.operations.items():
        labels = (CHAT, provider, model)
        for error, seconds in answers.seconds.items():
            families["gen_ai_client_operation_duration_seconds"].set_histogram(
                seconds, *labels, error
            )
        for part, histogram in (
            ("time_to_first_chunk_seconds", answers.first_chunk),
            ("time_per_output_chunk_seconds", answers.per_chunk),
        ):
            families[f"gen_ai_client_operation_{part}"].set_histogram(histogram, *labels)
        usage = families["gen_ai_client_token_usage"]
        usage.set_histogram(answers.input_tokens, *labels, "input")
        usage.set_histogram(answers.output_tokens, *labels, "output")


def _of_comparisons(families: _Families, shared: Shared) -> None:
    meter, admission = shared.meter, shared.admission
    families["compare_comparisons_running"].set(admission.running)
    families["compare_comparisons_limit"].set(admission.limit)
    families.count("compare_comparisons_ended", meter.comparisons.items())
    families.count("compare_requests_refused", meter.refusals.items())
    since = admission.draining_since
    families["compare_draining_seconds"].set(0 if since is None else trio.current_time() - since)
    families["compare_draining_limit_seconds"].set(shared.settings.server.drain)


def _of_models(families: _Families, shared: Shared) -> None:
    meter = shared.meter
    families.count("compare_models_running", _each(shared, meter.running()))
    families.count("compare_models_ended", meter.models.items())
    families.count("compare_chunks", _each(shared, meter.chunks()))
    for (provider, direction, estimated), tokens in meter.tokens.items():
        families["compare_tokens"].set(tokens, provider, direction, _truth(estimated))
    for (provider, estimated), cost_usd in meter.cost_usd.items():
        families["compare_cost_usd"].set(cost_usd, provider, _truth(estimated))


def _each(shared: Shared, counts: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    """Providers that nobody has asked are there with 0: of what is missing there is no increase."""
    return {**dict.fromkeys(shared.settings.providers, 0), **counts}.items()


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _of_providers(families: _Families, shared: Shared) -> None:
    families.count("compare_provider_requests", _each(shared, shared.meter.requests()))
    waiting, running = Counter[str](), Counter[str]()
    counted = set()
    for generation in shared.generations:  # in older ones some wait, and some run, to their end
        ceilings = generation.settings.ceilings()
        for provider in generation.settings.providers:
            limiter = generation.limiters.of(provider)
            waiting[provider] += 0
            if limiter is not None and id(limiter) not in counted:
                counted.add(id(limiter))  # generations share that of a provider at one address
                waiting[provider] += limiter.waiting
                running[provider] += limiter.running
            if limiter is not None:
                families["compare_limiter_limit"].set(ceilings[provider], provider)
                families["compare_limiter_ceiling"].set(limiter.limit, provider)
    families.count("compare_models_queued", waiting.items())
    families.count("compare_limiter_running", running.items())
    for provider, waits in shared.meter.waits.items():
        families["compare_limiter_wait_seconds"].set_histogram(waits, provider)
    connections: Counter[tuple[str, str]] = Counter()
    for generation in shared.generations:
        roster: Roster | None = getattr(generation, "roster", None)  # none before it is open
        for provider, (busy, idle) in roster.connections().items() if roster else ():
            connections[provider, "busy"] += busy
            connections[provider, "idle"] += idle
    families.count("compare_provider_connections", connections.items())


def _of_the_stream(families: _Families, shared: Shared) -> None:
    meter = shared.meter
    families["compare_stream_bytes"].set(meter.stream_bytes)
    families["compare_added_seconds"].set_histogram(meter.added)
    families["compare_pulse_interval_seconds"].set(shared.pulse.interval)
    families["compare_heartbeats"].set(meter.heartbeats)


def _of_the_edge(families: _Families, shared: Shared) -> None:
    meter = shared.meter
    families["compare_connections_open"].set(meter.connections)
    families.count("compare_clients_cut", meter.cuts.items())
    families["compare_connection_faults"].set(meter.faults)


def _of_the_process(families: _Families, shared: Shared) -> None:
    families["compare_scheduler_lag_seconds"].set_histogram(shared.meter.lag)
    families["compare_log_lines_lost"].set(log.lost_lines())
    families["compare_tasks"].set(trio.lowlevel.current_statistics().tasks_living)
    families.count("compare_settings_readings", shared.meter.readings.items())
    families["compare_settings_generations"].set(len(shared.generations))
    families["compare_workers"].set(1)
    families["compare_build_info"].set(1, __version__, platform.python_version())
    for metric in _process.collect():
        if metric.name in families:
            families[metric.name].set(metric.samples[0].value)


_PARTS: tuple[Callable[[_Families, Shared], None], ...] = (
    _of_operations,
    _of_comparisons,
    _of_models,
    _of_providers,
    _of_the_stream,
    _of_the_edge,
    _of_the_process,
)
