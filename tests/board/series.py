"""What the cases of the alerts are made of: labels, and the series of what happens evenly.

As promtool has them, a value every 15 s: `0+2x40` is 0 and forty steps of 2.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "BUILD",
    "CUT",
    "ENDED",
    "FAILED",
    "JOB",
    "MODELS",
    "OTHER",
    "OURS",
    "PROCESS",
    "PROVIDER",
    "WELL",
    "failures",
    "first_chunks",
    "lag",
    "waits",
]

OURS = 'job="compare-stream", instance="a:8000"'
OTHER = 'job="compare-stream", instance="b:8000"'
MODELS = f'compare_models_ended_total{{{OURS}, provider="p"'
WELL = f'{MODELS}, outcome="finished"}}'
CUT = f'compare_clients_cut_total{{{OURS}, reason="write_timeout"}}'
ENDED = f'compare_comparisons_ended_total{{{OURS}, outcome="complete"}}'
FAILED = f'compare_comparisons_ended_total{{{OURS}, outcome="failed"}}'
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
WAIT = "compare_limiter_wait_seconds"
LAG = "compare_scheduler_lag_seconds"
BUILD = f'compare_build_info{{{OURS}, version="1", python="3"}}'
PROVIDER = {"job": "compare-stream", "provider": "p"}
PROCESS = {"job": "compare-stream", "instance": "a:8000"}
JOB = {"job": "compare-stream"}


def histogram(name: str, labels: str, buckets: Mapping[str, str]) -> dict[str, str]:
    """The series of a histogram, the last bucket as its count too."""
    found = {f'{name}_bucket{{{labels}, le="{le}"}}': values for le, values in buckets.items()}
    return {**found, f"{name}_count{{{labels}}}": list(buckets.values())[-1]}


def failures(a_quarter: int, code: str, well: int = 9) -> dict[str, str]:
    """So many failures and so many whole answers every 15 s."""
    failed = f'{MODELS}, outcome="failed", code="{code}"}}'
    return {WELL: f"0+{well}x200", failed: f"0+{a_quarter}x200"}


def first_chunks(within_5: int, of: int) -> dict[str, str]:
    """So many of so many answers every 15 s begin within 5 s."""
    labels = f'{OURS}, gen_ai_operation_name="chat", gen_ai_provider_name="p"'
    labels += ', gen_ai_request_model="m"'
    return histogram(
        FIRST,
        labels,
        {"2.5": "0+0x200", "5.0": f"0+{within_5}x200", "7.5": f"0+{of}x200", "+Inf": f"0+{of}x200"},
    )


def waits(within_10: int, of: int) -> dict[str, str]:
    """So many of so many answers every 15 s have waited less than 10 s in line."""
    return histogram(
        WAIT,
        f'{OURS}, provider="p"',
        {"10.0": f"0+{within_10}x200", "30.0": f"0+{of}x200", "+Inf": f"0+{of}x200"},
    )


def lag(within: int) -> dict[str, str]:
    """Of 60 looks every 15 s so many found a task less than 0.1 s late."""
    return histogram(
        LAG,
        OURS,
        {"0.05": "0+1x200", "0.1": f"0+{within}x200", "0.25": "0+60x200", "+Inf": "0+60x200"},
    )
