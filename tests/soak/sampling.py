"""What the system, the provider and the service itself say of the process, every second or two."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from subprocess import PIPE
from typing import Any

import trio

from tests.chaos.clients import Address, connect, open_h1
from tests.chaos.service_under_test import Service, first_line
from tests.command import running
from tests.soak.metrics import Metrics, parsed, quantile

__all__ = ["Desk", "Probe", "Providers", "Sample", "open_probe", "open_providers", "waited_seconds"]

LAG = "compare_scheduler_lag_seconds"
MEBI = 1 << 20
SCRAPE_SECONDS = 10.0
ESTABLISHED = "01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look. What could not be seen is None."""

    at: float
    """Seconds since the beginning."""
    phase: str
    rss_mib: float
    uss_mib: float | None
    """What would be free if the process ended: resident and nobody else's."""
    descriptors: int
    unconnected: int
    """Descriptors that were no connection with somebody at its other end, now and one sample
    before. Connections come and go with the load; of these there are always the same few, so that
    one that is lost can be seen at once."""
    sockets: int
    threads: int
    provider_connections: int
    provider_busy: int
    clients: int
    comparisons: int | None
    tasks: int | None
    series: int | None
    """Samples at /metrics."""
    chunks: float | None
    """Per second, since the sample before."""
    health_p50_ms: float
    health_p99_ms: float
    lag_p99_ms: float | None
    machine_late_ms: float
    """By how much a sleep was too long in a process that does nothing else."""
    processor: float
    """Part of a core that the service took, since the sample before."""
    waited: float
    """Part of the time in which it could have run and no core was free."""

    @property
    def own_mib(self) -> float:
        """Its memory, as exactly as the system tells it."""
        return self.rss_mib if self.uss_mib is None else self.uss_mib


@dataclass(slots=True)
class Providers:
    """The providers' process, by its ports."""

    process: trio.Process
    port: int
    control: int
    deaf: int
    nobody: int
    _stream: trio.SocketStream | None = None

    async def state(self) -> dict[str, Any]:
        """What is open there now."""
        if self._stream is None:
            self._stream = await connect(("127.0.0.1", self.control))
        await self._stream.send_all(b"?\n")
        received = b""
        while not received.endswith(b"\n"):
            data = await self._stream.receive_some()
            assert data, "the providers' process has ended"
            received += data
        state: dict[str, Any] = json.loads(received)
        return state

    async def aclose(self) -> None:
        """Close the control."""
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)


@asynccontextmanager
async def open_providers(seed: int, errors: int) -> AsyncIterator[Providers]:
    """The process, until the context is left; its errors go to that descriptor."""
    module = "tests.soak.provider"
    async with running(str(seed), module=module, stdin=PIPE, stderr=errors) as process:
        port, control, deaf, nobody = map(int, (await first_line(process)).split())
        providers = Providers(process, port, control, deaf, nobody)
        try:
            yield providers
        finally:
            with trio.CancelScope(shield=True):
                await providers.aclose()


@dataclass(slots=True)
class Probe:
    """What the probe has told since it was asked last."""

    told: list[list[float]] = field(default_factory=list)
    last: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    longest_ms: float = 0.0

    def take(self) -> tuple[float, float, float]:
        """The middle, the 99th percentile, and the machine's own delay, in milliseconds."""
        if self.told:
            columns = list(zip(*self.told, strict=True))
            self.last = [median(columns[0]), max(columns[1]), max(columns[2]), max(columns[3])]
            self.longest_ms = max(self.longest_ms, self.last[2])
            self.told.clear()
        return self.last[0], self.last[1], self.last[3]


