"""The settings as values, with their defaults, units and reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta, Struct

from service.patience import Patience
from service.persistence import Persistence

__all__ = [
    "SIMULATOR",
    "CatalogueSettings",
    "Deadlines",
    "Limits",
    "ProviderSettings",
    "Retries",
    "Server",
    "Settings",
    "SettingsError",
    "Stream",
]

SIMULATOR = "sim"
MOST_AT_ONCE = 9
"""Requests to one provider, unless it says otherwise: a comparison of as many models as one may
have."""

Seconds = Annotated[float, Meta(gt=0)]
PositiveInt = Annotated[int, Meta(ge=1)]


class SettingsError(Exception):
    """The service can't start with these settings; the message is one line for the operator."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much is taken on."""

    max_models: PositiveInt = 9
    """Models in one comparison."""
    max_comparisons: PositiveInt = 256
    """Comparisons running at once in one process; one more is answered with 503."""
    max_body_bytes: PositiveInt = 1024 * 1024
    """Bytes of a request's body; a longer one is answered with 413."""
    daily_model_responses: Annotated[int, Meta(ge=0)] = 0
    """Answers a day (UTC) for one address and for one fingerprint; 0: no limit."""


class Deadlines(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds that a model may take; see `service.patience.Patience`."""

    connect: Seconds = 5
    first_token: Seconds = 30
    idle: Seconds = 60
    total: Seconds = 300

    def patience(self) -> Patience:
        """The same as the value that the comparison takes."""
        return Patience(
            connect=self.connect, first_token=self.first_token, idle=self.idle, total=self.total
        )


class Retries(Struct, frozen=True, forbid_unknown_fields=True):
    """When a provider is asked again; see `service.persistence.Persistence`."""

    attempts: PositiveInt = 3
    """Requests to one model at most, the first included; 1: none is made again."""
    backoff: Seconds = 0.5
    """Seconds; the bound of the first wait, which is drawn by lot. It doubles with each."""
    most_backoff: Seconds = 8
    """Seconds at which the bound stops doubling."""
    longest_wait: Annotated[float, Meta(ge=0)] = 20
    """Seconds; a provider that asks for a longer wait is not asked again."""

    def persistence(self) -> Persistence:
        """The same as the value that the comparison takes."""
        return Persistence(
            attempts=self.attempts,
            backoff=self.backoff,
            most_backoff=self.most_backoff,
            longest_wait=self.longest_wait,
        )


class Stream(Struct, frozen=True, forbid_unknown_fields=True):
    """How events reach the client."""

    heartbeat: Annotated[float, Meta(ge=0.01)] = 10
    """Seconds without output after which a comment is sent."""
    write_timeout: Seconds = 10
    """Seconds that a client may take to drain what is pending."""
    flush_ms: Annotated[float, Meta(ge=0)] = 50
    """Milliseconds that a chunk may be held back under load at most."""


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is let in, and how the process ends."""

    drain: Seconds = 30
    """Seconds that running comparisons may go on once the process is told to end."""
    connections_per_address: Annotated[int, Meta(ge=0)] = 1024
    """Connections open at once from one address; one more is closed at once. 0: no limit."""
    resets_per_connection: PositiveInt = 100
    """HTTP/2 requests that a connection may take back at once; ten more with each second."""
    api_keys: dict[str, str] = {}
    """The digests of callers' keys, by the keys' names. None: whoever reaches the port may ask."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read the answers; `*`: all."""
    hosts: tuple[str, ...] = ()
    """Names that the service answers to; none: to any."""
    trusted_proxies: tuple[str, ...] = ()
    """Peers whose X-Forwarded-For is believed: addresses, networks, `unix`."""


class CatalogueSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the list of models is kept."""

    refresh: Annotated[float, Meta(ge=0)] = 3600
    """Seconds between two fetches of each provider's list; 0: nobody is asked for one."""


class ProviderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One provider."""

    dialect: Literal["openai", "anthropic", "gemini", "ollama", "simulated"]
    base_url: str | None = None
    api_key_env: str | None = None
    """Name of the variable with the key; NAME_FILE may name a file that holds it instead."""
    max_concurrency: PositiveInt | None = None
    """The most requests that ever run at once; how many really do is learned below it.
    None: `MOST_AT_ONCE`, and no limit to the simulator."""
    transport: Literal["streams", "httpx"] = "streams"
    """Connections made for streams, or httpx's own, which can go through a proxy."""
    proxy: str | None = None
    """Address of an HTTP proxy on the way to the provider; needs transport `httpx`."""
    flavour: Literal["openrouter", "openai", "compatible"] | None = None
    """Dialect `openai`: whose habits it has; taken from the address when it is not said."""
    app_url: str | None = None
    """Sent to OpenRouter as HTTP-Referer, by which it attributes use to an application."""
    app_title: str | None = None
    """Sent to OpenRouter as X-OpenRouter-Title."""
    app_categories: str | None = None
    """Sent to OpenRouter as X-OpenRouter-Categories."""
    seed: int = 0
    """Dialect `simulated`: other seeds write other texts."""
    speed: Annotated[float, Meta(gt=0)] = 1.0
    """Dialect `simulated`: 2 is twice as fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator may choose."""

    default_provider: str = SIMULATOR
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    retries: Retries = field(default_factory=Retries)
    stream: Stream = field(default_factory=Stream)
    server: Server = field(default_factory=Server)
    catalogue: CatalogueSettings = field(default_factory=lambda: CatalogueSettings(refresh=0))
    """What a program makes for itself asks nobody unless it says so; what `load` reads does."""
    providers: Mapping[str, ProviderSettings] = field(
        default_factory=lambda: {SIMULATOR: ProviderSettings(dialect="simulated")}
    )
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Each provider's key, where it has one."""

    def ceilings(self) -> dict[str, int]:
        """The most requests at once, of each provider that has a limit."""
        return {
            name: provider.max_concurrency or MOST_AT_ONCE
            for name, provider in self.providers.items()
            if provider.max_concurrency is not None or provider.dialect != "simulated"
        }
