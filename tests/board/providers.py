"""The row about providers: how many they may be asked at once, who waits, what they see of us."""

from __future__ import annotations

from tests.board.grafana import Panel, Query, Row
from tests.board.queries import PROVIDER, a_minute, a_second, limits, quantiles

__all__ = ["PROVIDERS"]

PROVIDERS = Row(
    "Providers",
    [
        Panel(
            title="Places at a provider: ceiling and running",
            means="Requests that a provider may be asked at once, as learned, and those that "
            "run, in all processes. Ceiling below max_concurrency: it refuses more. Both there: "
            "ours.",
            queries=[
                Query(
                    f"sum by (provider) (compare_limiter_ceiling{{{PROVIDER}}})",
                    "{{provider}} ceiling",
                ),
                Query(
                    f"sum by (provider) (compare_limiter_limit{{{PROVIDER}}})",
                    "{{provider}} at most",
                ),
                Query(
                    f"sum by (provider) (compare_limiter_running{{{PROVIDER}}})",
                    "{{provider}} running",
                ),
            ],
        ),
        Panel(
            title="In line, by provider",
            means="Models that wait for a place. Each process has a line of its own, so one can "
            "be long while another is empty.",
            queries=[
                Query(f"sum by (provider) (compare_models_queued{{{PROVIDER}}})", "{{provider}}")
            ],
            stacked=True,
        ),
        Panel(
            title="Wait in line, by provider",
            means="What ended answers had waited; it counts against the whole answer's clock. "
            "Counted at the end of the answer, so it comes later than the line itself.",
            queries=quantiles("compare_limiter_wait_seconds", PROVIDER, "provider"),
            unit="s",
            limits=limits("CompareStreamLimiterWaits", watch=1),
        ),
        Panel(
            title="Requests a minute, by provider",
            means="What a provider sees of us, repeated requests included: what its own limit by "
            "the minute counts.",
            queries=[
                Query(
                    a_minute(f"compare_provider_requests_total{{{PROVIDER}}}", "provider"),
                    "{{provider}}",
                )
            ],
        ),
        Panel(
            title="Requests for one answer, by provider",
            means="1: nothing is asked twice. Above: failures that are repeated before anybody "
            "sees them, hedges, fallbacks. Rises before errors do.",
            queries=[
                Query(
                    a_second(f"compare_provider_requests_total{{{PROVIDER}}}", "provider")
                    + " / ("
                    + a_second(f"compare_models_ended_total{{{PROVIDER}}}", "provider")
                    + " > 0)",
                    "{{provider}}",
                )
            ],
            limits=[(1.2, "yellow"), (2, "red")],
        ),
        Panel(
            title="Connections to providers",
            means="Busy ones are answers under way. Idle ones are kept for the next request; of "
            "a provider that closes them early there are few, and each answer connects anew.",
            queries=[
                Query(
                    f"sum by (provider, state) (compare_provider_connections{{{PROVIDER}}})",
                    "{{provider}} {{state}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Models running, by provider",
            means="All that have begun and not ended. Rises at one provider while answers a "
            "minute fall there: it hangs, and its clocks will end them one by one.",
            queries=[
                Query(f"sum by (provider) (compare_models_running{{{PROVIDER}}})", "{{provider}}")
            ],
            stacked=True,
        ),
    ],
)
