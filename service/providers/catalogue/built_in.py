"""The list that is there before anybody has been asked, and when nobody can be.

A few models of each provider that is known by name. A price stands here only where one provider
sells the model at one published price; open models have as many prices as hosts. Prices of the
vendors whose lists have none (OpenAI, Anthropic, Google) are looked up here for theirs, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from service.pricing import Price
from service.providers.catalogue.models import CatalogueModel, ListedModel, ModelPrice
from service.simulator import MODELS

__all__ = ["built_in", "list_price", "simulated"]

TEXT = ("text",)
SEES = ("text", "image")

_DATED = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")
"""The end of a snapshot's name; it costs what the model costs."""


def _per_million(question: str, answer: str) -> Price:
    million = Decimal(1_000_000)
    return Price(input=Decimal(question) / million, output=Decimal(answer) / million)


def _model(
    id_: str,
    name: str,
    maker: str,
    description: str,
    *,
    category: str = "Language",
    context: int | None = None,
    longest: int | None = None,
    takes: tuple[str, ...] = TEXT,
    price: Price | None = None,
) -> ListedModel:
    return ListedModel(
        id=id_,
        name=name,
        maker=maker,
        description=description,
        category=category,
        context_length=context,
        max_output_tokens=longest,
        input_modalities=takes,
        price=price,
    )


# In the order in which a choice is made: the first ones are the default of a front end.
OPENROUTER = (
    _model(
        "anthropic/claude-sonnet-4",
        "Claude Sonnet 4",
        "Anthropic",
        "Balanced.",
        takes=SEES,
        price=_per_million("3", "15"),
    ),
    _model(
        "openai/gpt-4o-mini",
        "GPT-4o mini",
        "OpenAI",
        "Small and quick.",
        context=128_000,
        longest=16_384,
        takes=SEES,
        price=_per_million("0.15", "0.60"),
    ),
    _model(
        "google/gemini-2.5-flash",
        "Gemini 2.5 Flash",
        "Google",
        "Quick.",
        context=1_048_576,
        takes=SEES,
        price=_per_million("0.30", "2.50"),
    ),
    _model(
        "openai/gpt-4.1",
        "GPT-4.1",
        "OpenAI",
        "For long instructions.",
        context=1_047_576,
        longest=32_768,
        takes=SEES,
        price=_per_million("2", "8"),
    ),
    _model("deepseek/deepseek-chat", "DeepSeek V3", "DeepSeek", "Open weights."),
    _model(
        "deepseek/deepseek-r1",
        "DeepSeek R1",
        "DeepSeek",
        "Reasons first.",
        category="Reasoning",
    ),
    _model("meta-llama/llama-3.3-70b-instruct", "Llama 3.3 70B", "Meta", "Open weights."),
    _model(
        "mistralai/mistral-small-3.2-24b-instruct",
        "Mistral Small 3.2",
        "Mistral",
        "Open weights, small.",
        takes=SEES,
    ),
    _model(
        "qwen/qwen-2.5-coder-32b-instruct",
        "Qwen 2.5 Coder",
        "Qwen",
        "For code.",
        category="Code",
    ),
)
OPENAI = (
    _model(
        "gpt-4o-mini",
        "GPT-4o mini",
        "OpenAI",
        "Small and quick.",
        context=128_000,
        longest=16_384,
        takes=SEES,
        price=_per_million("0.15", "0.60"),
    ),
    _model(
        "gpt-4.1",
        "GPT-4.1",
        "OpenAI",
        "For long instructions.",
        context=1_047_576,
        longest=32_768,
        takes=SEES,
        price=_per_million("2", "8"),
    ),
    _model(
        "gpt-4.1-mini",
        "GPT-4.1 mini",
        "OpenAI",
        "Smaller and quicker.",
        context=1_047_576,
        longest=32_768,
        takes=SEES,
        price=_per_million("0.40", "1.60"),
    ),
)
ANTHROPIC = (
    _model(
        "claude-sonnet-4-5",
        "Claude Sonnet 4.5",
        "Anthropic",
        "Balanced.",
        context=200_000,
        longest=64_000,
        takes=SEES,
        price=_per_million("3", "15"),
    ),
    _model(
        "claude-haiku-4-5",
        "Claude Haiku 4.5",
        "Anthropic",
        "Small and quick.",
        context=200_000,
        longest=64_000,
        takes=SEES,
        price=_per_million("1", "5"),
    ),
)
GEMINI = (
    _model(
        "gemini-2.5-flash",
        "Gemini 2.5 Flash",
        "Google",
        "Quick.",
        context=1_048_576,
        longest=65_536,
        takes=SEES,
        price=_per_million("0.30", "2.50"),
    ),
    _model(
        "gemini-2.5-flash-lite",
        "Gemini 2.5 Flash-Lite",
        "Google",
        "Small and quick.",
        context=1_048_576,
        longest=65_536,
        takes=SEES,
        price=_per_million("0.10", "0.40"),
    ),
)
KNOWN: Mapping[str, tuple[ListedModel, ...]] = {
    "openrouter": OPENROUTER,
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
}


def built_in(provider: str) -> tuple[ListedModel, ...]:
    """What a provider of this name is known to have without asking it."""
    return KNOWN.get(provider, ())


def list_price(provider: str, model: str) -> Price | None:
    """What a vendor publishes for a model, of which its list says nothing; snapshots too."""
    plain = _DATED.sub("", model)
    for listed in built_in(provider):
        if listed.id in (model, plain):
            return listed.price
    return None


def simulated(provider: str) -> list[CatalogueModel]:
    """The simulator's models; they cost nothing, and their list is this program's own."""
    free = ModelPrice(input=0.0, output=0.0, request=0.0)
    return [
        CatalogueModel(
            id=f"{provider}:{model.id.partition(':')[2]}",
            name=model.name,
            description=model.description,
            category="Simulated" if model.well_behaved else "Simulated fault",
            provider="Simulated",
            simulated=True,
            well_behaved=model.well_behaved,
            input_modalities=list(TEXT),
            price=free,
        )
        for model in MODELS
    ]
