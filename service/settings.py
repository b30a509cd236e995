"""What an operator may choose; frozen, read once.

A TOML file (`--config` or `COMPARE_CONFIG`) over defaults, keys from the environment only. Every
refusal is one line that names the file, the key, and what was expected.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from service.patience import Patience
from service.persistence import Persistence
from service.surface import parse_digest, parse_host, parse_origin, parse_proxy

__all__ = [
    "CatalogueSettings",
    "Deadlines",
    "Limits",
    "ProviderSettings",
    "Retries",
    "Server",
    "Settings",
    "SettingsError",
    "Stream",
    "load",
]

CONFIG_VARIABLE = "COMPARE_CONFIG"
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


FROM_ENVIRONMENT = {
    "openrouter": ProviderSettings(
        dialect="openai",
        base_url="https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
    ),
    "openai": ProviderSettings(
        dialect="openai", base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY"
    ),
    "anthropic": ProviderSettings(
        dialect="anthropic",
        base_url="https://api.anthropic.com/v1",
        api_key_env="ANTHROPIC_API_KEY",
    ),
    "gemini": ProviderSettings(
        dialect="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        api_key_env="GEMINI_API_KEY",
    ),
}
"""The providers that appear by themselves when their key is in the environment."""


def load(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `path`, or from the file that `COMPARE_CONFIG` names, or without a file.

    An empty variable is one that is not set.

    Raises `SettingsError`.
    """
    path = path or environ.get(CONFIG_VARIABLE) or None
    if path is None:
        return _Reader("the environment", environ).settings({})
    return _Reader(str(path), environ).settings(_read_toml(Path(path)))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc.strerror or exc}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: is not valid TOML: {exc}.") from exc


AnyStruct = TypeVar("AnyStruct", bound=Struct)


