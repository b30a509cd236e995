"""A provider's table in the settings file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from service.settings.about import About, PositiveInt

__all__ = ["MOST_AT_ONCE", "SIMULATOR", "ProviderSettings"]

SIMULATOR = "sim"
MOST_AT_ONCE = 9
"""Requests to one provider, unless it says otherwise: a comparison of as many models as one may
have."""


class ProviderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One provider."""

    dialect: Annotated[
        Literal["openai", "anthropic", "gemini", "ollama", "simulated"],
        About("", "how the provider is spoken to: [dialects](#dialects)"),
    ]
    base_url: Annotated[
        str | None,
        About(
            "address",
            "required but with `simulated`: the address of the API, without a query and "
            "without a key in it",
        ),
    ] = None
    api_key_env: Annotated[
        str | None,
        About(
            "name of a variable",
            "where the key is, or with `_FILE` behind its name the file that holds it; no key "
            "is ever in this file. None: no key is sent, as local servers like it",
        ),
    ] = None
    max_concurrency: Annotated[
        PositiveInt | None,
        About(
            "requests at once",
            "the most that ever run at once; none: 9, which is a comparison of as many models "
            "as one may have, and no limit to the simulator. How many really run is "
            "[learned](limits.md) below it; who must wait is told so",
        ),
    ] = None
    transport: Annotated[
        Literal["streams", "httpx"],
        About(
            "",
            "connections made for streams, or httpx's own, which can go through a proxy and "
            "takes three times the processor",
        ),
    ] = "streams"
    proxy: Annotated[
        str | None,
        About("address", 'an HTTP proxy on the way to the provider; needs `transport = "httpx"`'),
    ] = None
    flavour: Annotated[
        Literal["openrouter", "openai", "compatible"] | None,
        About("", "where servers of this dialect differ; see below", only="openai"),
    ] = None
    app_url: Annotated[
        str | None,
        About(
            "address",
            "sent as `HTTP-Referer`, by which OpenRouter attributes use to an application. Off "
            "unless set",
            only="openai",
        ),
    ] = None
    app_title: Annotated[
        str | None, About("text", "the same, as `X-OpenRouter-Title`", only="openai")
    ] = None
    app_categories: Annotated[
        str | None, About("text", "the same, as `X-OpenRouter-Categories`", only="openai")
    ] = None
    seed: Annotated[int, About("", "another seed writes other texts", only="simulated")] = 0
    speed: Annotated[float, Meta(gt=0), About("times", "2 is twice as fast", only="simulated")] = (
        1.0
    )
