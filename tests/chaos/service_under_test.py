"""The service as a process of its own, and what the system knows of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.chaos.clients import Address
from tests.chaos.waiting import until
from tests.command import running

__all__ = [
    "Config",
    "Service",
    "first_line",
    "open_service",
    "processor_seconds",
    "raise_descriptor_limit",
    "shell_with_descriptors",
]

LogLine = dict[str, Any]

START_SECONDS = 30
"""A second where nothing else runs; a machine that builds something beside takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of the service under test: short clocks, so that faults do not take minutes."""

    max_comparisons: int = 256
    connect: float = 1
    first_token: float = 1
    idle: float = 1
    total: float = 60
    heartbeat: float = 0.5
    write_timeout: float = 1
    drain: float = 3
    connections_per_address: int = 4096
    resets_per_connection: int = 100
    hosts: tuple[str, ...] = ()

    def toml(self, providers: Mapping[str, str]) -> str:
        """The file, with these providers and their addresses."""
        tables = [
            'default_provider = "fake"',
            f"[limits]\nmax_comparisons = {self.max_comparisons}",
            f"[deadlines]\nconnect = {self.connect}\nfirst_token = {self.first_token}\n"
            f"idle = {self.idle}\ntotal = {self.total}",
            # The first failure is what these rows are about; further attempts have their own tests.
            "[retries]\nattempts = 1",
            f"[stream]\nheartbeat = {self.heartbeat}\nwrite_timeout = {self.write_timeout}",
            "[catalogue]\nrefresh = 0",
            f"[server]\ndrain = {self.drain}\n"
            f"connections_per_address = {self.connections_per_address}\n"
            f"resets_per_connection = {self.resets_per_connection}\n"
            f"hosts = {list(self.hosts)}",
        ]
        for name, address in providers.items():
            tables.append(
                f'[providers.{name}]\ndialect = "openai"\nbase_url = "{address}"\n'
                "max_concurrency = 4096"
            )
        return "\n\n".join(tables) + "\n"


class Service:
    """A process that serves, seen from outside: its log, its descriptors, its memory."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.url = ""
        self.log: list[LogLine] = []
        """The lines of its log, oldest first."""
        self.stray: list[str] = []
        """What it wrote to standard error that is no line of the log: a traceback, for one."""
        self.take: Callable[[str], None] = self._keep
        """What becomes of a line of standard error; a run of a night does not keep them all."""

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def descriptors(self) -> int:
        """Its open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self) -> int:
        """Bytes of memory that it occupies."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def resident_peak(self) -> int:
        """The most bytes that it has ever occupied."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the system does not tell the peak of a process's memory")

    def forget_the_peak(self) -> None:
        """Count the peak from now on, where the system lets us."""
        with suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def processor_seconds(self) -> float:
        """User and system time that it has taken so far."""
        return processor_seconds(self.pid)

    def lines(self, event: str, **facts: object) -> list[LogLine]:
        """The log's lines of this event with these facts."""
        return [
            line
            for line in self.log
            if line.get("event") == event
            and all(line.get(name) == value for name, value in facts.items())
        ]

    async def logged(self, event: str, *, within: float, **facts: object) -> LogLine:
        """Wait for a line of the log."""
        said = f"the log says {event!r}" + (f" with {facts}" if facts else "")
        await until(lambda: self.lines(event, **facts), within=within, what=said)
        return self.lines(event, **facts)[-1]

    async def ended(self, *, within: float) -> tuple[int, float]:
        """Wait for the process's end; its exit code, and the seconds until then."""
        began = trio.current_time()
        with trio.move_on_after(within):
            code = await self.process.wait()
            return code, trio.current_time() - began
        raise AssertionError(f"the process has not ended after {within:g} s")

    async def keep_log(self) -> None:
        """Read standard error until it is closed."""
        assert self.process.stderr is not None
        rest = b""
        async for data in self.process.stderr:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.take(line.decode(errors="replace"))

    def _keep(self, line: str) -> None:
        try:
            parsed = json.loads(line)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            self.log.append(parsed)
        elif line:
            self.stray.append(line)


@asynccontextmanager
async def open_service(
    config: Path,
    *,
    options: Sequence[str] = (),
    shell: Sequence[str] = (),
    meddling: str | None = None,
    meddler: str = "tests.chaos.meddled",
    stderr: int = subprocess.PIPE,
    bind: str = "127.0.0.1:0",
) -> AsyncIterator[Service]:
    """Start the service and wait until it is ready; killed if it outlives the context.

    `meddling` names a fault that the module `meddler` builds into the process. With another
    `stderr` than a pipe there is no log to look at.
    """
    command = ["serve", "--bind", bind, "--config", str(config), *options]
    module = "service"
    if meddling is not None:
        command, module = [meddling, *command], meddler
    # Each exit is seen at once: the log's reader ends with the process's standard error.
    async with (
        running(*command, shell=shell, module=module, stderr=stderr) as process,
        trio.open_nursery() as nursery,
    ):
        service = Service(process)
        if process.stderr is not None:
            nursery.start_soon(service.keep_log, name="log of the service")
        with trio.move_on_after(START_SECONDS):
            if ready := await first_line(process):
                service.url = ready.split()[3]
        if not service.url:
            raise AssertionError(f"the service did not start: {service.stray[-3:]}")
        yield service
        nursery.cancel_scope.cancel("the fault is over")


def processor_seconds(pid: int) -> float:
    """User and system time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def first_line(process: trio.Process) -> str:
    """What a process prints first; empty when it ends without a word."""
    assert process.stdout is not None
    line = b""
    while b"\n" not in line:
        data = await process.stdout.receive_some()
        if not data:
            return ""
        line += data
    return line.decode()


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as the system allows it; a thousand clients do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def shell_with_descriptors(count: int) -> list[str]:
    """A shell that runs what follows with so many descriptors at most."""
    return ["sh", "-c", f'ulimit -n {count}; exec "$@"', "sh"]
