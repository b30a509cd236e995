"""Whose list of models has which form, where it is, and whether it can be trusted to be complete.

A question about a model that its provider does not have is refused before the stream, but only
where the list proves it. That takes a provider whose list is known to name everything that may be
asked for:

- OpenRouter's is; a known id may carry one of its variants behind a colon (`:free`, `:nitro`,
  `:online`, ...), and what routes by itself (`openrouter/...`, `~author/...-latest`, `@preset/`)
  is left to it;
- Ollama's is: it answers only with what has been pulled. `name` is `name:latest` there. Models
  that run in its cloud need not be pulled, and are left to it.

Of the others none is. Anthropic's leaves out its aliases, Gemini's tuned models and previews,
OpenAI's what a project was given apart; and servers that imitate OpenAI load models on demand, or
answer to any name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from service.providers.catalogue.lists import (
    Parse,
    parse_anthropic,
    parse_compatible,
    parse_gemini,
    parse_ollama,
    parse_openai,
    parse_openrouter,
)
from service.providers.catalogue.models import Listing
from service.settings import ProviderSettings

__all__ = ["Kind", "Source", "source_of"]

OPENROUTER_TRUSTED_SECONDS = 2 * 3600.0
"""Its list changes a few times a week: one that missed a refresh is good, an older one is not."""
OLLAMA_TRUSTED_SECONDS = 60.0
"""Its list changes by the hand of who asks next: pull a model, and use it."""
ANTHROPIC_VERSION = "2023-06-01"


def _names(listing: Listing, model: str) -> bool:
    return model in listing.ids


def _openrouter_has(listing: Listing, model: str) -> bool:
    name = model.lower()
    if name.startswith(("openrouter/", "~", "@")) or "@preset/" in name:
        return True
    base = name.partition(":")[0]
    return any(known.lower().partition(":")[0] == base for known in listing.ids)


def _ollama_has(listing: Listing, model: str) -> bool:
    name = model.lower()
    if ":" not in name.rpartition("/")[2]:
        name = f"{name}:latest"
    if name.endswith("cloud"):
        return True
    return name in {known.lower() for known in listing.ids}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of provider, as far as its list of models goes."""

    name: str
    parse: Parse
    path: str = "/models"
    query: str = ""
    trusted_seconds: float = 0
    """How old its list may be and still prove that it does not have a model; 0: it never does."""
    has: Callable[[Listing, str], bool] = _names
    """Whether a model of this name may be asked for, as far as the list says."""
    never_empty: bool = True
    """Whether a list without any model is a fault, and not the truth."""
    key_path: str | None = None
    """Where it tells of the key, if it shows its list to anybody."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="openrouter",
            parse=parse_openrouter,
            trusted_seconds=OPENROUTER_TRUSTED_SECONDS,
            has=_openrouter_has,
            key_path="/key",
        ),
        Kind(name="openai", parse=parse_openai),
        Kind(name="compatible", parse=parse_compatible, never_empty=False),
        Kind(name="anthropic", parse=parse_anthropic, query="limit=1000"),
        Kind(name="gemini", parse=parse_gemini, query="pageSize=1000"),
        Kind(
            name="ollama",
            parse=parse_ollama,
            path="/api/tags",
            trusted_seconds=OLLAMA_TRUSTED_SECONDS,
            has=_ollama_has,
            never_empty=False,
        ),
    )
}
HOSTS = {"openrouter.ai": "openrouter", "api.openai.com": "openai"}
ADDRESSES = {
    "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "ollama": "http://127.0.0.1:11434",
}
"""Where they are unless the settings say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one configured provider lists its models."""

    provider: str
    kind: Kind
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Of the first page."""
        return self._address(self.kind.path, self.kind.query)

    @property
    def key_url(self) -> str | None:
        """Where the provider tells of the key; None: the list itself needs one."""
        return None if self.kind.key_path is None else self._address(self.kind.key_path)

    def page(self, following: str) -> str:
        """The address of a further page."""
        return self._address(self.kind.path, "&".join(filter(None, (self.kind.query, following))))

    def _address(self, path: str, query: str = "") -> str:
        return f"{self.base_url}{path}{'?' if query else ''}{query}"


def source_of(name: str, chosen: ProviderSettings, key: str | None) -> Source | None:
    """Where this provider lists its models; None for the simulator, which need not be asked."""
    kind = _kind_of(name, chosen)
    if kind is None:
        return None
    base_url = (chosen.base_url or ADDRESSES.get(kind.name, "")).rstrip("/")
    if kind.name == "ollama":
        base_url = base_url.removesuffix("/api")
    return Source(
        provider=name,
        kind=kind,
        base_url=base_url,
        headers=_headers(kind.name, key),
        secret=key,
    )


def _kind_of(name: str, chosen: ProviderSettings) -> Kind | None:
    dialect: str = chosen.dialect
    if dialect == "simulated":
        return None
    if dialect != "openai":
        return KINDS.get(dialect, KINDS["compatible"])
    host = urlsplit(chosen.base_url or "").hostname or ""
    # A gateway of one's own in front of OpenRouter goes by its name, which the built-in list does.
    by_name = "openrouter" if name == "openrouter" else "compatible"
    return KINDS[chosen.flavour or HOSTS.get(host, by_name)]


def _headers(kind: str, key: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if kind == "anthropic":
        headers["anthropic-version"] = ANTHROPIC_VERSION
    if key is not None:
        match kind:
            case "anthropic":
                headers["x-api-key"] = key
            case "gemini":
                headers["x-goog-api-key"] = key
            case _:
                headers["Authorization"] = f"Bearer {key}"
    return headers
