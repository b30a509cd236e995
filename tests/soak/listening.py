"""The canary during a run: one watch after the other, each begun before the last one ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import PIPE

import trio

from tests.chaos.canary import Canary, Report
from tests.chaos.service_under_test import Service, first_line
from tests.command import running
from tests.soak.result import Result
from tests.soak.sampling import waited_seconds

__all__ = ["Listening", "open_canary"]

WATCH_SECONDS = 20.0
"""How long a watch lasts. Its clients keep what they have heard, and a night must not fill them."""


@asynccontextmanager
async def open_canary(errors: int) -> AsyncIterator[Canary]:
    """The canary's process, until the context is left; its errors go to that descriptor."""
    async with running(module="tests.chaos.canary", stdin=PIPE, stderr=errors) as process:
        control, provider = (await first_line(process)).split()
        yield Canary(int(control), int(provider))


class Listening:
    """Two clients that nobody disturbs, over HTTP/1.1 and HTTP/2, until `stop`."""

    def __init__(self, canary: Canary, service: Service, result: Result) -> None:
        self._canary = canary
        self._service = service
        self._result = result
        self._stopped = trio.Event()

    def stop(self) -> None:
        """Let the models of the last watch end."""
        self._stopped.set()

    async def listen(self) -> None:
        """Watch until stopped, and judge what each watch reports."""
        async with trio.open_nursery() as nursery:
            while not self._stopped.is_set():
                await nursery.start(self._watch)
                with trio.move_on_after(WATCH_SECONDS):
                    await self._stopped.wait()

    async def _watch(self, *, task_status: trio.TaskStatus[None]) -> None:
        began, waited = trio.current_time(), waited_seconds(self._service.pid)
        async with self._canary.watching(self._service.address) as watching:
            task_status.started()
            with trio.move_on_after(WATCH_SECONDS + 1):
                await self._stopped.wait()
        waited = waited_seconds(self._service.pid) - waited
        self._hear(watching.report, waited / (trio.current_time() - began))

    def _hear(self, report: Report, waited: float) -> None:
        """Judge a watch; for that part of it the service has waited for a core.

        A process that gets a core for a fifth of the time in which it wants one takes five times
        as long for everything, and that is the machine's doing.
        """
        result = self._result
        result.canary_gap = max(result.canary_gap, report.gap)
        result.canary_tokens += report.tokens
        for what in report.wrong:
            result.findings.add(f"canary: {what}")
        may = result.options.gap / max(1 - waited, 0.05)
        if report.gap > may:
            result.findings.add(f"canary: silent for {report.gap:.2f} s, more than {may:.2f}")
        for comparison in report.accepted:
            result.ledger.left(comparison, "canary")
