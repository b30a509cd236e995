"""When each alert fires, and when it does not.

Counts are those of one process unless it is about several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.board.series import (
    BUILD,
    CUT,
    ENDED,
    FAILED,
    JOB,
    MODELS,
    OTHER,
    OURS,
    PROCESS,
    PROVIDER,
    WELL,
    failures,
    first_chunks,
    lag,
    waits,
)

__all__ = ["CASES", "Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """At this moment of these series the alert fires with these labels, or not at all."""

    alert: str
    when: str
    series: Mapping[str, str]
    at: str = "30m"
    fires: Sequence[Mapping[str, str]] = field(default=())

    def __str__(self) -> str:
        return f"{self.alert}: {self.when}"


CASES = (
    Case("CompareStreamDown", "it answers", {f"up{{{OURS}}}": "1x200"}),
    Case("CompareStreamDown", "it is started again", {f"up{{{OURS}}}": "1x100 0x4 1x100"}, "26m"),
    Case("CompareStreamDown", "another job is down", {'up{job="node"}': "0x200"}),
    Case(
        "CompareStreamDown",
        "one of two does not answer",
        {f"up{{{OURS}}}": "1x100 0x100", f"up{{{OTHER}}}": "1x200"},
        fires=[PROCESS],
    ),
    Case("CompareStreamAbsent", "one is there, if only down", {f"up{{{OURS}}}": "0x200"}),
    Case("CompareStreamAbsent", "there are others only", {'up{job="node"}': "1x200"}, fires=[JOB]),
    Case(
        "CompareStreamRestarts",
        "a deploy, and one more",
        {f"process_start_time_seconds{{{OURS}}}": "1x60 2x20 3x200", BUILD: "1x200"},
    ),
    Case(
        "CompareStreamRestarts",
        "it is not ours",
        {'process_start_time_seconds{job="node", instance="a:9100"}': "0+1x200", BUILD: "1x200"},
    ),
    Case(
        "CompareStreamRestarts",
        "again and again",
        {
            f"process_start_time_seconds{{{OURS}}}": "1x90 2x4 3x4 4x4 5x4 6x4 7x4",
            BUILD: "1x200",
        },
        fires=[PROCESS],
    ),
    Case(
        "CompareStreamDrainStuck", "none drains", {f"compare_draining_seconds{{{OURS}}}": "0x200"}
    ),
    Case(
        "CompareStreamDrainStuck",
        "a drain, to its end",
        {f"compare_draining_seconds{{{OURS}}}": "0x100 14 29 0x100"},
        "26m",
    ),
    Case(
        "CompareStreamDrainStuck",
        "one of several after the other, for minutes",
        {f"compare_draining_seconds{{{OURS}}}": "0x100 5 20 5 20 6 21 6 21 7 22 7 22 4 19"},
        "28m",
    ),
    Case(
        "CompareStreamDrainStuck",
        "it counts on and on",
        {f"compare_draining_seconds{{{OURS}}}": "0x100 5+15x100"},
        fires=[PROCESS],
    ),
    Case(
        "CompareStreamDrainStuck",
        "it hangs, and its siblings tell what it said last",
        {f"compare_draining_seconds{{{OURS}}}": "0x100 28x100"},
        fires=[PROCESS],
    ),
    Case("CompareStreamFirstTokenSlow", "96 of 100 are in time", first_chunks(96, 100)),
    Case(
        "CompareStreamFirstTokenSlow",
        "too few to tell",
        {WELL: "0x200"}
        | {name: values.replace("+4", "+0") for name, values in first_chunks(0, 4).items()},
    ),
    Case("CompareStreamFirstTokenSlow", "94 of 100 are", first_chunks(94, 100), fires=[PROVIDER]),
    Case("CompareStreamProviderFails", "one in twenty", failures(1, "overloaded", 19)),
    Case("CompareStreamProviderFails", "questions of their own", failures(9, "model_not_found")),
    Case("CompareStreamProviderFails", "our own stopping", failures(9, "server_shutdown")),
    Case(
        "CompareStreamProviderFails",
        "one of two in five minutes",
        {
            WELL: "0x100 1x200",
            f'{MODELS}, outcome="failed", code="overloaded"}}': "0x110 1x200",
        },
    ),
    Case(
        "CompareStreamProviderFails",
        "one in ten, and a little",
        failures(1, "overloaded", 8),
        fires=[PROVIDER],
    ),
    Case("CompareStreamProviderDown", "one in ten", failures(1, "overloaded")),
    Case(
        "CompareStreamProviderDown", "all fail", failures(3, "connect_error", 0), fires=[PROVIDER]
    ),
    Case(
        "CompareStreamProviderDown",
        "callers stop them all",
        {
            WELL: "0+1x200",
            f'{MODELS}, outcome="cancelled", code="cancelled"}}': "0+9x200",
        },
    ),
    Case(
        "CompareStreamProviderRefusesUs",
        "failures of other kinds",
        {
            **failures(5, "rate_limited"),
            f'compare_provider_requests_total{{{OURS}, provider="p"}}': "0+9x200",
        },
    ),
    Case(
        "CompareStreamProviderRefusesUs",
        "it was long ago",
        {
            f'compare_provider_requests_total{{{OURS}, provider="p"}}': "0+9x200",
            f'{MODELS}, outcome="failed", code="unauthorized"}}': "_x10 3x200",
        },
    ),
    Case(
        "CompareStreamProviderRefusesUs",
        "the first time ever, so its count has just appeared",
        {
            f'compare_provider_requests_total{{{OURS}, provider="p"}}': "0+9x200",
            f'{MODELS}, outcome="failed", code="payment_required"}}': "_x110 1x200",
        },
        fires=[PROVIDER],
    ),
    Case("CompareStreamLimiterWaits", "most go straight through", waits(96, 100)),
    Case("CompareStreamLimiterWaits", "94 of 100 wait less", waits(94, 100), fires=[PROVIDER]),
    Case("CompareStreamClientsCut", "five of a few", {CUT: "0x90 0+1x4 5x200", ENDED: "0+1x200"}),
    Case("CompareStreamClientsCut", "many of very many", {CUT: "0+1x200", ENDED: "0+100x200"}),
    Case("CompareStreamClientsCut", "one in ten", {CUT: "0+1x200", ENDED: "0+10x200"}, fires=[JOB]),
    Case(
        "CompareStreamClientsLimited",
        "others are cut",
        {CUT: "0+1x200", CUT.replace("write_timeout", "connections"): "0x200"},
    ),
    Case(
        "CompareStreamClientsLimited",
        "an address is at its limit",
        {CUT.replace("write_timeout", "connections"): "0x100 1x200"},
        fires=[{**JOB, "reason": "connections"}],
    ),
    Case(
        "CompareStreamBusy",
        "a peak of a minute",
        {f'compare_requests_refused_total{{{OURS}, code="busy"}}': "0x100 0+9x4 36x200"},
        "27m",
    ),
    Case(
        "CompareStreamBusy",
        "other refusals",
        {f'compare_requests_refused_total{{{OURS}, code="invalid_request"}}': "0+9x200"},
    ),
    Case(
        "CompareStreamBusy",
        "again and again",
        {f'compare_requests_refused_total{{{OURS}, code="busy"}}': "0x80 0+1x200"},
        fires=[JOB],
    ),
    Case("CompareStreamSchedulerLag", "all in time", lag(60)),
    Case("CompareStreamSchedulerLag", "one look in thirty", lag(58), fires=[PROCESS]),
    Case(
        "CompareStreamDescriptorsScarce",
        "half are open",
        {
            f"process_open_fds{{{OURS}}}": "500x200",
            f"process_max_fds{{{OURS}}}": "1024x200",
            BUILD: "1x200",
        },
    ),
    Case(
        "CompareStreamDescriptorsScarce",
        "they are another service's",
        {
            'process_open_fds{job="node", instance="n"}': "9x200",
            'process_max_fds{job="node", instance="n"}': "10x200",
            BUILD: "1x200",
        },
    ),
    Case(
        "CompareStreamDescriptorsScarce",
        "nine in ten are open",
        {
            f"process_open_fds{{{OURS}}}": "920x200",
            f"process_max_fds{{{OURS}}}": "1024x200",
            BUILD: "1x200",
        },
        fires=[PROCESS],
    ),
    Case(
        "CompareStreamConnectionFaults",
        "an old one, and a restart",
        {f"compare_connection_faults_total{{{OURS}}}": "3x100 0x200"},
    ),
    Case(
        "CompareStreamConnectionFaults",
        "one",
        {f"compare_connection_faults_total{{{OURS}}}": "0x100 1x200"},
        fires=[PROCESS],
    ),
    Case("CompareStreamInternalErrors", "none", {FAILED: "0x200", **failures(5, "overloaded")}),
    Case(
        "CompareStreamInternalErrors",
        "a restart forgets old ones",
        {
            FAILED: "2x100 0x200",
            f'{MODELS}, outcome="failed", code="internal_error"}}': "3x100 stale",
        },
    ),
    Case(
        "CompareStreamInternalErrors",
        "the first model's ever, so its count has just appeared",
        {FAILED: "0x200", f'{MODELS}, outcome="failed", code="internal_error"}}': "_x110 1x200"},
        fires=[PROCESS],
    ),
    Case(
        "CompareStreamInternalErrors",
        "the first request's ever",
        {
            FAILED: "0x200",
            f'compare_requests_refused_total{{{OURS}, code="internal_error"}}': "_x110 1x200",
        },
        fires=[PROCESS],
    ),
    Case("CompareStreamInternalErrors", "a stream", {FAILED: "0x110 1x200"}, fires=[PROCESS]),
    Case("CompareStreamLogLost", "none", {f"compare_log_lines_lost_total{{{OURS}}}": "0x200"}),
    Case(
        "CompareStreamLogLost",
        "some",
        {f"compare_log_lines_lost_total{{{OURS}}}": "0x110 7x200"},
        fires=[PROCESS],
    ),
    *(
        Case(alert, "not for long enough yet", series, at)
        for alert, series, at in (
            ("CompareStreamDown", {f"up{{{OURS}}}": "0x200"}, "1m45s"),
            ("CompareStreamAbsent", {'up{job="node"}': "1x200"}, "4m45s"),
            (
                "CompareStreamDrainStuck",
                {f"compare_draining_seconds{{{OURS}}}": "0x100 5+15x100"},
                "26m30s",
            ),
            ("CompareStreamFirstTokenSlow", first_chunks(94, 100), "9m45s"),
            ("CompareStreamProviderFails", failures(9, "overloaded"), "9m45s"),
            ("CompareStreamProviderDown", failures(9, "overloaded", 0), "4m45s"),
            ("CompareStreamLimiterWaits", waits(94, 100), "9m45s"),
            ("CompareStreamClientsCut", {CUT: "0+1x200", ENDED: "0+10x200"}, "4m45s"),
            (
                "CompareStreamBusy",
                {f'compare_requests_refused_total{{{OURS}, code="busy"}}': "0+1x200"},
                "4m45s",
            ),
            ("CompareStreamSchedulerLag", lag(58), "4m45s"),
            (
                "CompareStreamDescriptorsScarce",
                {
                    f"process_open_fds{{{OURS}}}": "920x200",
                    f"process_max_fds{{{OURS}}}": "1024x200",
                    BUILD: "1x200",
                },
                "4m45s",
            ),
        )
    ),
)
