"""`python -m tests.bench`: measure everything, print it, and say which goals are met."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tests.bench.bench import Bench, open_bench
from tests.bench.charts import draw
from tests.bench.processes import raise_descriptor_limit
from tests.bench.results import as_json, machine
from tests.bench.workloads import WORKLOADS
from tests.command import ROOT


@click.command()
@click.option("--only", metavar="A,B", help=f"Only these workloads, of {', '.join(WORKLOADS)}.")
@click.option("--quick", is_flag=True, help="A tenth of every load: a look at the machinery.")
@click.option(
    "--service-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=ROOT,
    help="The checkout whose service is measured; this one by itself.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every figure.")
@click.option("--charts", type=click.Path(path_type=Path), help="Draw charts into this folder.")
def main(
    only: str | None,
    quick: bool,
    service_root: Path,
    json_file: Path | None,
    charts: Path | None,
) -> None:
    """Measure the service beside others.

    The exit code is 1 when a stream was wrong, and never for a figure.
    """
    chosen = only.split(",") if only else list(WORKLOADS)
    if unknown := set(chosen) - set(WORKLOADS):
        raise click.UsageError(f"no such workload: {', '.join(sorted(unknown))}")
    raise_descriptor_limit()
    began = time.monotonic()
    facts = machine()
    click.echo(f"{facts['python']} on {facts['processors']} processors, {facts['platform']}")
    with open_bench(service_root, quick=quick) as bench:
        for letter in chosen:
            bench.headline(letter, WORKLOADS[letter].title)
            WORKLOADS[letter].run(bench)
    if json_file is not None:
        json_file.write_text(as_json(bench))
    if charts is not None:
        draw(bench.rows, charts)
    click.echo(f"\nmeasured in {time.monotonic() - began:.0f} s\n")
    _conclude(bench)


def _conclude(bench: Bench) -> None:
    for figure in bench.figures:
        click.echo(str(figure))
    for server, reason in bench.left_out.items():
        click.echo(f"left out: {server}, which did not start: {reason}")
    for said, times in bench.wrong.items():
        click.echo(f"WRONG, {times} times: {said}")
    sys.exit(bool(bench.wrong))


if __name__ == "__main__":
    main()
