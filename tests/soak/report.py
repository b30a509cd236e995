"""What is printed: a line for each minute, and a table at the end; and all figures as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from tests.soak.result import Result
from tests.soak.series import Judgement

__all__ = ["RESULTS", "as_json", "as_line", "as_table", "figure", "signed", "write_between"]

RESULTS = ("<!-- results: written by python -m tests.soak --write -->", "<!-- end of results -->")


def figure(value: float) -> str:
    """Three digits, without an exponent."""
    if value != value or abs(value) == inf:
        return "?"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def signed(value: float) -> str:
    """The same of a change."""
    return f"{'+' if value >= 0 else '-'}{figure(abs(value))}"


def as_line(what: str, result: Result) -> str:
    """How it stands."""
    if not result.samples or not what.startswith("minute"):
        return what
    now = result.samples[-1]
    parts = [
        f"{what:9}",
        f"{now.rss_mib:6.1f} MiB",
        f"{now.descriptors:5} fds ({now.unconnected} without connection)",
        f"{now.provider_connections:4} to providers",
        f"{now.clients:4} clients",
        f"{now.chunks or 0:6.0f} chunks/s",
        f"health {now.health_p50_ms:.1f}/{now.health_p99_ms:.0f} ms",
        f"core {100 * now.processor:3.0f} % (waits {100 * now.waited:.0f} %)",
        f"{result.begun} begun",
        f"{result.findings.count} wrong",
    ]
    return "  ".join(parts)


def write_between(page: Path, result: Result) -> None:
    """Put the figures into a page, between their marks."""
    begin, end = RESULTS
    before, begun, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    assert begun, f"{page} has no {begin}"
    assert ended, f"{page} has no {end}"
    text = f"{before}{begin}\n\n{as_markdown(result)}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def as_table(result: Result) -> str:
    """The end of a run: its figures, and what was wrong."""
    findings = result.findings
    lines = ["", as_markdown(result), ""]
    lines.append(f"{'passed' if result.passed else 'FAILED'}: {findings.count} wrong")
    lines += [f"{times:6} x {kind}" for kind, times in findings.kinds.most_common(20)]
    lines += [f"  first: {what}" for what in findings.first[:10]]
    return "\n".join(lines)


def as_markdown(result: Result) -> str:
    """The figures, as they go into a page."""
    ended = sum(result.figures.endings.values())
    load = [sample for sample in result.samples if sample.phase == "load"]
    core = sum(sample.processor for sample in load) / len(load) if load else 0.0
    waited = sum(sample.waited for sample in load) / len(load) if load else 0.0
    lines = [
        f"`python -m tests.soak --minutes {result.options.minutes:g} --seed {result.options.seed} "
        f"--rate {result.rate:g}{' --reload' if result.options.reload else ''}`",
        "",
        f"{result.begun} clients at {result.rate:g} a second ({result.why}), {ended} models read "
        f"to their ends, {result.ledger.ended} comparisons in the log, {result.left_out} clients "
        f"left out, {result.reloads} reloads. Wrong: {result.findings.count}.",
        f"The service took {100 * core:.0f} % of a core, and waited for one in "
        f"{100 * waited:.0f} % of the time. Canary: {result.canary_tokens} numbers, longest gap "
        f"{1000 * result.canary_gap:.0f} ms. Longest answer to /health: "
        f"{result.probe_longest_ms:.0f} ms.",
        "",
        "| figure | at first | at last | per hour | 95 % | bound | verdict |",
        "|---|---|---|---|---|---|---|",
        *map(_row, result.judgements),
        "",
        "| at rest | memory | descriptors | sockets | tasks | threads | to providers |",
        "|---|---|---|---|---|---|---|",
    ]
    for phase, sample in result.rests.items():
        tasks = "not told" if sample.tasks is None else sample.tasks
        lines.append(
            f"| {phase} | {sample.own_mib:.1f} MiB | {sample.descriptors} | {sample.sockets} "
            f"| {tasks} | {sample.threads} | {sample.provider_connections} |"
        )
    if waited > 0.3:
        lines += [
            "",
            "Others had the cores: times, and clocks that ran out, say more about them than about "
            "the service. Ask for a lower --rate, or run it where nothing else does.",
        ]
    return "\n".join(lines)


def _row(told: Judgement) -> str:
    unit = f" {told.unit}" if told.unit else ""
    bound = f"{told.bound:g}{unit}" if told.most is None else f"{told.most:g} at last"
    slope = interval = "?"
    if told.slope is not None:
        slope = f"{signed(told.slope.middle)}{unit}"
        interval = f"{signed(told.slope.low)} to {signed(told.slope.high)}"
    return (
        f"| {told.name} | {figure(told.first)}{unit} | {figure(told.last)}{unit} | {slope} | "
        f"{interval} | {bound} | {told.verdict} |"
    )


def as_json(result: Result) -> str:
    """Everything."""
    told: dict[str, Any] = {
        "options": asdict(result.options),
        "passed": result.passed,
        "rate": result.rate,
        "why": result.why,
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)),
        },
        "wrong": {
            "count": result.findings.count,
            "kinds": dict(result.findings.kinds.most_common()),
            "first": result.findings.first,
        },
        "clients": dict(result.figures.clients),
        "endings": _nested(result.figures.endings),
        "log": {
            "comparisons": result.ledger.ended,
            "models": dict(result.ledger.models_ended),
            "warnings": dict(result.ledger.warnings),
            "events": dict(result.ledger.events),
        },
        "canary": {"longest_gap": result.canary_gap, "numbers": result.canary_tokens},
        "left_out": result.left_out,
        "reloads": result.reloads,
        "load_seconds": result.load_seconds,
        "slopes": [asdict(judgement) for judgement in result.judgements],
        "rests": {phase: asdict(sample) for phase, sample in result.rests.items()},
        "samples": [asdict(sample) for sample in result.samples],
    }
    return json.dumps(told, indent=1) + "\n"


def _nested(endings: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (kind, code), times in sorted(endings.items()):
        nested.setdefault(kind, {})[code] = times
    return nested
