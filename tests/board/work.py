"""The rows about our own work: the stream, the edge, the process, and what it costs."""

from __future__ import annotations

from tests.board.grafana import Panel, Query, Row
from tests.board.queries import EVERY, PROVIDER, a_minute, a_second, limits, quantiles

__all__ = ["COST", "EDGE", "PROCESS", "STREAM"]

BY_ADDRESS = "{{instance}}"

STREAM = Row(
    "The stream",
    [
        Panel(
            title="Chunks a second, by provider",
            means="Chunks that readers have taken. From 2000 a second in a process on they are "
            "looked for at a beat (see the pulse).",
            queries=[
                Query(a_second(f"compare_chunks_total{{{PROVIDER}}}", "provider"), "{{provider}}")
            ],
            unit="cps",
            stacked=True,
        ),
        Panel(
            title="Bytes a second",
            means="Event streams handed to the server, framing not counted. Falls while chunks "
            "do not: answers are gathered (/compare) and not streamed.",
            queries=[
                Query(a_second(f"compare_stream_bytes_total{{{EVERY}}}", "instance"), BY_ADDRESS)
            ],
            unit="Bps",
            stacked=True,
        ),
        Panel(
            title="Heartbeats a minute",
            means="Comments sent because nobody had said anything for heartbeat (10 s): models "
            "that think, or hang. If clients see none, a box on the way holds them back.",
            queries=[
                Query(a_minute(f"compare_heartbeats_total{{{EVERY}}}", "instance"), BY_ADDRESS)
            ],
        ),
        Panel(
            title="What we add to a chunk",
            means="From reading a chunk from its provider to handing it to the server. p50 is "
            "below 1 ms on an idle machine, up to flush_ms (50 ms) at the beat; a slow reader's "
            "wait is in p99.",
            queries=quantiles("compare_added_seconds", EVERY, at=(0.5, 0.99)),
            unit="s",
            logarithmic=True,
        ),
        Panel(
            title="What we add to a chunk, all of them",
            means="How many chunks were handed on after how long. A second band far above the "
            "first is one slow reader; a band that climbs is a process that can't keep up.",
            queries=[
                Query(
                    f"sum by (le) (increase(compare_added_seconds_bucket{{{EVERY}}}"
                    "[$__rate_interval]))",
                    "{{le}}",
                )
            ],
            unit="s",
            kind="heatmap",
        ),
        Panel(
            title="The pulse",
            means="Time between two beats at which chunks are looked for, in the process with "
            "most load. 0: at once. At flush_ms (50 ms): 16 000 chunks a second; think of "
            "another process.",
            queries=[
                Query(f"max by (instance) (compare_pulse_interval_seconds{{{EVERY}}})", BY_ADDRESS)
            ],
            unit="s",
        ),
    ],
)

EDGE = Row(
    "The edge",
    [
        Panel(
            title="Connections of clients",
            means="Behind a proxy its kept ones are among them. Grows while comparisons do not: "
            "somebody opens connections and asks nothing (connections_per_address bounds it).",
            queries=[Query(f"sum by (instance) (compare_connections_open{{{EVERY}}})", BY_ADDRESS)],
            stacked=True,
        ),
        Panel(
            title="Clients cut a minute, by reason",
            means="write_timeout: it took nothing for 10 s; all at once is a proxy that stands "
            "still. connections, resets_or_idle_frames: bounds against floods; the log has who.",
            queries=[
                Query(a_minute(f"compare_clients_cut_total{{{EVERY}}}", "reason"), "{{reason}}")
            ],
            stacked=True,
        ),
        Panel(
            title="Faults of ours",
            means="Connections that a fault of the HTTP server ended, and lines of the log that "
            "could not be written, in the range that is shown. Not 0: the log has a traceback; "
            "report it.",
            queries=[
                Query(
                    f"sum(increase(compare_connection_faults_total{{{EVERY}}}[$__range]))",
                    "connections",
                ),
                Query(
                    f"sum(increase(compare_log_lines_lost_total{{{EVERY}}}[$__range]))",
                    "lines of the log",
                ),
            ],
            kind="stat",
            named=True,
            limits=[(0.5, "red")],  # an increase is extrapolated, and may fall short of 1
        ),
    ],
)

