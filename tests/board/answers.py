"""The rows about what is asked and answered: at a glance, answers, comparisons."""

from __future__ import annotations

from tests.board.grafana import Panel, Query, Row
from tests.board.queries import (
    ANSWERS,
    EVERY,
    FAILED,
    PROVIDER,
    WHOLE,
    a_minute,
    a_second,
    limits,
    quantile,
    quantiles,
)

__all__ = ["ANSWERED", "ASKED", "AT_A_GLANCE"]

FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
DURATION = "gen_ai_client_operation_duration_seconds"
BETWEEN = "gen_ai_client_operation_time_per_output_chunk_seconds"
TOKENS = "gen_ai_client_token_usage"
LAG = "compare_scheduler_lag_seconds"
WHO = ("gen_ai_provider_name", "gen_ai_request_model")
NAMED = "{{gen_ai_provider_name}}:{{gen_ai_request_model}}"

FAILING = limits("CompareStreamProviderFails", watch=0.02)
SLOW = limits("CompareStreamFirstTokenSlow", watch=2.5)

AT_A_GLANCE = Row(
    "At a glance",
    [
        Panel(
            title="Comparisons running",
            means="Questions that are being answered, in all processes. At max_comparisons (256 "
            "in each) others are told busy. Rises while nothing ends: look for the provider that "
            "hangs.",
            queries=[Query(f"sum(compare_comparisons_running{{{EVERY}}})", "running")],
            kind="stat",
            width=3,
            height=4,
            nothing="down",
        ),
        Panel(
            title="Models running",
            means="Models that have begun and not ended, those that wait in line included: each "
            "is a request that somebody pays for.",
            queries=[Query(f"sum(compare_models_running{{{PROVIDER}}})", "running")],
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            title="Models in line",
            means="Of them, those that wait because their provider may not be asked more at "
            "once. Not 0 for long: compare ceiling and running below, by provider.",
            queries=[Query(f"sum(compare_models_queued{{{PROVIDER}}})", "in line")],
            kind="stat",
            width=3,
            height=4,
            limits=[(1, "yellow")],
        ),
        Panel(
            title="Answers that fail",
            means="Share of answers that end in an error, over 5 minutes; without what callers "
            "stopped, and without errors that are the question's own. Red: see them by code "
            "below.",
            queries=[
                Query(
                    f"({a_second(f'compare_models_ended_total{{{FAILED}}}', window='5m')}"
                    " or vector(0))"
                    f" / ({a_second(f'compare_models_ended_total{{{WHOLE}}}', window='5m')} > 0)",
                    "failed",
                )
            ],
            unit="percentunit",
            kind="stat",
            width=3,
            height=4,
            limits=FAILING,
            most=1,
            nothing="no answers",
        ),
        Panel(
            title="First chunk, p95",
            means="One answer in twenty takes longer to its first text, over 5 minutes; our own "
            "line is not in it. Never above 60 s, where the buckets end. Red: see it by "
            "provider.",
            queries=[Query(quantile(0.95, FIRST, ANSWERS, window="5m"), "p95")],
            unit="s",
            kind="stat",
            width=3,
            height=4,
            limits=SLOW,
            nothing="no answers",
        ),
        Panel(
            title="Scheduler lag, p99",
            means="How late a task runs that is due, in the worst process, over 5 minutes. Every "
            "stream waits for it. Red: more load than processor, or something holds the thread.",
            queries=[
                Query(
                    f"max({quantile(0.99, LAG, EVERY, 'instance', window='5m')})", "worst process"
                )
            ],
            unit="s",
            kind="stat",
            width=3,
            height=4,
            limits=limits("CompareStreamSchedulerLag", watch=0.05),
        ),
        Panel(
            title="Descriptors used",
            means="Of those that a process may have, at the address that has the least left. At "
            "1 nobody can connect and models end in overloaded: raise LimitNOFILE.",
            queries=[
                Query(f"max(process_open_fds{{{EVERY}}} / process_max_fds{{{EVERY}}})", "most")
            ],
            unit="percentunit",
            kind="stat",
            width=3,
            height=4,
            limits=limits("CompareStreamDescriptorsScarce", watch=0.6),
            most=1,
        ),
        Panel(
            title="Processes",
            means="Processes whose figures these are. Fewer than you started: one has ended, or "
            "its address no longer answers Prometheus.",
            queries=[Query(f"sum(compare_workers{{{EVERY}}})", "processes")],
            kind="stat",
            width=3,
            height=4,
            nothing="none",
        ),
    ],
)

