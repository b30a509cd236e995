"""The models of one question, each with its provider: ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.providers import CostOf, Prompt, Provider
from service.question import Question, Refusal

__all__ = ["Candidate", "Entrant", "entrants_of", "refuse_what_has_no_price"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer in a model's place; the first is that model itself."""

    asked: str
    """Its id as the request spelt it."""
    provider: Provider
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model of a comparison, ready to be asked."""

    name: str
    """What the events call it; unique in its comparison."""
    provider: Provider
    prompt: Prompt
    cost_of: CostOf | None = None
    """What its tokens cost; None: no price is known."""
    fallbacks: tuple[Candidate, ...] = ()
    """Who is asked in its place when it fails before its first token, in this order."""

    @property
    def model_id(self) -> str:
        """The model that is asked, by whatever name it was asked for."""
        return f"{self.provider.name}:{self.prompt.model}"


def entrants_of(
    question: Question,
    find: Callable[[str], tuple[Provider, str]],
    cost_of: Callable[[Provider, str], CostOf | None] = lambda *_: None,
) -> list[Entrant]:
    """The models of a question.

    `find` gives an id's provider and the model's name there, and `cost_of` what it costs.
    """
    entrants = []
    for entry in question.entries:
        provider, model = find(entry.requested)
        prompt = question.prompt_for(entry, model)
        fallbacks = []
        for asked in entry.fallbacks:
            other, its_model = find(asked)
            fallbacks.append(Candidate(asked, other, question.prompt_for(entry, its_model)))
        entrants.append(
            Entrant(entry.name, provider, prompt, cost_of(provider, model), tuple(fallbacks))
        )
    return entrants


def refuse_what_has_no_price(question: Question, entrants: Sequence[Entrant]) -> None:
    """Raise `Refusal` (400) where a cap can't be kept: a cost that nobody knows crosses nothing."""
    if question.max_cost_usd is None:
        return
    for entrant in entrants:
        if entrant.cost_of is None:
            raise Refusal(
                400,
                "price_unknown",
                f"max_cost_usd can't be kept: the price of {entrant.name!r} is not known here.",
            )
