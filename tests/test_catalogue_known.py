"""What is known of the models, and what it proves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from service.pricing import FREE, Price
from service.providers.catalogue import (
    Catalogue,
    CatalogueModel,
    Listing,
    ModelPrice,
    UnknownModelError,
    source_of,
)
from service.providers.catalogue.lists import Parse, parse_ollama, parse_openai, parse_openrouter
from service.settings import ProviderSettings
from tests.listings import OLLAMA, OPENAI, OPENROUTER, sent

HOUR = 3600.0


def catalogue(default: str = "openrouter", **dialects: str) -> Catalogue:
    """Of these providers: the name, and the kind of list that it has."""
    sources = {}
    for name, kind in dialects.items():
        flavour: Any = kind if kind in ("openrouter", "openai", "compatible") else None
        chosen = ProviderSettings(dialect="openai", base_url="http://x/v1", flavour=flavour)
        if flavour is None:
            chosen = ProviderSettings(dialect=kind)  # type: ignore[arg-type]
        source = source_of(name, chosen, None)
        assert source is not None
        assert source.kind.name == kind
        sources[name] = source
    return Catalogue([*dialects, "sim"], default, simulated=lambda n: n == "sim", sources=sources)


def listing(parse: Parse, recorded: dict[str, Any], *, complete: bool = True) -> Listing:
    page = parse(sent(recorded))
    return Listing(models=page.models, ids=page.ids, complete=complete)


FROM_OPENROUTER = listing(parse_openrouter, OPENROUTER)
FROM_OLLAMA = listing(parse_ollama, OLLAMA)
FROM_OPENAI = listing(parse_openai, OPENAI)


def refused(known: Catalogue, provider: str, model: str) -> str | None:
    """The sentence; None: it may be asked for."""
    try:
        known.refuse_unknown(provider, model, model)
    except UnknownModelError as error:
        return str(error)
    return None


def test_before_anybody_was_asked_there_is_the_built_in_list() -> None:
    known = catalogue(openrouter="openrouter", openai="openai")
    models = known.models()
    assert models[0].id == "anthropic/claude-sonnet-4"
    assert {model.id.partition(":")[0] for model in models[9:12]} == {"openai"}
    assert {model.source for model in models} == {"built-in"}
    assert models[1].price == ModelPrice(input=0.15, output=0.6, request=0.0)
    assert [state.age_seconds for state in known.states()] == [None, None]


async def test_what_a_provider_lists_takes_its_place_and_the_recommended_stay_first() -> None:
    known = catalogue(openrouter="openrouter")
    known.learn("openrouter", FROM_OPENROUTER)
    models = [model for model in known.models() if not model.simulated]
    # The built-in ones that it lists no longer are gone: whoever asked for one would be refused.
    assert [model.id for model in models] == [
        "anthropic/claude-sonnet-4",
        "openai/gpt-4o-mini",
        "qwen/qwen3-coder:free",
        "openrouter/auto",
    ]
    assert models[0] == CatalogueModel(
        id="anthropic/claude-sonnet-4",
        name="Claude Sonnet 4",
        description="Balances capability and computational efficiency. More of it.",
        category="Language",
        provider="Anthropic",
        context_length=200000,
        max_output_tokens=64000,
        input_modalities=["image", "text", "file"],
        supported_parameters=["max_tokens", "temperature", "tools"],
        price=ModelPrice(input=3.0, output=15.0, request=0.0),
        source="provider",
    )
    assert known.models() is known.models()


async def test_of_a_list_that_is_not_all_there_is_the_built_in_one_makes_more() -> None:
    known = catalogue("openai", openai="openai")
    known.learn("openai", FROM_OPENAI)
    models = {model.id: model for model in known.models()}
    assert list(models)[:5] == [
        "gpt-4o-mini",
        "gpt-4.1",
        "gpt-4.1-mini",
        "gpt-4o-mini-2024-07-18",
        "ft:gpt-4o-mini:acme::x1",
    ]
    assert [models[id_].source for id_ in ("gpt-4o-mini", "gpt-4.1")] == ["provider", "built-in"]
    mini = models["gpt-4o-mini"]
    assert (mini.name, mini.context_length) == ("GPT-4o mini", 128_000)
    assert models["gpt-4o-mini-2024-07-18"].price == mini.price is not None
    assert models["ft:gpt-4o-mini:acme::x1"].price is None


async def test_ids_say_their_provider_unless_it_is_the_default_one() -> None:
    known = catalogue("local", local="ollama", llava="compatible")
    known.learn("local", FROM_OLLAMA)
    known.learn("llava", Listing(models=FROM_OLLAMA.models[:1], ids=frozenset({"llama3.2:3b"})))
    ids = [model.id for model in known.models() if not model.simulated]
    # The third would be taken for a model of the provider `llava`.
    assert ids == ["llama3.2:3b", "deepseek-r1:latest", "local:llava:7b", "llava:llama3.2:3b"]


async def test_the_price_is_the_listed_one_then_the_built_in_one() -> None:
    known = catalogue(openrouter="openrouter", openai="openai", local="ollama")
    mini = Price(input=Decimal("0.00000015"), output=Decimal("0.0000006"))
    assert known.price("openrouter", "openai/gpt-4o-mini") == mini
    known.learn("openrouter", FROM_OPENROUTER)
    known.learn("openai", FROM_OPENAI)
    known.learn("local", FROM_OLLAMA)
    listed = known.price("openrouter", "openai/gpt-4o-mini")
    assert listed is not None
    assert listed.request == Decimal("0.001")
    assert known.price("openai", "gpt-4o-mini-2024-07-18") == mini
    assert known.price("openrouter", "openrouter/auto") is None
    assert known.price("local", "llama3.2:3b") is None
    assert known.price("nobody", "m") is None
    assert known.price("sim", "sim:swift") == FREE


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o-mini",
        "OpenAI/GPT-4o-mini",
        "openai/gpt-4o-mini:nitro",
        "anthropic/claude-sonnet-4:online",
        "anthropic/claude-4-sonnet-20250522",
        "qwen/qwen3-coder",
        "qwen/qwen3-coder:exacto",
        "openrouter/anything",
        "@preset/mine",
        "openai/gpt-4o-mini@preset/mine",
        "~anthropic/claude-sonnet-latest",
        "google/gemini-2.5-flash-image",
    ],
)
async def test_what_openrouter_may_have_is_not_refused(model: str) -> None:
    known = catalogue(openrouter="openrouter")
    known.learn("openrouter", FROM_OPENROUTER)
    assert refused(known, "openrouter", model) is None


async def test_what_it_does_not_have_is_refused_with_what_is_close_to_it() -> None:
    known = catalogue(openrouter="openrouter")
    assert refused(known, "openrouter", "openai/gpt-4o-nimi") is None  # nobody was asked yet
    known.learn("openrouter", FROM_OPENROUTER)
    assert refused(known, "openrouter", "openai/gpt-4o-nimi") == (
        "The provider openrouter has no model 'openai/gpt-4o-nimi'; "
        "close to it: 'openai/gpt-4o-mini'."
    )
    assert refused(known, "openrouter", "zzz") == (
        "The provider openrouter has no model 'zzz'; GET /models lists those it has."
    )


@pytest.mark.parametrize(
    ("model", "is_there"),
    [
        ("llama3.2:3b", True),
        ("LLama3.2:3B", True),
        ("deepseek-r1", True),
        ("deepseek-r1:latest", True),
        ("llama3.2", False),
        ("deepseek-r1:7b", False),
        ("gpt-oss:120b-cloud", True),
        ("hf.co/a/b", False),
    ],
)
async def test_ollama_has_what_was_pulled(model: str, is_there: bool) -> None:
    known = catalogue("local", local="ollama")
    known.learn("local", FROM_OLLAMA)
    assert (refused(known, "local", model) is None) == is_there


@pytest.mark.parametrize("kind", ["openai", "compatible", "anthropic", "gemini"])
async def test_the_lists_of_others_prove_nothing(kind: str) -> None:
    known = catalogue("p", p=kind)
    known.learn("p", FROM_OPENAI)
    assert refused(known, "p", "no-such-model") is None


async def test_an_incomplete_list_proves_nothing() -> None:
    known = catalogue(openrouter="openrouter")
    known.learn("openrouter", listing(parse_openrouter, OPENROUTER, complete=False))
    assert refused(known, "openrouter", "zzz") is None


@pytest.mark.parametrize(("kind", "trusted"), [("openrouter", 2 * HOUR), ("ollama", 60)])
async def test_an_old_list_proves_nothing_and_stays_in_force(
    autojump_clock: MockClock, kind: str, trusted: float
) -> None:
    known = catalogue("p", p=kind)
    known.learn("p", FROM_OPENROUTER)
    doubted: list[str] = []
    known.on_doubt = doubted.append
    models = known.models()
    await trio.sleep(trusted)
    assert refused(known, "p", "zzz") is not None
    await trio.sleep(0.1)
    assert refused(known, "p", "zzz") is None
    assert doubted == ["p", "p"]
    known.failed("p", "No.")
    assert known.models() is models
    [state] = known.states()
    assert (state.age_seconds, state.error) == (trusted + 0.1, "No.")


async def test_a_name_as_long_as_it_may_be_is_refused_quickly() -> None:
    known = catalogue(openrouter="openrouter")
    ids = [f"author{n % 50}/model-with-a-name-{n}-of-some-length" for n in range(5000)]
    page = parse_openrouter(sent({"data": [{"id": id_} for id_ in ids]}))
    known.learn("openrouter", Listing(models=page.models, ids=page.ids))
    before = trio.current_time()
    assert refused(known, "openrouter", "author1/model-with-a-name-" * 7) is not None
    assert trio.current_time() - before < 1