ANSWERED = Row(
    "Answers, by provider and model",
    [
        Panel(
            title="First chunk, by provider",
            means="From the request to the first text, without the wait in our line. One "
            "provider slow: its status page, fallbacks. All slow: scheduler lag, names, the way "
            "out.",
            queries=quantiles(FIRST, ANSWERS, "gen_ai_provider_name"),
            unit="s",
            limits=SLOW,
        ),
        Panel(
            title="First chunk by model, p95",
            means="The same by model. A model that thinks unheard is slow by nature, and needs a "
            "longer first_token rather than an alert. _other: models that have not answered yet.",
            queries=[Query(quantile(0.95, FIRST, ANSWERS, *WHO), NAMED)],
            unit="s",
            limits=SLOW,
        ),
        Panel(
            title="Answers that fail, by provider and code",
            means="Share of a provider's answers that end in each error. What to do for which "
            "code: the runbook's table. server_shutdown is our own stopping; cancelled is not "
            "here.",
            queries=[
                Query(
                    a_second(
                        f'compare_models_ended_total{{{PROVIDER}, outcome="failed"}}',
                        *("provider", "code"),
                    )
                    + " / on (provider) group_left () ("
                    + a_second(f"compare_models_ended_total{{{PROVIDER}}}", "provider")
                    + " > 0)",
                    "{{provider}} {{code}}",
                )
            ],
            unit="percentunit",
            limits=FAILING,
            most=1,
        ),
        Panel(
            title="Whole answer, by provider",
            means="From the request to the end, without the wait in our line. The end of the "
            "buckets is 82 s; the clock of the whole answer (total) is 300 s.",
            queries=quantiles(DURATION, ANSWERS, "gen_ai_provider_name"),
            unit="s",
        ),
        Panel(
            title="Whole answer by model, p95",
            means="The same by model: who is asked for long answers, and who writes slowly. "
            "Beside tokens a second it says which.",
            queries=[Query(quantile(0.95, DURATION, ANSWERS, *WHO), NAMED)],
            unit="s",
        ),
        Panel(
            title="Answers a minute, by provider and outcome",
            means="Models that ended. Drops to 0 while models run: they hang; see whose below. "
            "cancelled: the caller left or stopped it, or enough others had answered.",
            queries=[
                Query(
                    a_minute(f"compare_models_ended_total{{{PROVIDER}}}", "provider", "outcome"),
                    "{{provider}} {{outcome}}",
                )
            ],
        ),
        Panel(
            title="Between two chunks, by provider",
            means="The pace of the answers: from a chunk to the next of the same answer. Many "
            "are 0, where chunks came together. p99 high and p50 low: the provider stops and "
            "goes.",
            queries=quantiles(BETWEEN, ANSWERS, "gen_ai_provider_name"),
            unit="s",
        ),
        Panel(
            title="Tokens a second of one answer, by model",
            means="Output tokens that providers reported over the time that answers took, first "
            "token included. Of models that report none it is 0. Falls: the provider is loaded.",
            queries=[
                Query(
                    a_second(f'{TOKENS}_sum{{{ANSWERS}, gen_ai_token_type="output"}}', *WHO)
                    + f" / ({a_second(f'{DURATION}_sum{{{ANSWERS}}}', *WHO)} > 0)",
                    NAMED,
                )
            ],
        ),
        Panel(
            title="Answers a minute, by model",
            means="Who is asked. One that was there yesterday and is missing was renamed by its "
            "provider, or only fails (then it is among _other).",
            queries=[Query(a_minute(f"{DURATION}_count{{{ANSWERS}}}", *WHO), NAMED)],
        ),
    ],
)

ASKED = Row(
    "Comparisons",
    [
        Panel(
            title="Comparisons running, by address",
            means="Of several processes none should have most of them: does the proxy deal them "
            "out? The limit is max_comparisons in each process.",
            queries=[
                Query(
                    f"sum by (instance) (compare_comparisons_running{{{EVERY}}})", "{{instance}}"
                ),
                Query(
                    f"sum by (instance) (compare_comparisons_limit{{{EVERY}}})",
                    "{{instance}} at most",
                ),
            ],
        ),
        Panel(
            title="Comparisons that ended a minute, by outcome",
            means="client_gone: the reader left or was cut; many at one duration are a box's "
            "time limit on the way. server_shutdown: ended by our stopping. failed: a fault of "
            "ours.",
            queries=[
                Query(
                    a_minute(f"compare_comparisons_ended_total{{{EVERY}}}", "outcome"),
                    "{{outcome}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Refused a minute, by code",
            means="Questions that were turned away, before any provider was asked. busy: full, "
            "start another process. draining: the proxy still sends to one that stops.",
            queries=[
                Query(a_minute(f"compare_requests_refused_total{{{EVERY}}}", "code"), "{{code}}")
            ],
            stacked=True,
        ),
    ],
)
