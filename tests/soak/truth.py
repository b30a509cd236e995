"""A stream against what its models have really said. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.grammar import check_stream, names_of
from tests.soak.deeds import BUSY, deed
from tests.soak.plans import Plan
from tests.soak.setup import NARROW
from tests.soak.streams import Ending

__all__ = ["Judged", "judge_answers", "judge_part", "judge_stream"]


@dataclass(slots=True)
class Judged:
    """What came of a comparison."""

    wrong: list[str] = field(default_factory=list)
    codes: dict[str, str | None] = field(default_factory=dict)
    """How each model ended, by its name in the events."""
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The same by kind of deed: `whole`, or the error's code."""
    chunks: int = 0


def ending_of(seed: int, plan: Plan, model: str) -> Ending:
    """How a model would end if it were left alone; `model` is its id in the question."""
    provider, _, name = model.partition(":")
    ending = deed(seed, plan.number, provider, name).ending
    if provider == NARROW:  # its line may be too long
        return Ending(ending.text, 0, ending.codes | (BUSY - {"rate_limited"}))
    if "hedge_after" in plan.fields and not ending.text[: ending.least].strip():
        # White space alone wins no race, and is held back until something else comes.
        return Ending(ending.text, 0, ending.codes)
    return ending


def judge_stream(seed: int, plan: Plan, body: bytes, *, stopped: bool = False) -> Judged:
    """A stream that ended as it should; `stopped`: by a DELETE, maybe."""
    judged = Judged()
    try:
        texts = check_stream(body, plan.models)
    except AssertionError as exc:
        judged.wrong.append(f"the stream: {str(exc)[:300]}")
        return judged
    events = _events(body)
    judged.chunks = sum(event["type"] == "chunk" for event in events)
    for event in events:
        if event["type"] == "done":
            _judge_done(judged, seed, plan, event, texts[event["model"]], stopped=stopped)
    if plan.fields.get("mode") == "first_k":
        whole = sum(code is None for code in judged.codes.values())
        cut = sum(code == "cancelled" for code in judged.codes.values())
        if cut and whole < plan.fields["k"] and not stopped:
            judged.wrong.append(f"{cut} models were stopped after {whole} whole ones")
    return judged


def _judge_done(
    judged: Judged, seed: int, plan: Plan, done: Mapping[str, Any], text: str, *, stopped: bool
) -> None:
    name, code = str(done["model"]), done["code"]
    requested = _requested(plan, name)
    answered = done.get("answered_by", requested)
    asked = [requested, *plan.fields.get("fallbacks", {}).get(requested, [])]
    by = done["stopped_by"]
    if code == "cancelled" and not (stopped if by == "request" else _may_stop(plan, by)):
        judged.wrong.append(f"{name} was stopped by {by}, and nobody did")
    if answered not in asked:
        judged.wrong.append(f"{name} was answered by {answered}, who was not asked")
        return
    # Who has failed last tells it; which of them that is depends on who was hedged, and when.
    endings = [ending_of(seed, plan, model) for model in asked]
    told = ending_of(seed, plan, answered)
    if code is not None and len(asked) > 1:
        told = Ending(told.text, 0, frozenset().union(*(ending.codes for ending in endings)))
    may_be_cut = stopped or by is not None
    if problem := told.wrong(text, code, stopped=may_be_cut):
        judged.wrong.append(f"{name}: {problem}")
    judged.codes[name] = code
    judged.endings[_kind(answered), code or "whole"] += 1


def judge_part(seed: int, plan: Plan, body: bytes) -> list[str]:
    """The beginning of a stream that was left, or cut: each model's text begins what was said."""
    texts: dict[str, str] = {}
    wrong = []
    answered: dict[str, str] = {}
    for event in _events(body[: body.rfind(b"\n\n") + 2]):
        model = event.get("model", "")
        match event["type"]:
            case "chunk" if "error" not in event:
                texts[model] = texts.get(model, "") + event["content"]
            case "fallback":
                answered[model] = event["asked"]
            case "done" if event["code"] is None:
                whole = ending_of(seed, plan, answered.get(model, _requested(plan, model)))
                if texts.get(model, "") != whole.text:
                    wrong.append(f"{model} is done, and its text is not whole")
    for model, text in texts.items():
        whole = ending_of(seed, plan, answered.get(model, _requested(plan, model)))
        if not whole.text.startswith(text):
            wrong.append(f"{model}: {whole.wrong(text, None)}")
    return wrong


def judge_answers(seed: int, plan: Plan, body: bytes) -> Judged:
    """The one JSON answer of `/compare`."""
    judged = Judged()
    answer = json.loads(body)
    names = names_of(plan.models)
    if list(answer["results"]) != names:
        judged.wrong.append(f"the results are those of {list(answer['results'])}")
        return judged
    for name in names:
        code, text = answer["errors"].get(name), answer["results"][name]
        requested = _requested(plan, name)
        asked = [requested, *plan.fields.get("fallbacks", {}).get(requested, [])]
        if code is not None:  # the error's words follow what was said
            text = "" if text.startswith("Error: ") else text.rpartition("\n\nError: ")[0]
        # Who has answered is not told here: one of them must fit.
        problems = [
            ending_of(seed, plan, model).wrong(text, code, stopped=_may_stop(plan, None))
            for model in asked
        ]
        if all(problems):
            judged.wrong.append(f"{name}: {problems[0]}")
        judged.codes[name] = code
        judged.endings[_kind(requested), code or "whole"] += 1
    return judged


def _may_stop(plan: Plan, by: str | None) -> bool:
    """Whether the question itself may stop a model, by that or at all."""
    stoppers = {"first_k"} if plan.fields.get("mode") == "first_k" else set()
    stoppers |= {"max_cost_usd"} & plan.fields.keys()
    return bool(stoppers) if by is None else by in stoppers


def _requested(plan: Plan, name: str) -> str:
    """The id in the question of what the events call by that name."""
    return dict(zip(names_of(plan.models), plan.models, strict=True))[name]


def _kind(model: str) -> str:
    """What the report calls it."""
    provider, _, name = model.partition(":")
    return provider if provider in ("deaf", "nobody") else name.partition("~")[0]


def _events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(b[6:]) for b in body.split(b"\n\n") if b.startswith(b"data: ")]
