"""Comparisons without HTTP, for tests of what happens between a question and its events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import trio

from service.comparison import Comparison, Entrant
from service.events import Event
from service.patience import Patience
from service.progress import Experience
from service.providers import CostOf
from service.pulse import Pulse
from service.question import Question, parse_question
from service.testing import Script


def question(*models: str, text: str = "Why?", **fields: Any) -> Question:
    """A valid question to these models, with any other fields that are given."""
    body = json.dumps({"input_data": text, "models": list(models), **fields})
    return parse_question(body.encode(), max_models=100)


def comparison(
    *scripts: Script,
    patience: Patience | None = None,
    pulse: Pulse | None = None,
    experience: Experience | None = None,
    prices: Mapping[str, CostOf] | None = None,
    **fields: Any,
) -> Comparison:
    """A comparison in which each script is one model of the same name."""
    asked = question(*(script.name for script in scripts), **fields)
    entrants = [
        Entrant(
            entry.name,
            script,
            asked.prompt_for(entry, script.name),
            (prices or {}).get(script.name),
        )
        for entry, script in zip(asked.entries, scripts, strict=True)
    ]
    return Comparison(asked, entrants, patience or Patience(), pulse=pulse, experience=experience)


async def timeline(*scripts: Script, **given: Any) -> list[tuple[float, Event]]:
    """Every event of a comparison with the seconds since its beginning."""
    began = trio.current_time()
    async with comparison(*scripts, **given).open() as inbox:
        return [(trio.current_time() - began, event) async for event in inbox]
