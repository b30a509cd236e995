"""The forms in which providers list their models: pure parsers, bytes to a page.

They are lenient with a model and strict with a list. What a model's entry has in a form that is
not expected is left out; an entry without a name is passed over, and the page says that it is not
complete, so that nobody is refused because of it. What is no list at all raises `NotAList`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlencode

from service.providers.catalogue.fields import price, text, whole, words
from service.providers.catalogue.models import ListedModel
from service.providers.faults import mapping
from service.providers.loose_json import loads

__all__ = [
    "NotAList",
    "Page",
    "Parse",
    "parse_anthropic",
    "parse_compatible",
    "parse_gemini",
    "parse_ollama",
    "parse_openai",
    "parse_openrouter",
]

LONGEST_ID = 200
"""Characters, as in a question; a longer name could not be asked for."""
LONGEST_CURSOR = 1000
LONGEST_NAME = 100
LONGEST_DESCRIPTION = 300
"""Characters; a list to choose from holds hundreds of them, and some run to pages."""

NOT_CHATTING = (
    "babbage-",
    "dall-e-",
    "davinci-",
    "gpt-image",
    "omni-moderation",
    "sora",
    "text-embedding",
    "text-moderation",
    "tts-",
    "whisper-",
)
"""How OpenAI's models begin that have no chat completions; its list does not tell them apart."""
NOT_CHATTING_EITHER = ("-realtime", "-transcribe", "-tts", "-instruct")
"""What such a name may hold further behind."""
EMBEDDING_FAMILIES = frozenset({"bert", "nomic-bert"})
"""Ollama's embedding models, where the list has no `capabilities`."""

MAKERS = {
    "anthropic": "Anthropic",
    "cohere": "Cohere",
    "deepseek": "DeepSeek",
    "google": "Google",
    "meta-llama": "Meta",
    "mistralai": "Mistral",
    "openai": "OpenAI",
    "qwen": "Qwen",
    "x-ai": "xAI",
}
"""The authors in OpenRouter's ids under the names that the built-in list has for them."""


class NotAList(ValueError):
    """The answer is no list of models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of a provider about its models."""

    models: tuple[ListedModel, ...]
    ids: frozenset[str]
    complete: bool
    """Whether every entry of it could be read, and the next page can be asked for, if any."""
    following: str | None = None
    """The query by which the next page is asked for; None: this was the last."""


Parse: TypeAlias = Callable[[bytes], Page]


def parse_openrouter(body: bytes) -> Page:
    """`{"data": [{id, name, context_length, architecture, pricing, ...}]}`, prices per token."""
    answer = mapping(loads(body))
    # It answers whole as a rule. Where it does not, it sends the next page's address, of which
    # the number is taken and nothing else.
    link = mapping(answer.get("links")).get("next")
    query = link.partition("?")[2] if isinstance(link, str) else ""
    offset = parse_qs(query).get("offset", [""])[0]
    return _page(
        _entries(answer, "data"),
        _openrouter_model,
        also=("canonical_slug",),
        more=bool(link),
        cursor=("offset", offset if offset.isdecimal() else ""),
    )


def parse_openai(body: bytes) -> Page:
    """`{"data": [{id, object, created, owned_by}]}`: names, and no word of what they are."""
    page = parse_compatible(body)
    models = tuple(model for model in page.models if _chats(model.id))
    return Page(models=models, ids=page.ids, complete=page.complete, following=page.following)


def parse_compatible(body: bytes) -> Page:
    """The same from servers of that dialect, with what they add; some send the bare list."""
    answer = loads(body)
    if isinstance(answer, list):
        answer = {"data": answer}
    answer = mapping(answer)
    return _page(
        _entries(answer, "data"),
        _compatible_model,
        more=answer.get("has_more") is True,
        cursor=("after", answer.get("last_id")),
    )


def parse_anthropic(body: bytes) -> Page:
    """`{"data": [{type, id, display_name, created_at}], "has_more", "last_id"}`."""
    answer = mapping(loads(body))
    return _page(
        _entries(answer, "data"),
        _anthropic_model,
        more=answer.get("has_more") is True,
        cursor=("after_id", answer.get("last_id")),
    )


def parse_gemini(body: bytes) -> Page:
    """`{"models": [{name: "models/...", displayName, inputTokenLimit, ...}], "nextPageToken"}`."""
    answer = mapping(loads(body))
    token = answer.get("nextPageToken")
    cursor = ("pageToken", token)
    return _page(_entries(answer, "models"), _gemini_model, more=bool(token), cursor=cursor)


def parse_ollama(body: bytes) -> Page:
    """`{"models": [{name, model, size, details: {family, parameter_size, ...}}]}`."""
    return _page(_entries(mapping(loads(body)), "models"), _ollama_model)


ReadModel: TypeAlias = Callable[[str, Mapping[str, Any]], ListedModel | None]
"""An entry and its name to a model; None: it does not chat."""


