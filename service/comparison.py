"""The heart: one nursery, one child per model, one bounded channel out.

    the reader's task ─ Comparison.open()
                         └─ nursery
                             └─ conduct            sends every start, later the one complete
                                 └─ nursery
                                     ├─ model a    its own clocks; contains its own failure
                                     ├─ model b
                                     └─ model c

`conduct` is the grammar of the stream written down: the starts, then whatever the models say,
then, when the last of them has ended, `complete`. A model's child ends by itself, by one of its
clocks, or because the reader has left; its failure is told in its own words and never reaches a
sibling. The reader leaves by leaving `Comparison.open`, which cancels whatever still runs
and returns when all of it is gone.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio
from msgspec import UNSET
from msgspec.structs import asdict
from structlog.contextvars import bind_contextvars

from service.account import Account
from service.answering import Answering, End, cut_short
from service.attempts import Attempts
from service.entrants import Entrant, entrants_of
from service.events import (
    Complete,
    Done,
    ErrorCode,
    Start,
    StoppedBy,
)
from service.fanin import Inbox, Outbox, open_fan_in
from service.heartbeat import Heartbeat
from service.limiter import Limiters
from service.meter import Meter
from service.outcome import Outcome, summarise
from service.outlet import Outlet
from service.patience import Patience, Vigil, Watch
from service.persistence import Persistence
from service.progress import Experience, Gauge
from service.pulse import Pulse
from service.question import Question
from service.request import milliseconds, question_costs
from service.running import Running, Stop
from service.spending import Spending
from service.tracing import UNTRACED, Trace

__all__ = ["Comparison", "Entrant", "entrants_of"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

CUT = frozenset({"length", "max_tokens", "MAX_TOKENS"})
"""Finish reasons of answers that would have been longer."""


class Comparison:
    """One question to several models; opened at most once.

    `pulse` is the beat at which chunks are looked for under load; without one there is none.
    `heartbeat` is how many seconds the reader may wait in vain before it finds `SILENCE`.
    `limiters` say when a provider may be asked, `persistence` how often; without them at once,
    once. `on_done` hears every model's end, cancelled ones included; it must not block.
    `experience` is what is known of the length of answers, and learns of these. `meter` counts,
    `trace` hears how it goes.
    """

    def __init__(
        self,
        question: Question,
        entrants: Sequence[Entrant],
        patience: Patience,
        *,
        pulse: Pulse | None = None,
        heartbeat: float = math.inf,
        limiters: Limiters | None = None,
        persistence: Persistence | None = None,
        on_done: Callable[[Done], None] = lambda _: None,
        experience: Experience | None = None,
        meter: Meter | None = None,
        trace: Trace = UNTRACED,
    ) -> None:
        # In hexadecimal: base64 spells "sk-..." one time in some thousands, which the log takes
        # for a key, and then hides whose line it is.
        self.id = secrets.token_hex(16)
        self.question = question
        self.entrants = tuple(entrants)
        self._patience = patience
        self._pulse = pulse or Pulse(0)
        self._heartbeat = heartbeat
        self._limiters = limiters or Limiters()
        self._persistence = persistence or Persistence()
        self._on_done = on_done
        self._running = Running(entrant.name for entrant in self.entrants)
        self._stopped: ErrorCode | None = None
        self._experience = experience or Experience()
        self.meter = meter or Meter()
        self._finished = 0
        self._trace = trace
        self._opened = False
        self._log = log.bind(comparison=self.id)
        # Last: a question that costs too much by itself is stopped here.
        self._spending = self._limited_spending()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Inbox]:
        """Start every model, and hand out the channel of their events.

        The channel ends after `Complete`. Leaving the context earlier, or being cancelled in it,
        cancels every model; when it has been left, no task or connection of the comparison
        remains.
        """
        outcome = self._begin()
        outbox, inbox = open_fan_in(len(self.entrants), self.question.priority)
        try:
            async with trio.open_nursery() as nursery:
                heartbeat = Heartbeat(self._heartbeat, inbox, outbox)
                nursery.start_soon(
                    self._conduct, outcome, outbox, heartbeat, name=f"comparison {self.id}"
                )
                yield inbox
                # Not closed first: the children then see Cancelled and nothing besides.
                nursery.cancel_scope.cancel("the reader has left")
        except Exception:
            outcome.word = "failed"
            raise
        finally:
            self._log_end(outcome, inbox.peak)

    def let_go(self) -> None:
        """Its request is over. Left before it was opened, it ends here, and nobody was asked."""
        if not self._opened:
            self._log_end(self._begin(), 0)

    def stop(self, code: ErrorCode, by: StoppedBy | None = None) -> list[str]:
        """End every model that still runs with this code; their `done`s and `complete` follow.

        The requests to providers are closed as fast as cancellation goes. Gives the models' names.
        """
        if by is None:
            self._stopped = code
        return self._running.stop(Stop(code, by))

    def stop_model(self, name: str) -> list[str]:
        """End this model as somebody asked; the others don't notice. Empty if it does not run."""
        return self._running.stop(Stop("cancelled", "request"), name)

    async def _conduct(self, outcome: Outcome, outbox: Outbox, heartbeat: Heartbeat) -> None:
        with outbox:
            # In one write; and only when the reader has taken them is anybody asked, and billed.
            await outbox.send(*map(_start, self.entrants))
            vigil = Vigil(heartbeat)
            async with trio.open_nursery() as models:
                for entrant in self.entrants:
                    models.start_soon(
                        self._run_model,
                        entrant,
                        outcome,
                        Watch(self._patience, vigil),
                        outbox.clone(),
                        name=f"model {entrant.name}",
                    )
                await vigil.keep()
            metadata = summarise(self.id, self.question, outcome)
            await outbox.send(Complete(metadata=metadata))
            outcome.word = "complete"

    async def _run_model(
        self, entrant: Entrant, outcome: Outcome, watch: Watch, outbox: Outbox
    ) -> None:
        # For whoever logs below: a child's context is its own.
        bind_contextvars(comparison=self.id, model=entrant.name)
        provider = entrant.provider
        self._trace.model_begins(entrant.name, provider.name, entrant.prompt, provider.simulated)
        with outbox:
            account = Account(entrant.name, entrant.prompt)
            self.meter.model_begins(entrant, account, outbox)
            try:
                stopped = self._running.asked(entrant.name, watch)
                if stopped is not None:
                    with watch:  # nobody is asked
                        end = cut_short(account, stopped)
                else:
                    answering = self._answering(entrant, account, watch, outbox)
                    end = await answering.end() or cut_short(
                        account, self._running.stop_of(entrant.name)
                    )
            except BaseException:
                if not outbox.is_free:
                    account.take_back()
                self._ended(outcome, entrant, account, End(account.failed("cancelled")))
                raise
            self._running.ended(entrant.name)
            self._ended(outcome, entrant, account, end)
            self._heed(entrant, account, end.done)
            words = () if end.words is None else (end.words,)
            await outbox.send(*words, end.done)

    def _answering(
        self, entrant: Entrant, account: Account, watch: Watch, outbox: Outbox
    ) -> Answering:
        on_words = None
        if self._spending is not None:
            on_words = account.on_spent = partial(self._spending.look, account)
        attempts = Attempts(
            entrant.candidates,
            party=self,
            limiters=self._limiters,
            persistence=self._persistence,
            account=account,
            watch=watch,
        )
        gauge = Gauge(account, partial(self._expected, entrant, account), on_words)
        outlet = Outlet(account, watch, outbox, self._pulse, self._log, gauge)
        return Answering(attempts, outlet, outbox, self.question.hedge_after)

    def _heed(self, entrant: Entrant, account: Account, done: Done) -> None:
        """What one model's end means for the others, now and later."""
        if self._spending is not None:
            self._spending.ended(done)
        if done.error:
            return
        if done.finish_reason not in CUT:
            answering = entrant.answering(account.answered_by)
            self._experience.record(answering.model_id, account.tokens)
        self._finished += 1
        if self._finished == self.question.first_k:
            self.stop("cancelled", by="first_k")

    def _expected(self, entrant: Entrant, account: Account) -> int:
        """How many tokens its answer may come to."""
        answering = entrant.answering(account.answered_by)
        usual = self._experience.usual(answering.model_id)
        most = answering.prompt.max_tokens
        return most if usual is None else min(usual, most)

    def _limited_spending(self) -> Spending | None:
        if self.question.max_cost_usd is None:
            return None
        return Spending(
            self.question.max_cost_usd,
            {e.name: question_costs(e.prompt, e.price) for e in self.entrants},
            lambda: self.stop("cancelled", by="max_cost_usd"),
        )

    def _ended(self, outcome: Outcome, entrant: Entrant, account: Account, end: End) -> None:
        done = end.done
        outcome.dones.append(done)
        self.meter.model_ended(account, done)
        self._trace.model_ended(done)
        self._log.info(
            "model ended",
            model=entrant.name,
            provider=entrant.provider.name,
            outcome=done.outcome,
            code=done.code,
            finish_reason=done.finish_reason,
            chunks=done.chunks,
            attempts=done.attempts,
            **asdict(done.timings),
            **(asdict(done.usage) if done.usage else {}),
            **({"stopped_by": done.stopped_by} if done.stopped_by else {}),
            **(end.error.facts() if end.error else {}),
        )
        self._on_done(done)

    def _begin(self) -> Outcome:
        self._opened = True
        self._log.info("comparison began", models=[entrant.name for entrant in self.entrants])
        self._trace.begins(self.id, len(self.entrants))
        return Outcome(trio.current_time())

    def _log_end(self, outcome: Outcome, peak: int) -> None:
        failed = sum(done.error for done in outcome.dones)
        if outcome.word == "client_gone" and self._stopped is not None:
            outcome.word = self._stopped
        self.meter.comparisons[outcome.word] += 1
        self._trace.ended(outcome.word, outcome.dones)
        self._log.info(
            "comparison ended",
            outcome=outcome.word,
            models=len(self.entrants),
            failed=failed,
            chunks=sum(done.chunks for done in outcome.dones),
            wall_ms=milliseconds(trio.current_time() - outcome.started_at),
            peak_buffer_used=peak,
        )


def _start(entrant: Entrant) -> Start:
    return Start(
        model=entrant.name,
        provider=entrant.provider.name,
        parameters=dict(entrant.provider.parameters(entrant.prompt)),
        simulated=True if entrant.provider.simulated else UNSET,
    )
