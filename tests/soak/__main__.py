"""`python -m tests.soak --minutes N`: run, and print what came of it."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import NoReturn

import click
import trio

from tests.soak.chart import drawn
from tests.soak.planted import PLANTED
from tests.soak.report import as_json, as_line, as_table, write_between
from tests.soak.result import Options, Result
from tests.soak.running import first_of, soak


@click.command()
@click.option("--minutes", type=float, required=True, help="Of load; a fraction will do.")
@click.option("--seed", type=int, help="Decides everything; drawn, and told, unless given.")
@click.option("--rate", type=float, help="Comparisons a second; measured unless given.")
@click.option("--reload", is_flag=True, help="SIGHUP now and then, with other settings.")
@click.option("--gap", type=float, default=1.0, help="Seconds that a canary may be silent.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw them, as SVG.")
@click.option("--write", "written", type=click.Path(path_type=Path), help="Renew a page's table.")
@click.option("--plant", metavar="FAULT,FAULT", help=f"Build in: {', '.join(PLANTED)}.")
def main(
    minutes: float,
    seed: int | None,
    rate: float | None,
    reload: bool,
    gap: float,
    json_file: Path | None,
    chart: Path | None,
    written: Path | None,
    plant: str | None,
) -> None:
    """Mixed load with faults at random; exit code 1 when something was wrong or grows."""
    for name, value in (("--minutes", minutes), ("--rate", rate), ("--gap", gap)):
        if value is not None and not (math.isfinite(value) and value > 0):
            _refuse(f"{name} must be above 0, not {value:g}")
    for file in (json_file, chart):
        if file is not None and not file.parent.is_dir():
            _refuse(f"{file.parent} is no folder")
    if written is not None and not written.is_file():
        _refuse(f"{written} is no page")
    if unknown := set(plant.split(",") if plant else ()) - PLANTED.keys():
        _refuse(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(PLANTED)}")
    if seed is None:
        seed = random.SystemRandom().randrange(1_000_000)
    options = Options(minutes=minutes, seed=seed, rate=rate, reload=reload, gap=gap, planted=plant)
    click.echo(f"seed {seed}; {minutes:g} minutes, of which {options.warm_up:.0f} s are warm-up")
    try:
        result = trio.run(soak, options, _say)
    except* AssertionError as group:
        _refuse(f"it could not begin: {first_of(group)}")
    click.echo(as_table(result))
    if json_file is not None:
        json_file.write_text(as_json(result), encoding="utf-8")
    if chart is not None:
        chart.write_text(drawn(result), encoding="utf-8")
    if written is not None:
        write_between(written, result)
    sys.exit(not result.passed)


def _say(what: str, result: Result) -> None:
    click.echo(as_line(what, result))
    sys.stdout.flush()


def _refuse(words: str) -> NoReturn:
    click.echo(f"tests.soak: {words}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
