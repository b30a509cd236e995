"""The processes that are measured, and what the system knows of them (Linux)."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.command import ROOT, environment

__all__ = ["DidNotStart", "Process", "raise_descriptor_limit", "started"]

START_SECONDS = 20
STOP_SECONDS = 5


class DidNotStart(Exception):
    """A process that ended, or said nothing, before it was ready; with the reason it gave."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that listens."""

    running: subprocess.Popen[str]
    said: str
    """The first line that it printed: it is ready when it has."""
    errors: int
    """The descriptor of the file that its standard error goes to."""

    @property
    def pid(self) -> int:
        """Its number."""
        return self.running.pid

    def gone(self) -> str | None:
        """How it ended, if it has, though nobody told it to."""
        code = self.running.poll()
        if code is None:
            return None
        return f"the process has ended with {code}: {_last_line(self.errors)}"

    @property
    def port(self) -> int:
        """The number in the line's first word that ends with one: `8000` or `http://host:8000`."""
        for word in self.said.split():
            number = word.rpartition(":")[2]
            if number.isdecimal():
                return int(number)
        raise DidNotStart(f"no port in {self.said!r}")

    def processor_seconds(self) -> float:
        """What it has taken of the processors so far, in all its threads, ended ones too.

        Linux numbers the processor clock of every process so; unlike the ticks in `/proc`, of 10 ms
        each, it counts nanoseconds.
        """
        return time.clock_gettime(~self.pid << 3 | 2)

    def resident_kib(self) -> float:
        """Memory that it occupies, in KiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1024


def raise_descriptor_limit() -> None:
    """Open as many files as the system allows: each model of each comparison is a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def started(
    module: str, *arguments: str, folder: Path = ROOT, variables: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """A Python module as a process, from its first line on; ended with the context.

    `folder` is the checkout that the module is taken from.

    Raises:
        DidNotStart: it ended instead, or took too long.
    """
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=environment(PYTHONPATH=str(folder), **(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Process(process, _first_line(process, errors.fileno()), errors.fileno())
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _first_line(process: subprocess.Popen[str], errors: int) -> str:
    assert process.stdout is not None
    said, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if said else ""
    if not line:
        raise DidNotStart(_last_line(errors) or f"it said nothing for {START_SECONDS} s")
    return line.strip()


def _last_line(errors: int) -> str:
    lines = os.pread(errors, 64 * 1024, 0).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