def _page(
    entries: list[Any],
    read: ReadModel,
    *,
    also: Iterable[str] = (),
    more: bool = False,
    cursor: tuple[str, object] = ("", None),
) -> Page:
    """The page; `cursor` is the parameter that asks for the next one, if there are `more`."""
    models: dict[str, ListedModel] = {}
    ids: set[str] = set()
    complete = True
    for entry in entries:
        id_ = _id_of(mapping(entry))
        if id_ is None:
            complete = False
            continue
        ids.add(id_)
        ids |= {alias for key in also if (alias := text(entry.get(key), LONGEST_ID))}
        model = read(id_, entry)
        if model is not None:
            models.setdefault(model.id, model)
    parameter, value = cursor
    can_follow = more and isinstance(value, str) and 0 < len(value) <= LONGEST_CURSOR
    return Page(
        models=tuple(models.values()),
        ids=frozenset(ids),
        complete=complete and can_follow is more,
        following=urlencode({parameter: value}) if can_follow else None,
    )


def _entries(answer: Mapping[str, Any], key: str) -> list[Any]:
    entries = answer.get(key)
    if not isinstance(entries, list):
        raise NotAList
    return entries


def _id_of(entry: Mapping[str, Any]) -> str | None:
    """The name in any of the places where it stands; Gemini's without the kind before it."""
    for key in ("id", "name", "model"):
        value = entry.get(key)
        if isinstance(value, str):
            id_ = value.removeprefix("models/")
            return id_ if id_ and len(id_) <= LONGEST_ID and id_.isprintable() else None
    return None


def _openrouter_model(id_: str, entry: Mapping[str, Any]) -> ListedModel | None:
    architecture = mapping(entry.get("architecture"))
    writes = words(architecture.get("output_modalities"))
    if writes is not None and "text" not in writes:
        return None
    name = text(entry.get("name"), LONGEST_NAME) or id_
    maker, colon, short = name.partition(": ")
    author = id_.partition("/")[0]
    top = mapping(entry.get("top_provider"))
    return ListedModel(
        id=id_,
        name=short if colon else name,
        maker=MAKERS.get(author) or (maker if colon else author),
        description=text(entry.get("description"), LONGEST_DESCRIPTION),
        context_length=whole(entry.get("context_length")) or whole(top.get("context_length")),
        max_output_tokens=whole(top.get("max_completion_tokens")),
        input_modalities=words(architecture.get("input_modalities")),
        supported_parameters=words(entry.get("supported_parameters")),
        price=price(mapping(entry.get("pricing"))),
    )


def _compatible_model(id_: str, entry: Mapping[str, Any]) -> ListedModel:
    # vLLM says max_model_len, Groq context_window, Mistral max_context_length, llama.cpp n_ctx.
    lengths = ("context_length", "max_model_len", "context_window", "max_context_length")
    context = next((length for key in lengths if (length := whole(entry.get(key)))), None)
    return ListedModel(
        id=id_,
        name=text(entry.get("name"), LONGEST_NAME) or id_,
        maker=_maker(entry.get("owned_by"), id_),
        description=text(entry.get("description"), LONGEST_DESCRIPTION),
        context_length=context or whole(mapping(entry.get("meta")).get("n_ctx")),
        max_output_tokens=whole(entry.get("max_completion_tokens")),
    )


def _anthropic_model(id_: str, entry: Mapping[str, Any]) -> ListedModel:
    can = mapping(entry.get("capabilities"))
    takes = None
    if can:
        told = (("image", "image_input"), ("pdf", "pdf_input"))
        also = [word for word, key in told if mapping(can.get(key)).get("supported") is True]
        takes = ("text", *also)
    return ListedModel(
        id=id_,
        name=text(entry.get("display_name"), LONGEST_NAME) or id_,
        maker="Anthropic",
        context_length=whole(entry.get("max_input_tokens")),
        max_output_tokens=whole(entry.get("max_tokens")),
        input_modalities=takes,
    )


def _gemini_model(id_: str, entry: Mapping[str, Any]) -> ListedModel | None:
    methods = words(entry.get("supportedGenerationMethods"))
    if methods is not None and "generateContent" not in methods:
        return None
    return ListedModel(
        id=id_,
        name=text(entry.get("displayName"), LONGEST_NAME) or id_,
        maker="Google",
        description=text(entry.get("description"), LONGEST_DESCRIPTION),
        context_length=whole(entry.get("inputTokenLimit")),
        max_output_tokens=whole(entry.get("outputTokenLimit")),
    )


def _ollama_model(id_: str, entry: Mapping[str, Any]) -> ListedModel | None:
    details = mapping(entry.get("details"))
    family = text(details.get("family"), LONGEST_NAME)
    can = words(entry.get("capabilities"))
    if family in EMBEDDING_FAMILIES if can is None else "completion" not in can:
        return None
    facts = (family, details.get("parameter_size"), details.get("quantization_level"))
    takes = None if can is None else ("text", *(["image"] if "vision" in can else []))
    return ListedModel(
        id=id_,
        name=id_,
        maker="Ollama",
        description=", ".join(filter(None, (text(fact, LONGEST_NAME) for fact in facts))),
        context_length=whole(details.get("context_length")),
        input_modalities=takes,
    )


def _chats(id_: str) -> bool:
    return not id_.startswith(NOT_CHATTING) and not any(w in id_ for w in NOT_CHATTING_EITHER)


def _maker(owner: object, id_: str) -> str:
    """Who made it, as far as these lists say: OpenAI's own are owned by `system` and others."""
    author, slash, _ = id_.partition("/")
    if slash and author.lower() in MAKERS:
        return MAKERS[author.lower()]
    name = text(owner, LONGEST_NAME)
    is_openai = name == "system" or name.startswith("openai")
    return "OpenAI" if is_openai else name or "Other"
