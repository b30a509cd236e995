"""The models of one question, each with its provider: ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.pricing import Price
from service.providers import Prompt, Provider
from service.question import Question
from service.refusal import Refusal

__all__ = ["Candidate", "Entrant", "entrants_of", "refuse_what_has_no_price"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer in a model's place; the first is that model itself."""

    asked: str
    """Its id as the request spelt it."""
    provider: Provider
    prompt: Prompt
    price: Price | None = None
    """What the provider asks; None: not known."""

    @property
    def model_id(self) -> str:
        """The model that is asked, by whatever name it was asked for."""
        return f"{self.provider.name}:{self.prompt.model}"


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model of a comparison, ready to be asked."""

    name: str
    """What the events call it; unique in its comparison."""
    provider: Provider
    prompt: Prompt
    price: Price | None = None
    """What the provider asks; None: not known."""
    fallbacks: tuple[Candidate, ...] = ()
    """Who is asked in its place when it fails before its first token, in this order."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Whoever may answer: the model itself first."""
        return Candidate(self.name, self.provider, self.prompt, self.price), *self.fallbacks

    def answering(self, answered_by: str | None) -> Candidate:
        """Who answers: the fallback of this id, or the model itself."""
        own, *others = self.candidates
        return next((other for other in others if other.asked == answered_by), own)


def entrants_of(
    question: Question,
    find: Callable[[str], tuple[Provider, str]],
    price: Callable[[str, str], Price | None] = lambda *_: None,
) -> list[Entrant]:
    """The models of a question.

    `find` gives an id's provider and the model's name there; `price` says what the provider of
    that name asks for that model.
    """
    entrants = []
    for entry in question.entries:
        provider, model = find(entry.requested)
        prompt = question.prompt_for(entry, model)
        fallbacks = []
        for asked in entry.fallbacks:
            other, its_model = find(asked)
            its_prompt = question.prompt_for(entry, its_model)
            its_price = price(other.name, its_model)
            fallbacks.append(Candidate(asked, other, its_prompt, its_price))
        its_price = price(provider.name, model)
        entrants.append(Entrant(entry.name, provider, prompt, its_price, tuple(fallbacks)))
    return entrants


def refuse_what_has_no_price(question: Question, entrants: Sequence[Entrant]) -> None:
    """Raise `Refusal` (400) where a cap can't be kept: a cost that nobody knows crosses nothing."""
    if question.max_cost_usd is None:
        return
    for entrant in entrants:
        for candidate in entrant.candidates:
            if candidate.price is None:
                raise Refusal(
                    400,
                    "price_unknown",
                    f"max_cost_usd can't be kept: the price of {candidate.asked!r} is not known "
                    "here.",
                )
