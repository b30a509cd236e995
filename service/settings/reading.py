"""Reading them: a file and the environment, and one line for each mistake."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from service.settings.values import (
    SIMULATOR,
    CatalogueSettings,
    Deadlines,
    Limits,
    ProviderSettings,
    Retries,
    Server,
    Settings,
    SettingsError,
    Stream,
)
from service.surface import parse_digest, parse_host, parse_origin, parse_proxy

__all__ = ["Source", "find", "load", "settle"]

CONFIG_VARIABLE = "COMPARE_CONFIG"

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


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says, before the defaults; without a file: nothing."""

    path: str | None
    tables: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What refusals call it."""
        return self.path or "the environment"


def find(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Source:
    """Read `path`, or the file that `COMPARE_CONFIG` names, or no file.

    An empty variable is one that is not set.

    Raises `SettingsError`.
    """
    path = path or environ.get(CONFIG_VARIABLE) or None
    return Source(None, {}) if path is None else Source(str(path), _read_toml(Path(path)))


def settle(source: Source, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that come of a file's words and the environment.

    Raises `SettingsError`.
    """
    return _Reader(source.name, environ).settings(source.tables)


def load(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Both at once.

    Raises `SettingsError`.
    """
    return settle(find(path, environ), environ)


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
