"""What a caller may ask: parse and refuse, before any status is sent.

A refusal is one sentence and one word, an HTTP status of the 400s, and starts nothing. The rules
are those of docs/contract.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from service.fanin import Priority
from service.providers import Image, Message, Prompt
from service.providers.images import parse_image
from service.refusal import Refusal, decoded

__all__ = ["TIERS", "Entry", "Question", "Tier", "parse_question"]

KEPT_TURNS = 20
"""Turns of history that reach a model; older ones cost more tokens than they are worth."""
EXTENDED_TURNS = 10
"""More turns than this make an interaction extended, a figure that clients show."""
MOST_IMAGES = 8
"""With one question; they share the limit on the body, and each model is paid for each of them."""
LONGEST_MODEL_ID = 200
"""Characters; the longest id in the providers' catalogues has about 80."""
MOST_FALLBACKS = 3
"""For one model; each may be asked several times, and a reader has given up by then."""


class Tier(Struct, frozen=True):
    """How long a question and an answer may be."""

    characters: int
    """Of the question."""
    tokens: int
    """Of the answer, unless the caller says `max_tokens`."""


TIERS: dict[str, Tier] = {
    "brief": Tier(characters=1000, tokens=2000),
    "standard": Tier(characters=5000, tokens=4000),
    "extended": Tier(characters=15000, tokens=8192),
}


class Turn(Struct, frozen=True):
    """One earlier turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str
    model_id: str | None = None
    """Which model said it: that model alone is reminded of it. Null: every model is."""


class QuestionBody(Struct, frozen=True):
    """The JSON body of a comparison's request; fields that are not named here are ignored."""

    input_data: Annotated[str, Meta(description="The question; must not be blank.")]
    models: Annotated[
        list[str], Meta(description="The models to ask, at least one; the same may come twice.")
    ]
    conversation_history: Annotated[
        list[Turn] | None,
        Meta(description="Earlier turns, oldest first; the last 20 are kept."),
    ] = []
    browser_fingerprint: Annotated[
        str | None, Meta(description="A second key for the daily allowance, beside the address.")
    ] = None
    tier: Annotated[
        Literal["brief", "standard", "extended"],
        Meta(description="Characters of the question and tokens of the answer."),
    ] = "standard"
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Null: none is sent, and the provider's own holds."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Null: none is sent, and the provider's own holds."""
    max_tokens: Annotated[int, Meta(ge=256, le=65536)] | None = None
    """Null: the tier's."""
    mode: Annotated[
        Literal["all", "first_k"],
        Meta(description="Whether all models may finish, or only the first `k` that do."),
    ] = "all"
    k: Annotated[
        int | None,
        Meta(description="With `first_k`: when so many have finished well, the rest is stopped."),
    ] = None
    max_cost_usd: Annotated[float, Meta(gt=0)] | None = None
    """What the comparison may cost in US dollars, by estimate; past it, what runs is stopped."""
    priority: Annotated[
        Priority, Meta(description="Who goes first when the reader is slower than the models.")
    ] = "fair"
    images: Annotated[
        list[str] | None,
        Meta(description="Pictures that go with the question, as data: URLs; at most 8."),
    ] = []
    fallbacks: Annotated[
        dict[str, list[str]] | None,
        Meta(
            description="By model: who is asked in its place, in this order, when it fails before "
            "its first token; at most three."
        ),
    ] = None
    hedge_after: Annotated[float, Meta(gt=0, le=300)] | None = None
    """Seconds without any text after which a second request is made, to the next fallback or to the
    same model; the first text wins. Null: never."""


class Entry(Struct, frozen=True):
    """One model of a question."""

    name: str
    """What the events call it: the requested id, with `#2` and so on when it comes again."""
    requested: str
    fallbacks: tuple[str, ...] = ()
    """Ids, in the order in which they are asked."""


class Question(Struct, frozen=True, kw_only=True):
    """A question that may be asked."""

    text: str
    entries: tuple[Entry, ...]
    history: tuple[Turn, ...]
    """The turns that are kept."""
    turns_given: int
    fingerprint: str | None
    max_tokens: int
    temperature: float | None
    top_p: float | None
    first_k: int | None
    """When so many models have finished well, the others are stopped; None: all may finish."""
    max_cost_usd: float | None
    """What it may cost, in US dollars; None: whatever it does."""
    priority: Priority
    images: tuple[Image, ...] = ()
    hedge_after: float | None = None

    @property
    def is_extended(self) -> bool:
        """Whether the conversation is a long one."""
        return self.turns_given > EXTENDED_TURNS

    def prompt_for(self, entry: Entry, model: str) -> Prompt:
        """What `entry`'s model is asked; `model` is its name at its provider."""
        turns = [
            Message(turn.role, turn.content)
            for turn in self.history
            if turn.role != "assistant" or turn.model_id in (None, entry.name)
        ]
        return Prompt(
            model=model,
            messages=(*turns, Message("user", self.text, self.images)),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
        )


