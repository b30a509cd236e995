"""Which dialect a provider's settings ask for."""

from __future__ import annotations

from urllib.parse import urlsplit

from service.providers.anthropic import Messages
from service.providers.dialect import Dialect
from service.providers.gemini import GenerateContent
from service.providers.ollama import ChatLines
from service.providers.openai import ChatCompletions, Flavour
from service.settings import ProviderSettings

__all__ = ["dialect_for"]

FLAVOURS: dict[str, Flavour] = {"openrouter.ai": "openrouter", "api.openai.com": "openai"}
"""Servers whose habits are known by their address."""


def dialect_for(chosen: ProviderSettings, key: str | None) -> Dialect:
    """The dialect of a provider over HTTP; the simulator's address is not in its settings."""
    base_url = chosen.base_url or ""
    match chosen.dialect:
        case "anthropic":
            return Messages(base_url, api_key=key)
        case "gemini":
            return GenerateContent(base_url, api_key=key)
        case "ollama":
            return ChatLines(base_url, api_key=key)
        case _:
            return _chat_completions(chosen, base_url, key)


def _chat_completions(chosen: ProviderSettings, base_url: str, key: str | None) -> ChatCompletions:
    host = urlsplit(base_url).hostname or ""
    attribution = {
        "HTTP-Referer": chosen.app_url,
        "X-OpenRouter-Title": chosen.app_title,
        "X-OpenRouter-Categories": chosen.app_categories,
    }
    return ChatCompletions(
        base_url,
        api_key=key,
        flavour=chosen.flavour or FLAVOURS.get(host, "compatible"),
        attribution={name: value for name, value in attribution.items() if value},
    )
