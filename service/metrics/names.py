"""Every metric: its name, its kind, its labels, and what it means.

Those that begin with `gen_ai_client` are OpenTelemetry's semantic conventions for GenAI clients, as
Prometheus spells them; `process_` is what Prometheus' own clients report. Labels hold what the
settings name (providers), words of ours (codes, outcomes, reasons), and models that have answered;
nothing that a caller makes up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.metrics.family import Family, Kind, Merge

__all__ = ["METRICS", "Metric", "family"]

OPERATION = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


@dataclass(frozen=True, slots=True)
class Metric:
    """What stands behind a name."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = "sum"


METRICS: Mapping[str, Metric] = {
    # --- answers, by the conventions ---
    "gen_ai_client_operation_duration_seconds": Metric(
        "histogram",
        "How long an answer took, without its wait in our line.",
        (*OPERATION, "error_type"),
    ),
    "gen_ai_client_operation_time_to_first_chunk_seconds": Metric(
        "histogram", "Until its first text, without its wait in our line.", OPERATION
    ),
    "gen_ai_client_operation_time_per_output_chunk_seconds": Metric(
        "histogram", "Between one chunk and the next; 0 where they came together.", OPERATION
    ),
    "gen_ai_client_token_usage": Metric(
        "histogram",
        "Tokens of an answer, as its provider reported them.",
        (*OPERATION, "gen_ai_token_type"),
    ),
    # --- comparisons ---
    "compare_comparisons_running": Metric("gauge", "Comparisons that run."),
    "compare_comparisons_limit": Metric("gauge", "Those that may run (`max_comparisons`)."),
    "compare_comparisons_ended": Metric(
        "counter", "Comparisons that ended, by how they did.", ("outcome",)
    ),
    "compare_requests_refused": Metric(
        "counter", "Requests that were refused, by the code of the refusal.", ("code",)
    ),
    "compare_draining_seconds": Metric(
        "gauge", "Since when the process has been ending; 0 while it is not.", merge="max"
    ),
    "compare_draining_limit_seconds": Metric("gauge", "What that may take (`drain`).", merge="max"),
    # --- models ---
    "compare_models_running": Metric(
        "gauge", "Models that have begun and not ended, those in line included.", ("provider",)
    ),
    "compare_models_queued": Metric("gauge", "Of them, those that wait in line.", ("provider",)),
    "compare_models_ended": Metric(
        "counter", "Models that ended, by how they did.", ("provider", "outcome", "code")
    ),
    "compare_chunks": Metric(
        "counter", "Chunks of answers that readers have taken.", ("provider",)
    ),
    "compare_tokens": Metric(
        "counter",
        "Tokens of ended answers; estimated where the provider did not report them.",
        ("provider", "direction", "estimated"),
    ),
    "compare_cost_usd": Metric(
        "counter",
        "US dollars that ended answers cost, as far as prices are known.",
        ("provider", "estimated"),
    ),
    # --- providers ---
    "compare_provider_requests": Metric(
        "counter",
        "Requests that left for a provider, repeated ones included.",
        ("provider",),
    ),
    "compare_provider_connections": Metric(
        "gauge", "Connections to a provider, busy or idle.", ("provider", "state")
    ),
    "compare_limiter_ceiling": Metric(
        "gauge", "Requests that the provider is asked at once, as learned.", ("provider",)
    ),
    "compare_limiter_limit": Metric(
        "gauge", "The most that it may learn (`max_concurrency`).", ("provider",)
    ),
    "compare_limiter_running": Metric(
        "gauge", "Requests that hold one of these places.", ("provider",)
    ),
    "compare_limiter_wait_seconds": Metric(
        "histogram", "What ended answers had waited in line; 0 for most.", ("provider",)
    ),
    # --- the stream ---
    "compare_stream_bytes": Metric("counter", "Bytes of event streams handed to the server."),
    "compare_added_seconds": Metric(
        "histogram",
        "For each chunk, from reading it from its provider to handing it to the server.",
    ),
    "compare_pulse_interval_seconds": Metric(
        "gauge", "Between two beats at which chunks are looked for; 0: at once.", merge="max"
    ),
    "compare_heartbeats": Metric("counter", "Comments sent because nobody had said anything."),
    # --- the edge ---
    "compare_connections_open": Metric("gauge", "Connections of clients."),
    "compare_clients_cut": Metric(
        "counter", "Connections and streams of clients that we ended, by reason.", ("reason",)
    ),
    "compare_connection_faults": Metric(
        "counter", "Connections that a fault of our own ended; the log has its traceback."
    ),
    # --- the process ---
    "compare_scheduler_lag_seconds": Metric(
        "histogram", "How late a task woke up that was due, four times a second."
    ),
    "compare_tasks": Metric("gauge", "Trio's tasks."),
    "compare_log_lines_lost": Metric("counter", "Lines of the log that could not be written."),
    "compare_settings_readings": Metric(
        "counter",
        "Times that the settings were read again: put in force, or kept as they were.",
        ("outcome",),
    ),
    "compare_settings_generations": Metric(
        "gauge", "Readings of the settings under which somebody is served."
    ),
    "compare_workers": Metric("gauge", "Processes whose figures these are."),
    "compare_build_info": Metric(
        "gauge", "1, with the versions.", ("version", "python"), merge="max"
    ),
    "process_open_fds": Metric("gauge", "Open descriptors."),
    "process_max_fds": Metric("gauge", "Descriptors that may be open."),
    "process_resident_memory_bytes": Metric("gauge", "Resident memory."),
    "process_cpu_seconds": Metric("counter", "Processor time."),
    "process_start_time_seconds": Metric(
        "gauge", "When the process began, in seconds since 1970.", merge="min"
    ),
}
"""By name; of a counter without the `_total` of its samples."""


def family(name: str) -> Family:
    """The metric of this name, without samples."""
    metric = METRICS[name]
    return Family(name, metric.kind, metric.help, metric.labels, metric.merge)
