"""The service's log, line by line, against what the clients were told.

Each comparison must end exactly once in it, each of its models once and with a cause, and as its
client was told. Lines come through a pipe, before or after the client has seen the end, so each
side waits for the other. What is settled is forgotten: a night must not fill the harness.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

__all__ = ["Ledger"]

WAIT_SECONDS = 15.0
"""How long the log's line may take after the client was through, on a busy machine."""
REMEMBERED = 20_000
"""Comparisons that have ended and are remembered, so that a second end is seen."""
WORDS_OF_THE_COMMAND = "compare-stream: "


@dataclass(slots=True)
class Entry:
    """One comparison that is not settled."""

    models: dict[str, str | None] = field(default_factory=dict)
    """Those that have ended in the log, and how."""
    outcome: str | None = None
    """How the comparison ended in the log; None: not yet."""
    told: Mapping[str, str | None] | None = None
    """How its client was told that the models ended."""
    over: float | None = None
    """When its client was through with it."""
    who: str = ""
    """The client."""
    since: float = 0.0
    """When the log said its end."""


class Ledger:
    """What is known of the comparisons, and of the lines that tell of none."""

    def __init__(self, wrong: Callable[[str], None]) -> None:
        self.ended = 0
        """Comparisons, by the log."""
        self.models_ended: Counter[str] = Counter()
        """Models by `finished`, or the code of their failure."""
        self.warnings: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.traced: list[str] = []
        """What memory went to, where the service was told to trace it."""
        self._wrong = wrong
        self._entries: dict[str, Entry] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()

    def told(self, comparison: str, who: str, codes: Mapping[str, str | None]) -> None:
        """A client has read a whole answer: how each model ended in it."""
        if (entry := self._over(comparison, who)) is not None:
            entry.told = codes

    def left(self, comparison: str, who: str) -> None:
        """A client has left, or was cut."""
        self._over(comparison, who)

    def take(self, line: str) -> None:
        """One line of standard error."""
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            if line and not line.startswith(WORDS_OF_THE_COMMAND):
                self._wrong(f"standard error says {line[:200]!r}")
            return
        event, level = str(told.get("event")), told.get("level")
        self.events[event] += 1
        match event:
            case "model ended":
                self._model_ended(told)
            case "comparison ended":
                self._comparison_ended(told)
            case "memory has grown":
                self.traced.append(f"{told['bytes']:10} in {told['blocks']}: {told['where']}")
            case _ if level in ("error", "critical"):
                last = str(told.get("exception", "")).strip().rpartition("\n")[2]
                self._wrong(f"the log says {event!r}: {last[:200]}")
            case _ if level == "warning":
                self.warnings[f"{event}: {told['reason']}" if "reason" in told else event] += 1

    def look(self) -> None:
        """Settle what both sides have told, and say what one of them waits for in vain."""
        now = trio.current_time()
        for comparison, entry in list(self._entries.items()):
            if entry.outcome is None:
                if entry.over is not None and now > entry.over + WAIT_SECONDS:
                    self._wrong(f"{entry.who}: its comparison {comparison!r} has no end in the log")
                    self._settle(comparison)
            elif entry.over is not None or now > entry.since + 4 * WAIT_SECONDS:
                # Nobody has claimed it where the client left before it had read the head.
                if entry.told is not None and dict(entry.told) != entry.models:
                    self._wrong(f"{entry.who}: it was told {entry.told}, the log {entry.models}")
                self._settle(comparison)

    @property
    def open(self) -> int:
        """Comparisons that have not ended in the log."""
        return sum(entry.outcome is None for entry in self._entries.values())

    def _over(self, comparison: str, who: str) -> Entry | None:
        if comparison in self._closed:
            return None  # nobody had claimed it for so long that it was forgotten
        entry = self._entries.setdefault(comparison, Entry())
        entry.over, entry.who = trio.current_time(), who
        return entry

    def _model_ended(self, told: Mapping[str, Any]) -> None:
        comparison, model = str(told["comparison"]), str(told["model"])
        if comparison in self._closed:
            self._wrong(f"{model} ended after its comparison")
            return
        models = self._entries.setdefault(comparison, Entry()).models
        if model in models:
            self._wrong(f"{model} ended twice")
        code = told["code"]
        if told["outcome"] != "finished" and not code:
            self._wrong(f"{model} ended without a cause")
        models[model] = code
        self.models_ended[code or "finished"] += 1

    def _comparison_ended(self, told: Mapping[str, Any]) -> None:
        comparison, outcome = str(told["comparison"]), str(told["outcome"])
        entry = self._entries.setdefault(comparison, Entry())
        if entry.outcome is not None or comparison in self._closed:
            self._wrong("a comparison ended twice")
            return
        entry.outcome, entry.since = outcome, trio.current_time()
        self.ended += 1
        self.events[f"comparison ended: {outcome}"] += 1
        # Left before anybody was asked, it has no model that could end.
        nobody_asked = outcome == "client_gone" and not entry.models
        if len(entry.models) != told["models"] and not nobody_asked:
            self._wrong(f"of {told['models']} models {len(entry.models)} ended")

    def _settle(self, comparison: str) -> None:
        del self._entries[comparison]
        self._closed[comparison] = None
        if len(self._closed) > REMEMBERED:
            self._closed.popitem(last=False)