class _Reader:
    """Reads one file's tables; `source` is what its refusals call it."""

    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ

    def settings(self, tables: Mapping[str, Any]) -> Settings:
        known = (
            *("default_provider", "limits", "deadlines", "retries", "stream", "server"),
            *("catalogue", "providers"),
        )
        for key in tables:
            if key not in known:
                raise self._wrong(key, f"unknown key; expected one of {', '.join(known)}")
        providers = self._providers(tables)
        return Settings(
            default_provider=self._default_provider(tables, providers),
            limits=self._section(tables, "limits", Limits),
            deadlines=self._section(tables, "deadlines", Deadlines),
            retries=self._section(tables, "retries", Retries),
            stream=self._section(tables, "stream", Stream),
            server=self._server(tables),
            catalogue=self._catalogue(tables),
            providers=providers,
            keys=self._keys(providers),
        )

    def _providers(self, tables: Mapping[str, Any]) -> dict[str, ProviderSettings]:
        simulator = {SIMULATOR: ProviderSettings(dialect="simulated")}
        if "providers" not in tables:
            found = {
                name: provider
                for name, provider in FROM_ENVIRONMENT.items()
                if provider.api_key_env and self._secret(provider.api_key_env)
            }
            return found | simulator
        named = tables["providers"]
        if not isinstance(named, dict):
            raise self._wrong("providers", "expected a table for each provider")
        return simulator | {name: self._provider(name, table) for name, table in named.items()}

    def _provider(self, name: str, table: object) -> ProviderSettings:
        key = f"providers.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise self._wrong(key, "expected a name of letters, digits, - and _")
        provider = self._convert(table, key, ProviderSettings)
        if name == SIMULATOR and provider.dialect != "simulated":
            raise self._wrong(f"{key}.dialect", f"{name} is the simulator's name")
        for header in ("app_url", "app_title", "app_categories"):
            if not (getattr(provider, header) or "").isprintable():
                raise self._wrong(f"{key}.{header}", "expected one line of text")
        if provider.dialect != "simulated":
            self._check_url(f"{key}.base_url", provider.base_url)
        if provider.proxy is not None:
            if provider.transport != "httpx":
                raise self._wrong(f"{key}.proxy", 'expected transport = "httpx" beside it')
            self._check_proxy(f"{key}.proxy", provider.proxy)
        return provider

    def _check_proxy(self, key: str, url: str) -> None:
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise self._wrong(key, "expected the http:// or https:// address of a proxy")

    def _check_url(self, key: str, url: str | None) -> None:
        if url is None:
            raise self._wrong(key, "is missing; expected the address of the API")
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            sound = sound and url.isprintable() and " " not in url
        except ValueError:
            sound = False
        if not sound:
            raise self._wrong(key, "expected an http:// or https:// address")
        if parts.username or parts.query or parts.fragment:
            raise self._wrong(key, "expected an address without a key, a query or a fragment in it")

    def _keys(self, providers: Mapping[str, ProviderSettings]) -> dict[str, str]:
        keys = {}
        for name, provider in providers.items():
            variable = provider.api_key_env
            if variable is None:
                continue
            key = self._secret(variable)
            if not key:
                raise self._wrong(
                    f"providers.{name}.api_key_env",
                    f"the variable {variable} is not set; expected it, or {variable}_FILE, "
                    "to hold the key",
                )
            if not (key.isascii() and key.isprintable()):
                raise self._wrong(
                    f"providers.{name}.api_key_env",
                    f"the key in {variable} has characters that no key has",
                )
            keys[name] = key
        return keys

    def _secret(self, variable: str) -> str:
        """The value of a variable, or of the file that `<variable>_FILE` names."""
        value = self._environ.get(variable, "").strip()
        path = self._environ.get(f"{variable}_FILE")
        if value or not path:
            return value
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(
                f"{self._source}: {variable}_FILE: the file {path} cannot be read."
            ) from exc

    def _default_provider(
        self, tables: Mapping[str, Any], providers: Mapping[str, ProviderSettings]
    ) -> str:
        if "default_provider" not in tables:
            return "openrouter" if "openrouter" in providers else SIMULATOR
        name = tables["default_provider"]
        if not isinstance(name, str) or name not in providers:
            raise self._wrong("default_provider", f"expected one of {', '.join(providers)}")
        return name

    def _server(self, tables: Mapping[str, Any]) -> Server:
        server = self._section(tables, "server", Server)
        for name, digest in server.api_keys.items():
            key = f"server.api_keys.{name}"
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise self._wrong(key, "expected a name of letters, digits, - and _")
            self._check(key, parse_digest, digest)
        for index, origin in enumerate(server.cors_origins):
            self._check(f"server.cors_origins[{index}]", parse_origin, origin)
        for index, host in enumerate(server.hosts):
            self._check(f"server.hosts[{index}]", parse_host, host)
        for index, proxy in enumerate(server.trusted_proxies):
            self._check(f"server.trusted_proxies[{index}]", parse_proxy, proxy)
        return server

    def _catalogue(self, tables: Mapping[str, Any]) -> CatalogueSettings:
        catalogue = self._section(tables, "catalogue", CatalogueSettings)
        if 0 < catalogue.refresh < 1:
            raise self._wrong("catalogue.refresh", "expected 0, or a second at least")
        return catalogue

    def _check(self, key: str, parse: Callable[[str], object], text: str) -> None:
        try:
            parse(text)
        except ValueError as exc:
            raise self._wrong(key, str(exc)) from None

    def _section(self, tables: Mapping[str, Any], key: str, section: type[AnyStruct]) -> AnyStruct:
        return self._convert(tables.get(key, {}), key, section)

    def _convert(self, table: object, key: str, section: type[AnyStruct]) -> AnyStruct:
        if not isinstance(table, dict):
            raise self._wrong(key, "expected a table")
        for name in table:
            if name not in section.__struct_fields__:
                expected = ", ".join(section.__struct_fields__)
                raise self._wrong(f"{key}.{name}", f"unknown key; expected one of {expected}")
        try:
            return msgspec.convert(table, section)
        except msgspec.ValidationError as exc:
            what, _, path = str(exc).replace("`", "").partition(" - at $")
            if what.startswith("Invalid enum value"):
                choices = get_args(get_type_hints(section)[path.removeprefix(".")])
                choices = get_args(choices[0]) or choices  # the Literal of an optional one
                what = f"expected one of {', '.join(map(str, choices))}"
            raise self._wrong(f"{key}{path}", f"{what[:1].lower()}{what[1:]}") from None

    def _wrong(self, key: str, what: str) -> SettingsError:
        return SettingsError(f"{self._source}: {key}: {what}.")
