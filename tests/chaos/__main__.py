"""`python -m tests.chaos`: let every fault happen, and print what came of it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import get_args

import click
import trio

import tests.chaos.rows  # noqa: F401  # registers the faults
from tests.chaos.fault import FAULTS, NOT_RUN
from tests.chaos.report import as_json, as_line, write_between
from tests.chaos.running import Result, Verdict, open_stage, run_apart, run_sharing


@click.command()
@click.option(
    "--short", is_flag=True, help="Only what is quick enough for CI; faults share processes."
)
@click.option("--only", metavar="ID,ID", help="Only these faults; X-01 names all of its cases.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results.")
@click.option("--write", "page", type=click.Path(path_type=Path), help="Renew a page's tables.")
def main(short: bool, only: str | None, json_file: Path | None, page: Path | None) -> None:
    """Every named fault against a running service; exit code 1 when one of them did harm."""
    if page is not None and (short or only):
        raise click.UsageError("--write needs every fault: leave --short and --only away")
    chosen = [id_ for id_ in FAULTS if (not short or FAULTS[id_].short) and _named(id_, only)]
    results = trio.run(partial(_run, chosen, sharing=short))
    wrong = [result.id for result in results if result.verdict == "failed"]
    for verdict in get_args(Verdict):
        ids = [result.id for result in results if result.verdict == verdict]
        if ids:
            click.echo(f"{len(ids):4} {verdict}: {' '.join(ids)}")
    click.echo(f"{len(NOT_RUN):4} are never run: {' '.join(NOT_RUN)}")
    if json_file is not None:
        json_file.write_text(as_json(results))
    if page is not None:
        write_between(page, results)
    sys.exit(bool(wrong))


def _named(id_: str, only: str | None) -> bool:
    if only is None:
        return True
    names = only.split(",")
    return id_ in names or id_[:4] in names


async def _run(chosen: list[str], *, sharing: bool) -> list[Result]:
    results: dict[str, Result] = {}

    def note(result: Result) -> None:
        results[result.id] = result
        click.echo(as_line(result))

    run = run_sharing if sharing else run_apart
    async with open_stage() as stage:
        await run([FAULTS[id_] for id_ in chosen], stage, note)
    return [results[id_] for id_ in chosen]


if __name__ == "__main__":
    main()
