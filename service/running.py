"""The models of one comparison that have not ended: whoever ends them before they do asks here.

A model runs from the comparison's beginning, before it is asked, until it is known how its answer
ended. A stop that comes before it is asked is kept for it, so that it never is. The first reason
counts: what is being stopped already is not stopped again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.errors import ProviderError
from service.events import ErrorCode, StoppedBy
from service.patience import Watch

__all__ = ["Running", "Stop"]

WORDS: Mapping[StoppedBy, str] = {
    "request": "Stopped on request.",
    "first_k": "Stopped: enough of the others have finished.",
    "max_cost_usd": "Stopped: the comparison has cost as much as it may.",
}
SHUTDOWN = "The service is stopping. Ask again in a moment."


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an answer was cut short by something that is no clock."""

    code: ErrorCode
    by: StoppedBy | None = None

    @property
    def error(self) -> ProviderError:
        """The same as a failure, with words for clients that know only chunks."""
        return ProviderError(self.code, SHUTDOWN if self.by is None else WORDS[self.by])


class Running:
    """The models that have not ended, with the clocks of those that have been asked."""

    def __init__(self, names: Iterable[str]) -> None:
        self._watches: dict[str, Watch | None] = dict.fromkeys(names)
        self._stops: dict[str, Stop] = {}

    def asked(self, name: str, watch: Watch) -> Stop | None:
        """It is about to be asked, under these clocks; not if it has been stopped before."""
        self._watches[name] = watch
        return self._stops.get(name)

    def ended(self, name: str) -> None:
        """It is known how its answer ended: nothing stops it any more."""
        del self._watches[name]

    def stop_of(self, name: str) -> Stop:
        """Why it was stopped; ask only when it was."""
        return self._stops[name]

    def stop(self, stop: Stop, name: str | None = None) -> list[str]:
        """Stop this one, or all; the names of those that are being stopped now."""
        names = [running for running in self._watches if name in (None, running)]
        for running in names:
            if running not in self._stops:
                self._stops[running] = stop
                watch = self._watches[running]
                if watch is not None:
                    watch.stop(stop.code)
        return names
