"""`first_k`: when enough models have finished well, the others are stopped; and who may ask so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trio.testing import MockClock

from service.errors import ProviderError
from service.events import Complete, Done, ErrorChunk, Event
from service.eventstream import encode
from service.question import parse_question
from service.refusal import Refusal
from service.testing import Script, Stall, app_for, open_app
from tests.asking import timeline
from tests.clients import ask
from tests.grammar import check_stream

Timed = list[tuple[float, Event]]


def ends(events: Timed) -> dict[str, tuple[float, str | None, str | None]]:
    """When each model ended, with which code, and what stopped it."""
    return {e.model: (at, e.code, e.stopped_by) for at, e in events if isinstance(e, Done)}


def text_of(events: Timed) -> dict[str, str]:
    names = [e.model for _, e in events if e.type == "start"]
    return check_stream(b"".join(encode(e) for _, e in events), names)


async def test_the_first_that_finish_stop_the_others(autojump_clock: MockClock) -> None:
    scripts = [Script(name, (n, "x"), (n, "y")) for n, name in enumerate("abcd", 1)]
    events = await timeline(*scripts, mode="first_k", k=2)
    assert ends(events) == {
        "a": (2, None, None),
        "b": (4, None, None),
        "c": (4, "cancelled", "first_k"),
        "d": (4, "cancelled", "first_k"),
    }
    assert events[-1][0] == 4
    assert text_of(events) == {"a": "xy", "b": "xy", "c": "x", "d": "x"}
    assert {e.content for _, e in events if isinstance(e, ErrorChunk)} == {
        "Error: Stopped: enough of the others have finished."
    }
    assert all(script.opened == script.closed for script in scripts)


async def test_a_model_that_fails_has_not_finished(autojump_clock: MockClock) -> None:
    events = await timeline(
        Script("a", (1, ProviderError("overloaded", "No."))),
        Script("b", (2, "x"), (0, ProviderError("truncated", "No more."))),
        Script("c", (3, "x")),
        Script("d", (9, "x")),
        mode="first_k",
        k=1,
    )
    assert ends(events) == {
        "a": (1, "overloaded", None),
        "b": (2, "truncated", None),
        "c": (3, None, None),
        "d": (3, "cancelled", "first_k"),
    }


async def test_where_too_few_finish_nobody_is_stopped(autojump_clock: MockClock) -> None:
    events = await timeline(
        Script("a", (1, ProviderError("overloaded", "No."))),
        Script("b", (2, "x")),
        Script("c", (9, "x")),
        mode="first_k",
        k=3,
    )
    assert ends(events) == {
        "a": (1, "overloaded", None),
        "b": (2, None, None),
        "c": (9, None, None),
    }


async def test_all_may_finish_unless_something_else_is_said(autojump_clock: MockClock) -> None:
    for fields in ({}, {"mode": "all"}, {"mode": "all", "k": None}):
        events = await timeline(Script("a", (1, "x")), Script("b", (9, "x")), **fields)
        assert [code for _, code, _ in ends(events).values()] == [None, None]


async def test_what_was_stopped_is_counted_with_what_failed(autojump_clock: MockClock) -> None:
    events = await timeline(
        Script("a", (1, "x")), Script("b", (0, "y" * 40), (0, Stall())), mode="first_k", k=1
    )
    last = events[-1][1]
    assert isinstance(last, Complete)
    assert (last.metadata.models_successful, last.metadata.models_failed) == (1, 1)
    assert last.metadata.usage.output_tokens == 11
    assert last.metadata.usage.estimated


async def test_it_holds_for_who_waits_for_all_answers_too(autojump_clock: MockClock) -> None:
    app = app_for(Script("a", (1, "x")), Script("b", (0, "y"), (0, Stall())))
    async with open_app(app):
        reply = await ask(app, "a:1", "b:1", path="/compare", mode="first_k", k=1)
    assert reply.json()["errors"] == {"b:1": "cancelled"}
    assert reply.json()["results"]["a:1"] == "x"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"mode": "first_k"}, "k: expected 1 to 3, the number of models, with first_k."),
        ({"mode": "first_k", "k": 0}, "k: expected 1 to 3, the number of models, with first_k."),
        ({"mode": "first_k", "k": 4}, "k: expected 1 to 3, the number of models, with first_k."),
        ({"mode": "first_k", "k": "2"}, "k: expected int | null, got str."),
        ({"k": 2}, "k: only the mode first_k takes it."),
        ({"mode": "best"}, "mode: expected all or first_k."),
        ({"mode": None}, "mode: expected str, got null."),
        ({"priority": "mine"}, "priority: expected fair, fastest or asked."),
        ({"max_cost_usd": 0}, "max_cost_usd: expected float > 0.0."),
        ({"max_cost_usd": -1}, "max_cost_usd: expected float > 0.0."),
        ({"max_cost_usd": "1"}, "max_cost_usd: expected float | null, got str."),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    fields: dict[str, Any], detail: str
) -> None:
    body = json.dumps({"input_data": "q", "models": ["a", "b", "c"], **fields})
    with pytest.raises(Refusal) as refused:
        parse_question(body.encode(), max_models=9)
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")
    assert refused.value.detail == detail


@pytest.mark.parametrize("k", [1, 2, 3])
def test_as_many_as_there_are_models_may_be_waited_for(k: int) -> None:
    body = json.dumps({"input_data": "q", "models": ["a", "b", "c"], "mode": "first_k", "k": k})
    assert parse_question(body.encode(), max_models=9).first_k == k
