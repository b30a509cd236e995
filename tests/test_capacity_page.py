"""The capacity page's figures are the benchmark's, and what it works out of them is worked out."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.events import Chunk
from service.eventstream import encode
from service.settings import Limits, Stream
from service.settings.provider import MOST_AT_ONCE
from tests.bench.workloads import WORKLOADS
from tests.command import ROOT, environment
from tests.markdown import section, tables
from tests.recordings import RECORDINGS

DOCS = ROOT / "docs"
CAPACITY = DOCS / "operations" / "capacity.md"
PERFORMANCE = DOCS / "performance.md"
GROWTH = DOCS / "charts" / "growth.svg"
TEXT = " ".join(CAPACITY.read_text().split())


def code(cell: str) -> str:
    return cell.strip("`")


def figures() -> dict[str, float]:
    """The page's own, by name."""
    measured, planned = tables(section(CAPACITY, "## Figures"))[:2]
    return {code(row[0]): float(row[1]) for row in [*measured, *planned]}


FIGURES = figures()


def measured(workload: str, unit: str) -> float:
    """A figure of the results' table: the first of a workload with that unit."""
    [rows, *_] = tables(section(PERFORMANCE, "## Results"))
    begin = next(n for n, row in enumerate(rows) if row[0].startswith(workload))
    return float(next(row[2] for row in rows[begin:] if row[1].startswith(unit)))


def grown() -> list[float]:
    """Processor time for a chunk of ours with 1, 10, 30 and 100 comparisons, from the chart."""
    labels = re.findall(r">([\d.]+)</text", GROWTH.read_text())
    assert labels[:4] == ["1", "10", "30", "100"]
    return [float(label) for label in labels[4:8]]


def test_the_figures_are_those_of_the_benchmark() -> None:
    results = section(PERFORMANCE, "### Where the time goes")
    [growth] = re.findall(r"from 803 to (\d+) µs \(asyncio", results)
    assert FIGURES["chunk"] == measured("A:", "µs a chunk")
    assert FIGURES["chunk_fast"] == measured("B:", "µs a chunk")
    assert FIGURES["chunk_slow"] == float(growth) == grown()[-1]
    assert FIGURES["comparison"] == measured("F:", "ms a comparison")
    assert FIGURES["memory"] == measured("D:", "KiB")
    assert FIGURES["http2"] == measured("E:", "µs a chunk, ratio")


def test_what_is_planned_with_comes_from_them_and_from_the_settings() -> None:
    assert FIGURES["read"] == FIGURES["chunk_slow"]
    assert FIGURES["beats"] == 1000 / Stream().flush_ms
    per_read = FIGURES["chunk"] * 50 / FIGURES["beats"]
    assert f"2.5 chunks and costs {per_read:.0f} µs" in TEXT
    assert f"A core makes {1e6 / FIGURES['read']:.0f} reads" in TEXT
    for rate, words in ((10, "{} if a model writes ten chunks"), (20, "{} if it writes 20")):
        models = FIGURES["share"] * 1e6 / FIGURES["read"] / rate
        assert words.format(int(models / 9)) in TEXT


def test_how_busy_a_core_is_follows_from_the_chart() -> None:
    costs, shares = tables(section(CAPACITY, "## Figures"))[2]
    assert [float(cell) for cell in costs[1:]] == grown()
    busy = [cost * n * 9 * 10 / 1e4 for cost, n in zip(grown(), (1, 10, 30, 100), strict=True)]
    assert [int(cell) for cell in shares[1:]] == [round(share) for share in busy]


def test_the_example_is_worked_out_by_the_formulas() -> None:
    rows = {code(row[0]): row[2] for row in tables(section(CAPACITY, "## An example"))[0]}
    begun, models, rate, seconds, id_bytes, text = 200 / 120, 9, 30, 30, 25, 5
    at_once = begun * seconds
    all_models = at_once * models
    reads = all_models * min(rate, FIGURES["beats"])
    busy = begun * FIGURES["comparison"] / 1e3 * models / 9 + reads * FIGURES["read"] / 1e6
    processes = math.ceil(busy / FIGURES["share"])
    each = FIGURES["memory"] * models / 3
    memory = processes * 60 + at_once * each / 1024
    to_clients = all_models * rate * (48 + id_bytes + text) * 8 / 1e6
    assert rows == {
        "A": f"{begun:.2f}",
        "C": f"{at_once:.0f}",
        "M": f"{all_models:.0f}",
        "R": f"{reads:.0f}",
        "cores": f"{busy / FIGURES['share']:.2f}",
        "processes": str(processes),
        "memory": f"{memory:.0f} MiB",
        "if no client reads": f"{memory + at_once * 64 / 1024:.0f} MiB",
        "descriptors of each process": f"{at_once / processes * (models + 1) + 16:.0f}",
        "to the clients": f"{to_clients:.1f} Mbit/s",
        "from the providers": f"{all_models * rate * 250 * 8 / 1e6:.0f} Mbit/s",
        "max_concurrency": f"{all_models / processes:.0f}",
    }
    assert f"50 × {each:.0f} KiB" in TEXT


def test_what_it_says_of_bytes_and_bounds_is_so() -> None:
    around = len(encode(Chunk(model="", content="")))
    assert f"{around} bytes stand around" in TEXT
    assert f"for {MOST_AT_ONCE} answers at once" in TEXT
    assert f"**`max_comparisons`**, {Limits().max_comparisons} in a process" in TEXT
    usual = (
        "OpenRouter",
        "OpenAI",
        "vLLM, usage in each chunk",
        "llama.cpp",
        "LM Studio",
        "Ollama",
    )
    sizes = [
        len(block.raw)
        for recording in RECORDINGS
        if recording.server in usual
        for block in recording.blocks
        if block.said
    ]
    assert 200 <= min(sizes) <= max(sizes) <= 300


def test_the_workloads_that_it_says_to_run_exist() -> None:
    [letters] = re.findall(r"--only (\S+)", TEXT)
    assert {*letters.split(",")} <= {*WORKLOADS}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux counts in /proc")
def test_a_process_that_does_nothing_takes_no_more_than_is_reckoned() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--bind", "127.0.0.1:0"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        proc = Path(f"/proc/{process.pid}")
        [resident] = re.findall(r"VmRSS:\s+(\d+) kB", (proc / "status").read_text())
        descriptors = len(list((proc / "fd").iterdir()))
        process.terminate()
    # Other Pythons and other systems take other pages; twice as much would be another page's word.
    assert int(resident) < 2 * 60 * 1024
    assert descriptors <= 16
