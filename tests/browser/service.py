"""The service as a process, for a browser to visit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.command import ROOT, environment

__all__ = ["Served", "serving"]


@dataclass(slots=True)
class Served:
    """A running service; `kill` ends it as a power cut would, `start` serves the same address."""

    speed: float
    digests: tuple[str, ...]
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        address = self.url.removeprefix("http://") or "127.0.0.1:0"
        command = ["tests.browser.served", address, str(self.speed), *self.digests]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the service did not start"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@contextmanager
def serving(*digests: str, speed: float = 1) -> Iterator[Served]:
    """A service on a free port; its simulated models are so many times as fast as usual."""
    served = Served(speed, digests)
    try:
        served.start()
        yield served
    finally:
        served.kill()