@asynccontextmanager
async def open_probe(address: Address, errors: int) -> AsyncIterator[Probe]:
    """The probe's process, until the context is left."""
    host, port = address
    probe = Probe()

    async def listen(process: trio.Process) -> None:
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            probe.told += [json.loads(line) for line in lines]

    async with (
        running(host, str(port), module="tests.soak.probe", stdin=PIPE, stderr=errors) as process,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(listen, process)
        yield probe
        nursery.cancel_scope.cancel("nobody listens any more")


def waited_seconds(pid: int) -> float:
    """How long a process's main thread has waited for a core, though it could have run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


class Desk:
    """Takes the samples, and remembers what the next one is counted from."""

    def __init__(self, service: Service, providers: Providers, probe: Probe) -> None:
        self.service = service
        self.state: dict[str, Any] = {}
        """Of the providers, as of the last sample."""
        self.metrics: Metrics | None = None
        """As of the last sample; None: the service has none."""
        self._providers = providers
        self._probe = probe
        self._began = trio.current_time()
        self._before: tuple[float, float, float] | None = None
        self._asks = True
        self._scraped = -SCRAPE_SECONDS
        self._chunks: float | None = None
        self._unconnected = Held.by(service.pid).unconnected
        self._looking = trio.Lock()

    async def sample(self, phase: str, clients: int) -> Sample:
        """Look once; one look at a time."""
        async with self._looking:
            return await self._look(phase, clients)

    async def _look(self, phase: str, clients: int) -> Sample:
        service = self.service
        # As often as Prometheus asks, not as often as we look: a page of a hundred models has
        # megabytes. At rest always, for then it is held against what was seen.
        due = phase.startswith("rest") or trio.current_time() > self._scraped + SCRAPE_SECONDS
        scraped = await self._scrape() if self._asks and due else None
        self.state = await self._providers.state()
        held = Held.by(service.pid)
        unconnected, self._unconnected = held.unconnected & self._unconnected, held.unconnected
        now = trio.current_time()
        figures = now, service.processor_seconds(), waited_seconds(service.pid)
        before = self._before or (now - 1, figures[1], figures[2])
        seconds = max(now - before[0], 1e-6)
        chunks, lag = (self._chunks, None) if self._asks else (None, None)
        if scraped is not None and self.metrics is not None:
            seconds_between = max(now - self._scraped, 1e-6)
            earlier = self.metrics.total("compare_chunks_total")
            later = scraped.total("compare_chunks_total")
            if earlier is not None and later is not None:
                chunks = self._chunks = (later - earlier) / seconds_between
            lag = quantile(self.metrics, scraped, LAG, 0.99)
        self._before = figures
        if scraped is not None:
            self.metrics, self._scraped = scraped, now
        p50, p99, late = self._probe.take()
        return Sample(
            at=round(now - self._began, 3),
            phase=phase,
            rss_mib=round(service.resident() / MEBI, 3),
            uss_mib=_unshared(service.pid),
            descriptors=held.descriptors,
            unconnected=len(unconnected),
            sockets=held.sockets,
            threads=_threads(service.pid),
            provider_connections=self.state["connections"],
            provider_busy=self.state["busy"],
            clients=clients,
            comparisons=_whole(scraped, "compare_comparisons_running"),
            tasks=_whole(scraped, "compare_tasks"),
            series=scraped.series if scraped else None,
            chunks=chunks,
            health_p50_ms=p50,
            health_p99_ms=p99,
            lag_p99_ms=1000 * lag if lag is not None else None,
            machine_late_ms=late,
            processor=(figures[1] - before[1]) / seconds,
            waited=(figures[2] - before[2]) / seconds,
        )

    async def _scrape(self) -> Metrics | None:
        async with open_h1(self.service.address, {}) as client:
            await client.request("GET", "/metrics")
            body = await client.whole()
        if client.status == 404:
            self._asks = False  # this service has none
            return None
        return parsed(body.decode())


@dataclass(frozen=True, slots=True)
class Held:
    """A process's descriptors at one moment."""

    descriptors: int
    sockets: int
    unconnected: frozenset[tuple[str, str]]
    """By number and target: those that are no socket whose other end is there (ESTABLISHED)."""

    @classmethod
    def by(cls, pid: int) -> Held:
        """Count them now."""
        held = set()
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed while we looked
                held.add((name, os.readlink(f"/proc/{pid}/fd/{name}")))
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        connected = {f"socket:[{row[9]}]" for row in rows if row[3] == ESTABLISHED}
        return cls(
            len(held),
            sum(target.startswith("socket:") for _, target in held),
            frozenset(item for item in held if item[1] not in connected),
        )


def _unshared(pid: int) -> float | None:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    kib = [
        int(line.split()[1])
        for line in rollup.splitlines()
        if line.startswith(("Private_Clean:", "Private_Dirty:"))
    ]
    return round(sum(kib) / 1024, 3)


def _threads(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Threads:"):
            return int(line.split()[1])
    return 0


def _whole(metrics: Metrics | None, name: str) -> int | None:
    total = metrics.total(name) if metrics is not None else None
    return None if total is None else int(total)
