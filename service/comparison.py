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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio
from msgspec import UNSET
from msgspec.structs import asdict
from structlog.contextvars import bind_contextvars

from service.account import Account, milliseconds
from service.errors import ProviderError
from service.events import (
    Complete,
    Done,
    ErrorChunk,
    ErrorCode,
    Start,
)
from service.fanin import Inbox, Outbox, open_fan_in
from service.heartbeat import Heartbeat
from service.outcome import Outcome, summarise
from service.outlet import Outlet
from service.patience import Patience, Vigil, Watch
from service.providers import Prompt, Provider
from service.pulse import Pulse
from service.question import Question

__all__ = ["Comparison", "Entrant", "entrants_of"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

INTERNAL_ERROR = ProviderError(
    "internal_error", "The service failed on this model; its log has the reason. Try again."
)
STOP_WORDS: Mapping[ErrorCode, str] = {
    "server_shutdown": "The service is stopping. Ask again in a moment.",
}


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model of a comparison, ready to be asked."""

    name: str
    """What the events call it; unique in its comparison."""
    provider: Provider
    prompt: Prompt


def entrants_of(question: Question, find: Callable[[str], tuple[Provider, str]]) -> list[Entrant]:
    """The models of a question; `find` gives an id's provider, and the model's name there."""
    entrants = []
    for entry in question.entries:
        provider, model = find(entry.requested)
        entrants.append(Entrant(entry.name, provider, question.prompt_for(entry, model)))
    return entrants


@dataclass(frozen=True, slots=True)
class End:
    """How one model's answer ended."""

    done: Done
    words: ErrorChunk | None = None
    """What clients that know only chunks are shown of a failure."""
    error: ProviderError | None = None


class Comparison:
    """One question to several models; opened at most once.

    `pulse` is the beat at which chunks are looked for under load; without one there is none.
    `heartbeat` is how many seconds the reader may wait in vain before it finds `SILENCE`.
    `on_done` hears every model's end, cancelled ones included; it must not block.
    """

    def __init__(
        self,
        question: Question,
        entrants: Sequence[Entrant],
        patience: Patience,
        *,
        pulse: Pulse | None = None,
        heartbeat: float = math.inf,
        on_done: Callable[[Done], None] = lambda _: None,
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.question = question
        self.entrants = tuple(entrants)
        self._patience = patience
        self._pulse = pulse or Pulse(0)
        self._heartbeat = heartbeat
        self._on_done = on_done
        self._watches: list[Watch] = []
        self._stopped: ErrorCode | None = None
        self._log = log.bind(comparison=self.id)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Inbox]:
        """Start every model, and hand out the channel of their events.

        The channel ends after `Complete`. Leaving the context earlier, or being cancelled in it,
        cancels every model; when it has been left, no task or connection of the comparison
        remains.
        """
        outcome = Outcome(trio.current_time())
        outbox, inbox = open_fan_in(len(self.entrants))
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
            self._log_end(outcome, inbox)

    def stop(self, code: ErrorCode) -> None:
        """End every model that still runs with this code; their `done`s and `complete` follow."""
        self._stopped = code
        for watch in self._watches:
            watch.stop(code)

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
                        self._watched(vigil),
                        outbox.clone(),
                        name=f"model {entrant.name}",
                    )
                await vigil.keep()
            metadata = summarise(self.id, self.question, outcome)
            await outbox.send(Complete(metadata=metadata))
            outcome.word = "complete"

    def _watched(self, vigil: Vigil) -> Watch:
        watch = Watch(self._patience, vigil)
        self._watches.append(watch)
        if self._stopped is not None:
            watch.stop(self._stopped)
        return watch

    async def _run_model(
        self, entrant: Entrant, outcome: Outcome, watch: Watch, outbox: Outbox
    ) -> None:
        # For whoever logs below: a child's context is its own.
        bind_contextvars(comparison=self.id, model=entrant.name)
        with outbox:
            account = Account(entrant.name, entrant.prompt)
            try:
                end = await self._ask(entrant, account, watch, outbox)
            except BaseException:
                if not outbox.is_free:
                    account.take_back()
                self._ended(outcome, entrant, End(account.failed("cancelled")))
                raise
            self._ended(outcome, entrant, end)
            words = () if end.words is None else (end.words,)
            await outbox.send(*words, end.done)

    async def _ask(self, entrant: Entrant, account: Account, watch: Watch, outbox: Outbox) -> End:
        """One model's answer under its clocks, and how it ended."""
        outlet = Outlet(account, watch, outbox, self._pulse, self._log)
        try:
            with watch:
                ending = await entrant.provider.stream(entrant.prompt, outlet)
                return End(account.finished(ending))
        except ProviderError as error:
            done = account.failed(error.code, usage=error.usage, cost_usd=error.cost_usd)
            return End(done, account.error_chunk(error), error)
        except Exception:
            # A bug in one provider must not take the others' answers with it. A group that holds
            # Cancelled is no Exception and passes: it is being cancelled already.
            self._log.exception("provider code failed", model=entrant.name)
            return End(account.failed("internal_error"), account.error_chunk(INTERNAL_ERROR))
        code, seconds = watch.verdict()
        if seconds is not None:
            return End(account.failed(code), account.timed_out(seconds))
        stopped = ProviderError(code, STOP_WORDS[code])
        return End(account.failed(code), account.error_chunk(stopped))

    def _ended(self, outcome: Outcome, entrant: Entrant, end: End) -> None:
        done = end.done
        outcome.dones.append(done)
        self._log.info(
            "model ended",
            model=entrant.name,
            provider=entrant.provider.name,
            outcome=_outcome_of(done),
            code=done.code,
            finish_reason=done.finish_reason,
            chunks=done.chunks,
            attempts=done.attempts,
            **asdict(done.timings),
            **(asdict(done.usage) if done.usage else {}),
            **(end.error.facts() if end.error else {}),
        )
        self._on_done(done)

    def _log_end(self, outcome: Outcome, inbox: Inbox) -> None:
        failed = sum(done.error for done in outcome.dones)
        if outcome.word == "client_gone" and self._stopped is not None:
            outcome.word = self._stopped
        self._log.info(
            "comparison ended",
            outcome=outcome.word,
            models=len(self.entrants),
            failed=failed,
            chunks=sum(done.chunks for done in outcome.dones),
            wall_ms=milliseconds(trio.current_time() - outcome.started_at),
            peak_buffer_used=inbox.peak,
        )


def _start(entrant: Entrant) -> Start:
    return Start(
        model=entrant.name,
        provider=entrant.provider.name,
        parameters=dict(entrant.provider.parameters(entrant.prompt)),
        simulated=True if entrant.provider.simulated else UNSET,
    )


def _outcome_of(done: Done) -> str:
    if not done.error:
        return "finished"
    return "cancelled" if done.code == "cancelled" else "failed"
