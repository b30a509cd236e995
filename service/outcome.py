"""What comes of a comparison: its models' ends as they come in, and the figures of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import trio

from service.events import Done, ErrorCode, Metadata, Usage
from service.question import Question
from service.request import milliseconds

__all__ = ["Outcome", "summarise"]


@dataclass(slots=True)
class Outcome:
    """What came of a comparison so far."""

    started_at: float
    dones: list[Done] = field(default_factory=list)
    word: Literal["client_gone", "complete", "failed"] | ErrorCode = "client_gone"
    """What the log says of it; the reader has left unless something else is known."""


def summarise(comparison_id: str, question: Question, outcome: Outcome) -> Metadata:
    """The figures of a comparison whose models have all ended."""
    dones = outcome.dones
    wall_ms = milliseconds(trio.current_time() - outcome.started_at)
    sum_ms = round(sum(done.timings.duration_ms for done in dones), 1)
    failed = sum(done.error for done in dones)
    return Metadata(
        input_length=len(question.text),
        models_requested=len(dones),
        models_successful=len(dones) - failed,
        models_failed=failed,
        timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
        processing_time_ms=round(wall_ms),
        conversation_message_count=question.turns_given,
        is_extended_interaction=question.is_extended,
        comparison_id=comparison_id,
        usage=_total_usage(dones),
        cost_usd=_total_cost(dones),
        slowest_model_ms=max(done.timings.duration_ms for done in dones),
        sum_of_models_ms=sum_ms,
        speedup=round(sum_ms / wall_ms, 2) if wall_ms else 1.0,
    )


def _total_usage(dones: Sequence[Done]) -> Usage:
    usages = [done.usage for done in dones if done.usage is not None]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        estimated=any(usage.estimated for usage in usages),
    )


def _total_cost(dones: Sequence[Done]) -> float | None:
    """Null as soon as one answer's price is unknown: part of a sum is not a smaller truth."""
    costs = [done.cost_usd for done in dones if done.usage is not None]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None