def parse_question(body: bytes, *, max_models: int) -> Question:
    """Read a request's body; raises `Refusal` (400) with the first thing that is wrong."""
    asked = decoded(body, QuestionBody)
    tier = TIERS[asked.tier]
    if not asked.input_data.strip():
        raise Refusal(400, "input_required", "input_data must not be blank.")
    if len(asked.input_data) > tier.characters:
        raise Refusal(
            400,
            "input_too_long",
            f"input_data has {len(asked.input_data)} characters; "
            f"the tier {asked.tier!r} takes {tier.characters}.",
        )
    history = asked.conversation_history or []
    return Question(
        text=asked.input_data,
        entries=_with_fallbacks(_entries(asked.models, max_models), asked.fallbacks or {}),
        history=tuple(history[-KEPT_TURNS:]),
        turns_given=len(history),
        fingerprint=asked.browser_fingerprint or None,
        max_tokens=asked.max_tokens or tier.tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        first_k=_first_k(asked),
        max_cost_usd=asked.max_cost_usd,
        priority=asked.priority,
        images=_images(asked.images or []),
        hedge_after=asked.hedge_after,
    )


def _first_k(asked: QuestionBody) -> int | None:
    if asked.mode == "all":
        if asked.k is not None:
            raise Refusal(400, "invalid_request", "k: only the mode first_k takes it.")
        return None
    models = len(asked.models)
    if asked.k is None or not 1 <= asked.k <= models:
        raise Refusal(
            400,
            "invalid_request",
            f"k: expected 1 to {models}, the number of models, with first_k.",
        )
    return asked.k


def _images(urls: list[str]) -> tuple[Image, ...]:
    if len(urls) > MOST_IMAGES:
        raise Refusal(
            400, "too_many_images", f"images holds {len(urls)} images; the limit is {MOST_IMAGES}."
        )
    images = []
    for index, url in enumerate(urls):
        try:
            images.append(parse_image(url))
        except ValueError as exc:
            raise Refusal(400, "invalid_image", f"images[{index}]: {exc}.") from None
    return tuple(images)


def _entries(models: list[str], max_models: int) -> tuple[Entry, ...]:
    if not models:
        raise Refusal(400, "models_required", "models must name at least one model.")
    if len(models) > max_models:
        raise Refusal(
            400, "too_many_models", f"models names {len(models)} models; the limit is {max_models}."
        )
    entries: list[Entry] = []
    taken: set[str] = set()
    for requested in models:
        _check_id(requested, "models")
        entries.append(Entry(_unused_name(requested, taken), requested))
    return tuple(entries)


def _with_fallbacks(
    entries: tuple[Entry, ...], fallbacks: dict[str, list[str]]
) -> tuple[Entry, ...]:
    """The same with who steps in for whom; a key is an id of `models`, or a name such as `id#2`."""
    if not fallbacks:
        return entries
    known = {key for entry in entries for key in (entry.name, entry.requested)}
    for key, others in fallbacks.items():
        if key not in known:
            raise Refusal(
                400, "invalid_request", f"fallbacks: {key[:LONGEST_MODEL_ID]!r} is not in models."
            )
        if len(others) > MOST_FALLBACKS:
            raise Refusal(
                400,
                "invalid_request",
                f"fallbacks: a model may have {MOST_FALLBACKS} at most.",
            )
        for other in others:
            _check_id(other, "fallbacks")
    return tuple(
        msgspec.structs.replace(
            entry,
            fallbacks=tuple(fallbacks.get(entry.name, fallbacks.get(entry.requested, ()))),
        )
        for entry in entries
    )


def _check_id(requested: str, field: str) -> None:
    if not requested.strip() or len(requested) > LONGEST_MODEL_ID or not requested.isprintable():
        raise Refusal(
            400,
            "invalid_model",
            f"{field} must hold model ids: printable text of 1 to {LONGEST_MODEL_ID} characters.",
        )


def _unused_name(requested: str, taken: set[str]) -> str:
    name, count = requested, 1
    while name in taken:
        count += 1
        name = f"{requested}#{count}"
    taken.add(name)
    return name
