"""One load against one server, and the figures that come of it."""

from __future__ import annotations

import gc
import time
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from math import nan
from statistics import fmean, median

from tests.bench.checking import Seen, checked
from tests.bench.http1 import ask_over_http1
from tests.bench.http2 import ask_over_http2
from tests.bench.load import Load
from tests.bench.processes import Process
from tests.bench.recording import Recording, WrongStream
from tests.bench.watching import Watch, busy_seconds

__all__ = ["Measured", "measured"]

SETTLE_SECONDS = 0.1
"""After the last byte, for what a server does once a response has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a load took at a server. Where a stream was wrong, no figure is one: all are NaN."""

    workload: str
    server: str
    load: str
    comparisons: int
    models: int
    """In each comparison."""
    chunks: int
    """All of them."""
    wrong: list[str]
    """What was wrong, one sentence for each stream that was."""
    cpu_us_per_chunk: float
    """All that the server took, its setting up of the comparisons too, over all chunks."""
    steady_us_per_chunk: float
    """The same while every comparison had begun and none had ended; NaN: there was no such time."""
    cpu_ms_per_comparison: float
    cpu_share: float
    """Of one processor, from the first request to the last byte."""
    provider_cpu_share: float
    client_cpu_share: float
    """What provider and client took meanwhile: near 1 they, not the server, were the limit."""
    others_cpu_share: float
    """What everything else on the machine took: the noise of the measurement."""
    chunks_per_second: float
    added_p50_ms: float
    added_p99_ms: float
    """Time from a chunk's sending at the provider to its arrival at the client."""
    added_mean_least_ms: float
    added_mean_most_ms: float
    """The mean of that in the comparison that fared best, and in the one that fared worst."""
    first_chunk_p50_ms: float
    """From the request to the first chunk of any model."""
    wall_p50_s: float
    wall_most_s: float
    """Of one comparison, from its request to its last byte."""
    wall_over_slowest: float
    """That over the slowest of its models; of the comparison where it is most."""
    all_s: float
    """From the first request to the last byte."""
    most_at_once: int
    """Comparisons that ran at the same time."""
    memory_before_kib: float
    memory_peak_kib: float
    memory_kib_per_second: float
    """How fast it grew in the second half."""
    memory_kib: list[float]
    """What the server occupied, looked at every tenth of a second."""

    @property
    def memory_per_comparison_kib(self) -> float:
        """What the peak is above the process before the load, for each running comparison."""
        if self.wrong:
            return nan
        return (self.memory_peak_kib - self.memory_before_kib) / self.most_at_once


def measured(
    workload: str, server: str, process: Process, provider: Process, load: Load, patience: float
) -> Measured:
    """Run a load against a server; at most `patience` seconds long."""
    gc.collect()
    client_cpu_s, busy_s = time.process_time(), busy_seconds()
    around, watch = Watch(provider), Watch(process)
    around.look()
    watch.look()
    ask = ask_over_http2 if load.http2_connections else ask_over_http1
    began = time.monotonic()
    recordings: Sequence[Recording | WrongStream]
    try:
        recordings = ask(process.port, load, patience=patience, between=watch.look)
    except OSError as exc:
        recordings = [WrongStream(process.gone() or f"not asked: {exc}")] * load.comparisons
    all_s = time.monotonic() - began
    client_cpu_s = time.process_time() - client_cpu_s
    time.sleep(SETTLE_SECONDS)
    around.look()
    watch.look()
    cpu_s = watch.looks[-1].cpu_s - watch.looks[0].cpu_s
    provider_cpu_s = around.looks[-1].cpu_s - around.looks[0].cpu_s
    others_s = busy_seconds() - busy_s - cpu_s - provider_cpu_s - client_cpu_s

    right, wrong = _checked(recordings, load)
    if wrong:
        right, cpu_s = [], nan
    added = sorted(chain.from_iterable(seen.added for seen in right))
    means = [fmean(seen.added) / 1e6 for seen in right]
    walls = [(seen.ended_at - seen.asked_at) / 1e9 for seen in right]
    return Measured(
        workload=workload,
        server=server,
        load=str(load),
        comparisons=load.comparisons,
        models=load.models,
        chunks=load.chunks,
        wrong=wrong,
        cpu_us_per_chunk=1e6 * cpu_s / load.chunks,
        steady_us_per_chunk=_steady_us_per_chunk(watch, right),
        cpu_ms_per_comparison=1e3 * cpu_s / load.comparisons,
        cpu_share=cpu_s / all_s,
        provider_cpu_share=provider_cpu_s / all_s,
        client_cpu_share=client_cpu_s / all_s,
        others_cpu_share=max(0, others_s / all_s),
        chunks_per_second=nan if wrong else load.chunks / all_s,
        added_p50_ms=_quantile(added, 0.5) / 1e6,
        added_p99_ms=_quantile(added, 0.99) / 1e6,
        added_mean_least_ms=min(means, default=nan),
        added_mean_most_ms=max(means, default=nan),
        first_chunk_p50_ms=median(
            [(seen.first_chunk_at - seen.asked_at) / 1e6 for seen in right] or [nan]
        ),
        wall_p50_s=median(walls or [nan]),
        wall_most_s=max(walls, default=nan),
        # A model that came in one read, from its start to its done, has no length to compare with.
        wall_over_slowest=max(
            ((seen.ended_at - seen.asked_at) / seen.slowest for seen in right if seen.slowest),
            default=nan,
        ),
        all_s=all_s,
        most_at_once=_most_at_once(right),
        memory_before_kib=watch.looks[0].memory_kib,
        memory_peak_kib=watch.peak_kib,
        memory_kib_per_second=watch.kib_per_second(),
        memory_kib=[look.memory_kib for look in watch.looks],
    )


def _checked(
    recordings: Sequence[Recording | WrongStream], load: Load
) -> tuple[list[Seen], list[str]]:
    right, wrong = [], []
    for recording in recordings:
        try:
            if isinstance(recording, WrongStream):
                raise recording
            right.append(checked(recording, load.names, load.pace.chunks))
        except WrongStream as exc:
            wrong.append(str(exc))
    missing = load.comparisons - len(recordings)
    return right, wrong + ["not asked: there was no time left"] * missing


def _steady_us_per_chunk(watch: Watch, right: Sequence[Seen]) -> float:
    begin = max((seen.first_chunk_at for seen in right), default=0)
    end = min((seen.ended_at for seen in right), default=0)
    looks = watch.between(begin, end)
    if looks is None:
        return nan
    first, last = looks
    chunks = sum(
        bisect(seen.arrived, last.moment) - bisect(seen.arrived, first.moment) for seen in right
    )
    return 1e6 * (last.cpu_s - first.cpu_s) / chunks if chunks else nan


def _most_at_once(right: Sequence[Seen]) -> int:
    changes = [(seen.started_at, 1) for seen in right] + [(seen.ended_at, -1) for seen in right]
    return max(accumulate(change for _, change in sorted(changes)), default=0)


def _quantile(ordered: Sequence[int], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] if ordered else nan
