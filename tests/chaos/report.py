"""The table: plain text for a terminal, Markdown for the documentation, JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.chaos.fault import FAULTS, NOT_RUN
from tests.chaos.running import Result

__all__ = ["as_json", "as_line", "as_markdown", "not_run_as_markdown", "write_between"]

RESULTS = ("<!-- results: written by python -m tests.chaos --write -->", "<!-- end of results -->")
MISSING = ("<!-- not run: written by python -m tests.chaos --write -->", "<!-- end of not run -->")


def as_line(result: Result) -> str:
    """One result for a terminal."""
    fault = FAULTS[result.id]
    gap = "" if result.gap is None else f"{1000 * result.gap:.0f} ms"
    head = f"{result.id:6} {result.verdict:12} {result.seconds:6.2f} s {gap:>8}  {fault.name}"
    words = textwrap.fill(result.said, 100, initial_indent=" " * 9, subsequent_indent=" " * 9)
    return f"{head}\n{words}" if result.said else head


def as_json(results: Sequence[Result]) -> str:
    """All of them for a program."""
    return json.dumps([asdict(result) for result in results], indent=2) + "\n"


def as_markdown(results: Sequence[Result]) -> str:
    """The table of the documentation."""
    rows = [
        "| fault | what was done | expected | result | time | longest gap |",
        "|---|---|---|---|---|---|",
    ]
    for result in sorted(results, key=_place):
        fault = FAULTS[result.id]
        gap = "no canary" if result.gap is None else f"{1000 * result.gap:.0f} ms"
        cells = [
            f"**{result.id}** {fault.name}",
            fault.did,
            fault.expected,
            f"{result.verdict}: {result.said}" if result.said else result.verdict,
            f"{result.seconds:.1f} s",
            gap,
        ]
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows)


def not_run_as_markdown() -> str:
    """The faults that nobody has run, and why."""
    rows = ["| fault | why not |", "|---|---|"]
    rows += [
        f"| **{id_}** {_cell(name)} | {_cell(why)} |"
        for id_, (name, why) in sorted(NOT_RUN.items())
    ]
    return "\n".join(rows)


def write_between(page: Path, results: Sequence[Result]) -> None:
    """Put the tables into the page, between their marks."""
    text = page.read_text(encoding="utf-8")
    for (begin, end), table in (
        (RESULTS, as_markdown(results)),
        (MISSING, not_run_as_markdown()),
    ):
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        assert found, f"{page} has no {begin}"
        assert ended, f"{page} has no {end}"
        text = f"{before}{begin}\n{table}\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def _place(result: Result) -> tuple[int, str]:
    """Clients, upstream, process, resources, hostile input."""
    return "CUPRX".index(result.id[0]), result.id


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;")
