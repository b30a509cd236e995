"""One process's counts since it began, and what runs in it now.

Counting is a step of the work, so it must cost next to nothing and never fail. Of an answer that
runs nothing is counted here chunk by chunk: its account knows, and is asked when somebody looks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from service.account import Account
from service.entrants import Candidate, Entrant
from service.events import Done
from service.fanin import Outbox
from service.histogram import Histogram
from service.meter.operations import ModelNames, Operations
from service.request import Request

__all__ = ["Meter"]

WAIT_SECONDS = (0.005, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
ADDED_SECONDS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


OUTCOMES = ("complete", "client_gone", "server_shutdown", "failed")
REFUSALS = ("busy", "draining", "daily_limit_reached", "unauthorized", "internal_error")
"""Those that an operator is woken for, or asked about."""
READINGS = ("in_force", "kept")
CUTS = ("write_timeout", "connections", "resets_or_idle_frames")


@dataclass(frozen=True, slots=True)
class _Answer:
    """One that runs."""

    entrant: Entrant
    account: Account
    outbox: Outbox

    @property
    def provider(self) -> str:
        return self.entrant.answering(self.account.answered_by).provider.name

    @property
    def chunks(self) -> int:
        """Those that its reader has taken."""
        return self.account.chunks if self.outbox.is_free else self.account.chunks_before


class Meter:
    """What is counted; see `service.metrics.names` for what each count means."""

    def __init__(self) -> None:
        # What can happen is there with 0: of what appears with its first count, nobody can say
        # that it has grown.
        self.comparisons: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        """Ended, by outcome."""
        self.refusals: Counter[str] = Counter(dict.fromkeys(REFUSALS, 0))
        """By code."""
        self.models: Counter[tuple[str, str, str]] = Counter()
        """Ended, by provider, outcome and code."""
        self.tokens: Counter[tuple[str, str, bool]] = Counter()
        """By provider, direction, and whether it is an estimate."""
        self.cost_usd: dict[tuple[str, bool], float] = defaultdict(float)
        """By provider, and whether it is an estimate."""
        self.waits: dict[str, Histogram] = defaultdict(lambda: Histogram(WAIT_SECONDS))
        """Seconds in line, by provider; those that need not wait are counted with 0."""
        self.operations: dict[tuple[str, str], Operations] = defaultdict(Operations)
        """By provider and model."""
        self.cuts: Counter[str] = Counter(dict.fromkeys(CUTS, 0))
        """Clients, by reason."""
        self.readings: Counter[str] = Counter(dict.fromkeys(READINGS, 0))
        """Of the settings while serving, by outcome."""
        self.added = Histogram(ADDED_SECONDS)
        """Seconds from the provider's bytes to our write, for each chunk."""
        self.lag = Histogram(LAG_SECONDS)
        """Seconds by which a task that was due woke up late."""
        self.stream_bytes = 0
        self.heartbeats = 0
        self.faults = 0
        """Connections that a fault of our own ended."""
        self.connections = 0
        """Open now."""
        self._chunks: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._names = ModelNames()
        self._running: dict[int, _Answer] = {}

    def model_begins(self, entrant: Entrant, account: Account, outbox: Outbox) -> None:
        """Whatever becomes of it, `model_ended` follows."""
        self._running[id(account)] = _Answer(entrant, account, outbox)

    def model_ended(self, account: Account, done: Done) -> None:
        """Count how it ended, under the one who answered in the end."""
        ended = self._running.pop(id(account))
        who = ended.entrant.answering(account.answered_by)
        provider = who.provider.name
        self.models[provider, done.outcome, done.code or ""] += 1
        self.waits[provider].observe(done.timings.queue_ms / 1000)
        self._chunks[provider] += done.chunks
        self._requests.update(_left(account))
        for request in account.requests:
            self._count_usage(request)
        if done.attempts:
            self._operations(who, done).count(account, done)

    def running(self) -> Counter[str]:
        """Models that run now, by provider."""
        return Counter(answer.provider for answer in self._running.values())

    def chunks(self) -> Counter[str]:
        """Chunks that readers have taken, by provider."""
        taken = self._chunks.copy()
        for answer in self._running.values():
            taken[answer.provider] += answer.chunks
        return taken

    def requests(self) -> Counter[str]:
        """Requests that left for providers, by name."""
        left = self._requests.copy()
        for answer in self._running.values():
            left.update(_left(answer.account))
        return left

    def _operations(self, who: Candidate, done: Done) -> Operations:
        provider, model = who.provider.name, who.prompt.model
        name = self._names.of(provider, model, answered=done.chunks > 0)
        return self.operations[provider, name]

    def _count_usage(self, request: Request) -> None:
        provider, usage = request.provider, request.usage
        if usage is not None:
            self.tokens[provider, "input", usage.estimated] += usage.input_tokens
            self.tokens[provider, "output", usage.estimated] += usage.output_tokens
        if request.cost_usd is not None:
            self.cost_usd[provider, not request.reported] += request.cost_usd


def _left(account: Account) -> list[str]:
    """The providers of an answer's requests that left, one for each."""
    return [request.provider for request in account.requests if request.has_left]
