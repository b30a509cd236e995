"""The forms in which providers list their models."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from service.pricing import Price
from service.providers.catalogue.lists import (
    LONGEST_DESCRIPTION,
    NotAList,
    Parse,
    parse_anthropic,
    parse_compatible,
    parse_gemini,
    parse_ollama,
    parse_openai,
    parse_openrouter,
)
from service.providers.catalogue.models import ListedModel
from tests.listings import ANTHROPIC, GEMINI, OLLAMA, OPENAI, OPENROUTER, VLLM, sent

FORMS: dict[str, tuple[Parse, dict[str, Any]]] = {
    "openrouter": (parse_openrouter, OPENROUTER),
    "openai": (parse_openai, OPENAI),
    "compatible": (parse_compatible, VLLM),
    "anthropic": (parse_anthropic, ANTHROPIC),
    "gemini": (parse_gemini, GEMINI),
    "ollama": (parse_ollama, OLLAMA),
}


def test_openrouter_says_everything() -> None:
    page = parse_openrouter(sent(OPENROUTER))
    assert page.complete
    assert page.following is None
    assert page.models[0] == ListedModel(
        id="anthropic/claude-sonnet-4",
        name="Claude Sonnet 4",
        maker="Anthropic",
        description="Balances capability and computational efficiency. More of it.",
        context_length=200000,
        max_output_tokens=64000,
        input_modalities=("image", "text", "file"),
        supported_parameters=("max_tokens", "temperature", "tools"),
        price=Price(input=Decimal("0.000003"), output=Decimal("0.000015")),
    )
    assert page.models[1].price == Price(
        input=Decimal("0.00000015"), output=Decimal("0.0000006"), request=Decimal("0.001")
    )
    assert page.models[2].price == Price(input=Decimal(0), output=Decimal(0))
    assert page.models[3].price is None  # it varies
    # What writes no text is none to ask, but it is there.
    assert [model.id for model in page.models[1:]] == [
        "openai/gpt-4o-mini",
        "qwen/qwen3-coder:free",
        "openrouter/auto",
    ]
    assert "google/gemini-2.5-flash-image" in page.ids
    assert "anthropic/claude-4-sonnet-20250522" in page.ids


def test_openai_says_names_and_those_that_do_not_chat_are_left_out() -> None:
    page = parse_openai(sent(OPENAI))
    assert [(model.id, model.maker) for model in page.models] == [
        ("gpt-4o-mini", "OpenAI"),
        ("gpt-4o-mini-2024-07-18", "OpenAI"),
        ("ft:gpt-4o-mini:acme::x1", "acme-1"),
    ]
    assert len(page.ids) == 5


def test_other_servers_say_lengths_in_words_of_their_own() -> None:
    [model] = parse_compatible(sent(VLLM)).models
    assert (model.id, model.context_length, model.maker) == (
        "Qwen/Qwen2.5-7B-Instruct",
        32768,
        "Qwen",
    )
    [bare] = parse_compatible(sent([{"id": "m", "context_window": 8192}])).models
    assert (bare.context_length, bare.maker) == (8192, "Other")


def test_anthropic_says_names_and_lately_lengths_and_what_it_takes() -> None:
    first, second = parse_anthropic(sent(ANTHROPIC)).models
    assert (first.name, first.context_length, first.input_modalities) == (
        "Claude Sonnet 4.5",
        None,
        None,
    )
    assert (second.context_length, second.max_output_tokens) == (1000000, 128000)
    assert second.input_modalities == ("text", "image")


def test_gemini_says_which_can_generate() -> None:
    page = parse_gemini(sent(GEMINI))
    [model] = page.models
    assert (model.id, model.name, model.maker) == (
        "gemini-2.5-flash",
        "Gemini 2.5 Flash",
        "Google",
    )
    assert (model.context_length, model.max_output_tokens) == (1048576, 65536)
    assert page.ids == {"gemini-2.5-flash", "text-embedding-004"}


def test_ollama_says_what_was_pulled() -> None:
    page = parse_ollama(sent(OLLAMA))
    assert [model.id for model in page.models] == ["llama3.2:3b", "deepseek-r1:latest", "llava:7b"]
    assert page.models[0].description == "llama, 3.2B, Q4_K_M"
    assert page.models[2].input_modalities == ("text", "image")


@pytest.mark.parametrize(
    ("parse", "more", "following"),
    [
        (parse_gemini, {"nextPageToken": "a+/="}, "pageToken=a%2B%2F%3D"),
        (parse_gemini, {"nextPageToken": ""}, None),
        (parse_gemini, {"nextPageToken": None}, None),
        (parse_anthropic, {"has_more": True, "last_id": "x&y"}, "after_id=x%26y"),
        (parse_anthropic, {"has_more": True}, None),
        (parse_anthropic, {"has_more": False, "last_id": "x"}, None),
        (parse_compatible, {"has_more": True, "last_id": "x"}, "after=x"),
        (
            parse_openrouter,
            {"links": {"next": "https://elsewhere.example/x?key=1&offset=500"}},
            "offset=500",
        ),
        (parse_openrouter, {"links": {"next": "https://elsewhere.example/x?offset=%26k"}}, None),
        (parse_openrouter, {"links": {"next": None}}, None),
    ],
)
def test_a_further_page_is_a_query_and_never_an_address_of_the_providers(
    parse: Parse, more: dict[str, Any], following: str | None
) -> None:
    entries = [{"id": "m", "name": "m"}]
    page = parse(sent({"data": entries, "models": entries, **more}))
    assert page.following == following
    says_more = any(more.get(key) not in (None, "", False) for key in ("nextPageToken", "has_more"))
    says_more = says_more or bool(more.get("links", {}).get("next"))
    assert page.complete == (following is not None or not says_more)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "damage", [None, 1, "x", [], {}, {"id": None}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 201}]
)
def test_a_damaged_entry_is_passed_over_and_the_page_is_not_complete(
    form: str, damage: object
) -> None:
    parse, recorded = FORMS[form]
    [key] = {"data", "models"} & set(recorded)
    whole = parse(sent(recorded))
    assert whole.complete
    page = parse(sent(recorded | {key: [damage, *recorded[key]]}))
    assert page.models == whole.models
    assert page.ids == whole.ids
    assert not page.complete


ODD: list[Any] = [None, True, -1, 1.5, 10**30, "", "x\x00\u2028", [], [None], {}, {"x": []}]


@pytest.mark.parametrize("form", FORMS)
def test_whatever_stands_in_a_field_the_model_is_listed_or_left_out(form: str) -> None:
    parse, recorded = FORMS[form]
    [key] = {"data", "models"} & set(recorded)
    for number, entry in enumerate(recorded[key]):
        paths: list[tuple[str, ...]] = [
            (name,) for name in entry if name not in ("id", "name", "model")
        ]
        paths += [
            (name, inner)
            for name, value in entry.items()
            if isinstance(value, dict)
            for inner in value
        ]
        for path in paths:
            for odd in ODD:
                changed = copy.deepcopy(recorded)
                target = changed[key][number]
                for step in path[:-1]:
                    target = target[step]
                target[path[-1]] = odd
                page = parse(sent(changed))
                assert page.complete
                for model in page.models:
                    assert model.name
                    assert model.name.isprintable()
                    assert model.description.isprintable()
                    assert model.context_length is None or model.context_length > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"1", b'"x"', b"{}", b'{"data":{}}', b'{"models":1}', b"[" * 9999],
)
def test_what_is_no_list_is_not_taken_for_an_empty_one(form: str, body: bytes) -> None:
    with pytest.raises(NotAList):
        FORMS[form][0](body)


@pytest.mark.parametrize("form", FORMS)
def test_half_a_list_is_none(form: str) -> None:
    parse, recorded = FORMS[form]
    whole = sent(recorded)
    for length in range(len(whole)):
        with pytest.raises(NotAList):
            parse(whole[:length])


@pytest.mark.parametrize(
    "price", ["-1", "nan", "inf", "1e400", "x", "", None, True, [], "2", {"prompt": 1}]
)
def test_a_price_that_is_none_is_not_known(price: object) -> None:
    for pricing in ({"prompt": price, "completion": "0"}, {"prompt": "0", "completion": price}):
        [model] = parse_openrouter(sent({"data": [{"id": "a/b", "pricing": pricing}]})).models
        assert model.price is None


def test_a_price_may_be_a_number_too_and_reasoning_may_have_its_own() -> None:
    pricing = {"prompt": 0.00000015, "completion": 0, "internal_reasoning": "0.000001"}
    [model] = parse_openrouter(sent({"data": [{"id": "a/b", "pricing": pricing}]})).models
    assert model.price == Price(
        input=Decimal("0.00000015"), output=Decimal(0), reasoning=Decimal("0.000001")
    )


def test_long_words_are_cut_and_a_model_is_listed_once() -> None:
    entry = {"id": "a/b", "name": "n" * 999, "description": "d" * 9999}
    page = parse_openrouter(sent({"data": [entry, entry]}))
    [model] = page.models
    assert len(model.name) == 100
    assert len(model.description) == LONGEST_DESCRIPTION
    assert page.complete
