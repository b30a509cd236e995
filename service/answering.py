"""One model's answer: asked for under its clocks, and how it ended.

Whatever happens to it becomes an `End`, which its comparison tells. What the provider says goes
through an outlet to the reader; who is asked, how often and in whose place is seen to by
`attempts.py` and `race.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from service.account import Account
from service.attempts import Attempts
from service.errors import ProviderError
from service.events import Done, ErrorChunk
from service.fanin import Outbox
from service.outlet import Outlet
from service.providers import Ending
from service.race import Race
from service.running import Stop

__all__ = ["Answering", "End", "cut_short"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

INTERNAL_ERROR = ProviderError(
    "internal_error", "The service failed on this model; its log has the reason. Try again."
)


@dataclass(frozen=True, slots=True)
class End:
    """How one model's answer ended."""

    done: Done
    words: ErrorChunk | None = None
    """What clients that know only chunks are shown of a failure."""
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """What it takes to ask for one model's answer.

    With `hedge_after`, a second request is made when there is no text after so many seconds.
    """

    attempts: Attempts
    outlet: Outlet
    outbox: Outbox
    hedge_after: float | None

    async def end(self) -> End | None:
        """How it ended, when it did by itself or by one of its clocks; None: it was stopped."""
        account, watch = self.attempts.account, self.attempts.watch
        try:
            with watch:
                return End(account.finished(await self._answer()))
        except ProviderError as error:
            done = account.failed(
                error.code,
                finish_reason=error.finish_reason,
                usage=error.usage,
                cost_usd=error.cost_usd,
            )
            return End(done, account.error_chunk(error), error)
        except Exception:
            # A bug in one provider must not take the others' answers with it. A group that holds
            # Cancelled is no Exception and passes: it is being cancelled already.
            log.exception("provider code failed", model=account.name)
            return End(account.failed("internal_error"), account.error_chunk(INTERNAL_ERROR))
        code, seconds = watch.verdict()
        if seconds is None:
            return None
        return End(account.failed(code), account.timed_out(seconds))

    async def _answer(self) -> Ending:
        """Whatever answer comes first: the model's, or that of whoever steps in for it."""
        if self.hedge_after is None:
            return await self.attempts.answer(self.outlet, self.outbox)
        race = Race(self.attempts, self.outlet, self.outbox, self.hedge_after)
        return await race.run()


def cut_short(account: Account, stop: Stop) -> End:
    """The end of an answer that was stopped, before it was asked for or in the middle."""
    account.stopped_by = stop.by
    return End(account.failed(stop.code), account.error_chunk(stop.error))
