"""Comparisons without HTTP, for tests of what happens between a question and its events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import trio

from service.comparison import Comparison
from service.entrants import Candidate, Entrant
from service.events import Event
from service.limiter import Limiters
from service.patience import Patience
from service.persistence import Persistence
from service.pricing import Price
from service.progress import Experience
from service.providers import Provider
from service.pulse import Pulse
from service.question import Question, parse_question
from service.tracing import UNTRACED, Trace


def question(*models: str, text: str = "Why?", **fields: Any) -> Question:
    """A valid question to these models, with any other fields that are given."""
    body = json.dumps({"input_data": text, "models": list(models), **fields})
    return parse_question(body.encode(), max_models=100)


def comparison(
    *providers: Provider,
    patience: Patience | None = None,
    pulse: Pulse | None = None,
    limiters: Limiters | None = None,
    persistence: Persistence | None = None,
    experience: Experience | None = None,
    prices: Mapping[str, Price] | None = None,
    fallbacks: Mapping[str, Sequence[Provider]] | None = None,
    trace: Trace = UNTRACED,
    **fields: Any,
) -> Comparison:
    """A comparison in which each provider is one model of the same name.

    `fallbacks` are other such models, by the name of the one whose place they may take; `fields`
    are more fields of the question.
    """
    asked = question(*(provider.name for provider in providers), **fields)
    entrants = []
    for entry, provider in zip(asked.entries, providers, strict=True):
        others = (fallbacks or {}).get(provider.name, ())
        entrants.append(
            Entrant(
                entry.name,
                provider,
                asked.prompt_for(entry, provider.name),
                (prices or {}).get(provider.name),
                tuple(Candidate(o.name, o, asked.prompt_for(entry, o.name)) for o in others),
            )
        )
    return Comparison(
        asked,
        entrants,
        patience or Patience(),
        pulse=pulse,
        limiters=limiters,
        persistence=persistence,
        experience=experience,
        trace=trace,
    )


async def timeline(*providers: Provider, **given: Any) -> list[tuple[float, Event]]:
    """Every event of a comparison with the seconds since its beginning."""
    began = trio.current_time()
    async with comparison(*providers, **given).open() as inbox:
        return [(trio.current_time() - began, event) async for event in inbox]
