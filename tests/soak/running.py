"""One run: rest, warm up, rest, load, rest; and what is looked at all the while."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import trio

from tests.chaos.canary import Canary
from tests.chaos.clients import open_h1
from tests.chaos.service_under_test import Service, open_service, raise_descriptor_limit
from tests.chaos.waiting import comes
from tests.soak.acting import Clients, Figures
from tests.soak.findings import Findings
from tests.soak.ledger import Ledger
from tests.soak.listening import Listening, open_canary
from tests.soak.pace import Pace
from tests.soak.plans import plan
from tests.soak.resting import AFTER, BEFORE, BETWEEN, grown_meanwhile, left_over, told_otherwise
from tests.soak.result import Options, Result
from tests.soak.sampling import Desk, Probe, Providers, open_probe, open_providers
from tests.soak.series import judge
from tests.soak.setup import Clocks, settings

__all__ = ["first_of", "soak"]

START_SECONDS = 20
SETTLE_SECONDS = 20.0
"""Within which everything is at rest again: kept connections expire after 4 s, threads after 10."""
SHORT_SETTLE_SECONDS = 5.0
WORKS_ON_SECONDS = 5.0
"""How long a provider may go on for a client that is through. Nothing of that waits for anything
but the machine, and the machine may be busy."""
MOST_CLIENTS = 1500
"""At once. Whoever would be one more is left out, and the report says how many were."""
REREAD = "settings read again"
"""What the log says of a SIGHUP that was heeded; of one that was not it tells an error."""
ADJUST_SECONDS = 5.0
TRACE_SECONDS = 10.0
"""What a service may take to say what its memory went to; nothing else goes on meanwhile."""
RELOAD_SECONDS = 15.0

Say = Callable[[str, Result], None]


async def soak(options: Options, say: Say) -> Result:
    """Run it; `say` hears of each phase's beginning, and of each minute.

    Never raises for what the service does. Cancelled, it ends all its processes.
    """
    raise_descriptor_limit()
    findings = Findings()
    result = Result(options, findings, Figures(), Ledger(findings.add))
    errors = sys.stderr.fileno()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        async with open_canary(errors) as canary, open_providers(options.seed, errors) as others:
            setup = Setup(Path(folder) / "compare.toml", options.clocks, others, canary)
            setup.write()
            async with open_service(
                setup.file, meddling=options.planted, meddler="tests.soak.planted"
            ) as service:
                service.take = result.ledger.take
                async with open_probe(service.address, errors) as probe:
                    await Run(result, service, setup, probe, say).play()
    load = [sample for sample in result.samples if sample.phase == "load"]
    result.judgements = judge([sample for sample in load if sample.at > load[0].at + options.ramp])
    return result


@dataclass(frozen=True, slots=True)
class Setup:
    """What the service is told, and who is around it."""

    file: Path
    clocks: Clocks
    providers: Providers
    canary: Canary

    def write(self, *, places: int = 1024) -> None:
        """Its settings."""
        ports = self.providers.port, self.providers.deaf, self.providers.nobody
        self.file.write_text(settings(self.clocks, *ports, self.canary.base_url, places=places))


class Run:
    """One run under way."""

    def __init__(
        self, result: Result, service: Service, setup: Setup, probe: Probe, say: Say
    ) -> None:
        self._result = result
        self._service = service
        self._setup = setup
        self._probe = probe
        self._say = say
        self._wrong = result.findings.add
        seed = result.options.seed
        self._clients = Clients(
            seed,
            service.address,
            setup.clocks,
            result.ledger,
            result.figures,
            self._wrong,
        )
        self._desk = Desk(service, setup.providers, probe)
        self._arrivals = random.Random(f"{seed} arrivals")
        pids = {
            "the service": service.pid,
            "the clients": os.getpid(),
            "the providers": setup.providers.process.pid,
        }
        self._pace = Pace.of(result.options.rate, pids, lambda: result.begun)
        self._phase = ""

    async def play(self) -> None:
        """All phases, one after the other."""
        try:
            await self._phases()
        except* (AssertionError, OSError, trio.BrokenResourceError, trio.TooSlowError) as group:
            # The service is gone, or somebody of the harness: what is known so far is reported.
            self._wrong(f"{self._phase}: it was broken off: {first_of(group)!r}")
        for what in grown_meanwhile(self._result.rests, self._result.begun):
            self._wrong(what)
        self._result.probe_longest_ms = self._probe.longest_ms
        if not self._service.alive:
            self._wrong(f"the service has ended with {self._service.process.poll()}")

    async def _phases(self) -> None:
        options = self._result.options
        await self._is_ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_on, name="samples")
            await self._rest(BEFORE)
            if not options.short:
                await self._load("warm-up", options.warm_up, adjusting=True)
                await self._rest(BETWEEN)
            began = trio.current_time()
            await self._load("load", 60 * options.minutes - options.warm_up)
            self._result.load_seconds = trio.current_time() - began
            await self._rest(AFTER)
            nursery.cancel_scope.cancel("it is over")

    async def _is_ready(self) -> None:
        """Wait for the list of prices: a cap on the cost is refused before it has come."""
        with trio.fail_after(START_SECONDS):
            while True:
                async with open_h1(self._service.address, {}) as client:
                    await client.request("GET", "/models")
                    if b'"priced:whole"' in await client.whole():
                        return
                await trio.sleep(0.1)

    async def _load(self, phase: str, seconds: float, *, adjusting: bool = False) -> None:
        self._begin(phase)
        ends = trio.current_time() + seconds
        listening = Listening(self._setup.canary, self._service, self._result)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listening.listen, name="canary")
            if self._result.options.reload:
                nursery.start_soon(self._reload, ends, name="reloads")
            await self._arrive(nursery, ends, adjusting=adjusting)
            self._phase = f"end of the {phase}"
            # Whoever is still there may come to an end, and then the canary.
            longest = self._setup.clocks.longest
            nursery.cancel_scope.deadline = trio.current_time() + longest + START_SECONDS
            await comes(lambda: not self._clients.running, within=longest)
            listening.stop()
        if nursery.cancel_scope.cancelled_caught:
            self._wrong(f"{phase}: it did not come to its end")
        self._result.rate, self._result.why = self._pace.rate, self._pace.why

    async def _arrive(self, nursery: trio.Nursery, ends: float, *, adjusting: bool) -> None:
        """Clients at random: as many in each second as the rate says, in the middle."""
        due = adjusted = trio.current_time()
        if adjusting:
            self._pace.adjust()
        while (now := trio.current_time()) < ends:
            if adjusting and now > adjusted + ADJUST_SECONDS:
                waited = [sample.waited for sample in self._result.samples[-3:]]
                self._pace.adjust(median(waited) if waited else 0.0)
                adjusted = now
            due = max(due + self._arrivals.expovariate(self._pace.rate), now - 1)
            await trio.sleep_until(due)
            if len(self._clients.running) >= MOST_CLIENTS:
                self._result.left_out += 1
                continue
            number = self._result.begun
            self._result.begun += 1
            drawn = plan(self._result.options.seed, number)
            nursery.start_soon(self._clients.act, drawn, name=f"client {number}")

    async def _rest(self, phase: str) -> None:
        """Wait until nothing is left of what was; then look."""
        self._begin(phase)
        rests, ledger = self._result.rests, self._result.ledger
        short = self._result.options.short
        gives_up = trio.current_time() + (SHORT_SETTLE_SECONDS if short else SETTLE_SECONDS)
        while True:
            sample = await self._desk.sample(phase, len(self._clients.running))
            ledger.look()
            left = left_over(rests.get(BEFORE), sample, ledger, short=short)
            if not left or trio.current_time() > gives_up:
                break
            await trio.sleep(0.2)
        if phase == AFTER and (read := ledger.events[REREAD]) != self._result.reloads:
            left.append(f"{self._result.reloads} times SIGHUP, and the settings were read {read}")
        left += told_otherwise(self._desk.metrics, ledger, self._desk.state["asked"])
        for what in left:
            self._wrong(f"{phase}: {what}")
        rests[phase] = sample
        self._result.samples.append(sample)
        if "trace" in (self._result.options.planted or "").split(","):
            self._service.process.send_signal(signal.SIGUSR1)
            await trio.sleep(TRACE_SECONDS)
            self._result.ledger.traced, told = [], self._result.ledger.traced
            self._say("\n".join([f"memory until {phase}:", *told]), self._result)

    async def _reload(self, ends: float) -> None:
        """Other settings, and a SIGHUP."""
        chance = random.Random(f"{self._result.options.seed} reloads")
        while True:
            await trio.sleep(chance.uniform(0.5, 1.5) * RELOAD_SECONDS)
            if trio.current_time() > ends:
                return
            self._result.reloads += 1
            self._setup.write(places=1000 + self._result.reloads % 2)
            self._service.process.send_signal(signal.SIGHUP)

    async def _look_on(self) -> None:
        """Samples during the load, and what the providers still work on."""
        began, minute = trio.current_time(), 1
        chunks, at = 0, began
        while True:
            await trio.sleep(self._result.options.every)
            assert self._service.alive, "the service has ended"
            if self._phase.startswith("rest"):
                continue
            sample = await self._desk.sample(self._phase, len(self._clients.running))
            now = trio.current_time()
            if sample.chunks is None:  # as the clients count them, at the ends of their streams
                seen = self._result.figures.chunks
                sample = replace(sample, chunks=(seen - chunks) / (now - at))
                chunks, at = seen, now
            self._result.samples.append(sample)
            self._result.ledger.look()
            self._works_for_nobody()
            if now >= began + 60 * minute:
                self._say(f"minute {minute}", self._result)
                minute += 1

    def _works_for_nobody(self) -> None:
        """Whether a provider is at work for a client that is through."""
        now = trio.current_time()
        for question, model, _ in self._desk.state.get("open", ()):
            if question in self._clients.running:
                continue
            over = self._clients.over.get(question)
            if over is None:
                self._wrong(f"{model} is at work for a client that has asked nothing")
            elif now > over + WORKS_ON_SECONDS:
                self._wrong(f"{model} is at work {now - over:.0f} s after its client was through")
        self._clients.forget(now - 10 * WORKS_ON_SECONDS)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._say(phase, self._result)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What has happened, out of its groups."""
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