PROCESS = Row(
    "The process",
    [
        Panel(
            title="Scheduler lag",
            means="How late a task runs that is due. High with the processor near one core for "
            "each worker: load, add a process. High without: something holds the thread (py-spy "
            "dump).",
            queries=quantiles("compare_scheduler_lag_seconds", EVERY, "instance", at=(0.5, 0.99)),
            unit="s",
            limits=limits("CompareStreamSchedulerLag", watch=0.05),
        ),
        Panel(
            title="Processor, in cores",
            means="A process uses one core at most; of several at one address this is the sum. "
            "Near their number: add a process, or lower max_comparisons at once.",
            queries=[
                Query(
                    f"sum by (instance) (rate(process_cpu_seconds_total{{{EVERY}}}"
                    "[$__rate_interval]))",
                    BY_ADDRESS,
                )
            ],
        ),
        Panel(
            title="Resident memory",
            means="Of several processes at one address the sum. Some 60 MiB each, and about 100 "
            "KiB for each comparison. Grows while comparisons and tasks do not: report it.",
            queries=[
                Query(f"sum by (instance) (process_resident_memory_bytes{{{EVERY}}})", BY_ADDRESS)
            ],
            unit="bytes",
        ),
        Panel(
            title="Tasks",
            means="Trio's tasks: some for each connection, comparison and model, and few "
            "besides. Do not fall back when the load does: tasks are left behind; report it.",
            queries=[Query(f"sum by (instance) (compare_tasks{{{EVERY}}})", BY_ADDRESS)],
        ),
        Panel(
            title="Descriptors",
            means="Open ones and how many there may be. A comparison of nine models needs ten "
            "(simulated ones: nineteen). Open meets the limit: models end in overloaded.",
            queries=[
                Query(f"sum by (instance) (process_open_fds{{{EVERY}}})", f"{BY_ADDRESS} open"),
                Query(f"sum by (instance) (process_max_fds{{{EVERY}}})", f"{BY_ADDRESS} at most"),
            ],
            logarithmic=True,
        ),
        Panel(
            title="Draining since",
            means="How long a process has been ending; 0 while none is. A drain takes 30 s "
            "([server] drain) and a second at most. Longer: a second SIGTERM cuts, then SIGKILL.",
            queries=[
                Query(f"max by (instance) (compare_draining_seconds{{{EVERY}}})", BY_ADDRESS),
                Query(
                    f"max by (instance) (compare_draining_limit_seconds{{{EVERY}}})",
                    f"{BY_ADDRESS} at most",
                ),
            ],
            unit="s",
            limits=limits("CompareStreamDrainStuck"),
        ),
        Panel(
            title="Processes, by address",
            means="How many answer for each other at an address. One less for good: it was "
            "killed, and nobody started it again.",
            queries=[Query(f"sum by (instance) (compare_workers{{{EVERY}}})", BY_ADDRESS)],
        ),
        Panel(
            title="Settings read again",
            means="Readings of the settings under which somebody is served: 1, and for a while "
            "one more after each SIGHUP. kept: a mistake in the file, and the log says which.",
            queries=[
                Query(
                    f"sum by (instance) (compare_settings_generations{{{EVERY}}})",
                    f"{BY_ADDRESS} in use",
                ),
                Query(
                    "sum by (outcome) (increase("
                    f"compare_settings_readings_total{{{EVERY}}}[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ],
        ),
        Panel(
            title="Up since",
            means="When the oldest process at an address began. Young without a deploy: it was "
            "killed; exit code 137 is the kernel, for want of memory.",
            queries=[
                Query(
                    f"min by (instance) (process_start_time_seconds{{{EVERY}}}) * 1000",
                    BY_ADDRESS,
                )
            ],
            unit="dateTimeFromNow",
            kind="stat",
            named=True,
        ),
        Panel(
            title="Versions",
            means="Addresses by the version that answers there. Two of them: a deploy is under "
            "way, or was left half done.",
            queries=[
                Query(
                    f"count by (version, python) (compare_build_info{{{EVERY}}})",
                    "{{version}} on Python {{python}}",
                )
            ],
            kind="stat",
            named=True,
        ),
    ],
)

COST = Row(
    "Cost",
    [
        Panel(
            title="US dollars an hour, by provider",
            means="At the present pace, as far as prices are known. estimated: not the "
            "provider's word, but its list price. Runs away: who asks for what, by model above.",
            queries=[
                Query(
                    "3600 * "
                    + a_second(f"compare_cost_usd_total{{{PROVIDER}}}", "provider", "estimated"),
                    "{{provider}}, estimated {{estimated}}",
                )
            ],
            unit="currencyUSD",
            stacked=True,
        ),
        Panel(
            title="US dollars in this time range",
            means="What the answers that ended in it cost, as far as prices are known.",
            queries=[
                Query(
                    f"sum by (provider) (increase(compare_cost_usd_total{{{PROVIDER}}}[$__range]))",
                    "{{provider}}",
                )
            ],
            unit="currencyUSD",
            kind="stat",
            named=True,
        ),
        Panel(
            title="Tokens a second, by provider and direction",
            means="Of ended answers, so a long one counts when it is over. Input grows faster "
            "than output: conversations get longer, and every turn pays for all before it.",
            queries=[
                Query(
                    a_second(f"compare_tokens_total{{{PROVIDER}}}", "provider", "direction"),
                    "{{provider}} {{direction}}",
                )
            ],
            stacked=True,
        ),
    ],
)
