"""How models have done since the process began, for `/model-stats`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import UNSET, Struct

from service.events import Done

__all__ = ["ModelTally", "Tally"]

MOST_MODELS = 1000
"""Model ids come from callers; past this many, the one not asked for the longest is forgotten."""


class ModelTally(Struct):
    """One model's record."""

    success: int = 0
    failure: int = 0
    last_error: str | None = None
    """When it last failed; ISO 8601."""
    last_success: str | None = None

    @property
    def total(self) -> int:
        """Attempts that ended by themselves."""
        return self.success + self.failure


class Tally:
    """Counts how answers ended; one that its client stopped says nothing about the model."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelTally] = OrderedDict()

    @property
    def models(self) -> Mapping[str, ModelTally]:
        """The records by model id."""
        return self._models

    def record(self, model_id: str, done: Done) -> None:
        """Count one ended answer of `model_id`, or of whoever stepped in for it when it failed."""
        if done.code in ("cancelled", "server_shutdown"):
            return
        if done.answered_by is not UNSET:
            self._count(model_id, error=True)
            model_id = done.answered_by
        self._count(model_id, error=done.error)

    def _count(self, model_id: str, *, error: bool) -> None:
        tally = self._models.setdefault(model_id, ModelTally())
        self._models.move_to_end(model_id)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if error:
            tally.failure += 1
            tally.last_error = now
        else:
            tally.success += 1
            tally.last_success = now
        if len(self._models) > MOST_MODELS:
            self._models.popitem(last=False)
