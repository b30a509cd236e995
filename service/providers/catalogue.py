"""The models that callers are offered: a built-in list, so that it is never slow and never empty.

Any other id may be asked for as well; the list only says what there is to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from service.providers import Provider
from service.simulator import MODELS

__all__ = ["CatalogueModel", "built_in"]


class CatalogueModel(Struct, frozen=True, kw_only=True):
    """One model to choose."""

    id: str
    """What a request names."""
    name: str
    description: str
    category: str
    provider: str
    """Who made the model, as front ends group them."""
    simulated: bool = False
    well_behaved: bool = True
    """False for the simulator's models that fail on purpose: no default choice holds one."""


def _model(id_: str, name: str, provider: str, category: str, description: str) -> CatalogueModel:
    return CatalogueModel(
        id=id_, name=name, provider=provider, category=category, description=description
    )


OPENROUTER = (
    _model("anthropic/claude-sonnet-4", "Claude Sonnet 4", "Anthropic", "Language", "Balanced."),
    _model("openai/gpt-4o-mini", "GPT-4o mini", "OpenAI", "Language", "Small and quick."),
    _model("google/gemini-2.5-flash", "Gemini 2.5 Flash", "Google", "Language", "Quick."),
    _model("openai/gpt-4.1", "GPT-4.1", "OpenAI", "Language", "For long instructions."),
    _model("deepseek/deepseek-chat", "DeepSeek V3", "DeepSeek", "Language", "Open weights."),
    _model("deepseek/deepseek-r1", "DeepSeek R1", "DeepSeek", "Reasoning", "Reasons first."),
    _model(
        "meta-llama/llama-3.3-70b-instruct", "Llama 3.3 70B", "Meta", "Language", "Open weights."
    ),
    _model(
        "mistralai/mistral-small-3.2-24b-instruct",
        "Mistral Small 3.2",
        "Mistral",
        "Language",
        "Open weights, small.",
    ),
    _model("qwen/qwen-2.5-coder-32b-instruct", "Qwen 2.5 Coder", "Qwen", "Code", "For code."),
)
OPENAI = (
    _model("gpt-4o-mini", "GPT-4o mini", "OpenAI", "Language", "Small and quick."),
    _model("gpt-4.1", "GPT-4.1", "OpenAI", "Language", "For long instructions."),
    _model("gpt-4.1-mini", "GPT-4.1 mini", "OpenAI", "Language", "Smaller and quicker."),
)
KNOWN = {"openrouter": OPENROUTER, "openai": OPENAI}


def built_in(providers: Mapping[str, Provider], default: str) -> list[CatalogueModel]:
    """What the configured providers are known to have: the default's first, faults last."""
    names = [default, *(name for name in providers if name != default)]
    models: list[CatalogueModel] = []
    for name in names:
        if providers[name].simulated:
            models += _simulated(name)
        else:
            models += [_qualified(model, name, default) for model in KNOWN.get(name, ())]
    return sorted(models, key=lambda model: not model.well_behaved)


def _qualified(model: CatalogueModel, name: str, default: str) -> CatalogueModel:
    if name == default:
        return model
    return _model(
        f"{name}:{model.id}", model.name, model.provider, model.category, model.description
    )


def _simulated(name: str) -> list[CatalogueModel]:
    return [
        CatalogueModel(
            id=f"{name}:{model.id.partition(':')[2]}",
            name=model.name,
            description=model.description,
            category="Simulated" if model.well_behaved else "Simulated fault",
            provider="Simulated",
            simulated=True,
            well_behaved=model.well_behaved,
        )
        for model in MODELS
    ]
