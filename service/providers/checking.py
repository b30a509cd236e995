"""Whether a provider can be reached and takes our key, found out without spending anything.

It is asked for its list of models, and OpenRouter, which shows that to anybody, for what it knows
of the key. Never for an answer of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import trio
from msgspec import Struct

from service.errors import ProviderError
from service.providers.catalogue.fetching import Answer, Getter, get, page_of
from service.providers.catalogue.kinds import Source, source_of
from service.providers.faults import mapping, retry_after_seconds
from service.providers.loose_json import loads
from service.redaction import presentable
from service.settings import ProviderSettings, Settings
from service.upstream import open_client, reason_of

__all__ = ["CHECK_SECONDS", "Finding", "check_all"]

CHECK_SECONDS = 10.0
"""For one provider, all of it; they are asked at the same time. Whoever takes longer for a list
of names is no pleasure to ask for an answer."""


class Finding(Struct, frozen=True, kw_only=True):
    """How one provider is."""

    provider: str
    ok: bool
    words: str
    """One line: what is there, or what is wrong and what to do."""


class _Wrong(Exception):
    """What is wrong, and what to do; raised no further than this file."""


async def check_all(settings: Settings, *, seconds: float = CHECK_SECONDS) -> Sequence[Finding]:
    """One finding for each provider, in the order of the settings, after `seconds` at most.

    Raises nothing but `Cancelled`; when it returns, no connection is open.
    """
    findings: dict[str, Finding] = {}

    async def check(name: str, chosen: ProviderSettings) -> None:
        findings[name] = await _finding(settings, name, chosen, seconds)

    async with trio.open_nursery() as nursery:
        for name, chosen in settings.providers.items():
            nursery.start_soon(check, name, chosen, name=f"check of {name}")
    return [findings[name] for name in settings.providers]


async def _finding(
    settings: Settings, name: str, chosen: ProviderSettings, seconds: float
) -> Finding:
    key = settings.keys.get(name)
    source = source_of(name, chosen, key)
    if source is None:
        return Finding(provider=name, ok=True, words="simulated, inside the service")
    try:
        async with open_client(transport=chosen.transport, proxy=chosen.proxy) as client:
            words = await _Check(source, chosen, client).words_within(seconds)
        ok = True
    except _Wrong as wrong:
        words, ok = str(wrong), False
    return Finding(provider=name, ok=ok, words=presentable(words, secret=key, limit=400))


class _Check:
    """One provider being asked."""

    def __init__(self, source: Source, chosen: ProviderSettings, client: Getter) -> None:
        self._source = source
        self._chosen = chosen
        self._client = client
        self._connected = False

    async def words_within(self, seconds: float) -> str:
        """What there is to say of a provider that is well. Raises `_Wrong`."""
        with trio.move_on_after(seconds):
            try:
                return await self._words()
            except ProviderError as error:
                raise _Wrong(self._unreachable(error)) from error
        what = "connected, but no answer" if self._connected else "no connection"
        raise _Wrong(f"{self._place}: {what} within {seconds:g} s; is it up, and the way to it?")

    async def _words(self) -> str:
        source = self._source
        key = ", no key is sent"
        if source.secret is not None:
            key = ", key accepted"
            if source.key_url is not None:
                key += _credit(mapping(loads((await self._get(source.key_url)).body)))
        answer = await self._get(source.url)
        try:
            page = page_of(answer, source)
        except ProviderError as error:
            raise _Wrong(
                f"{self._place} answers, but not with a list of models "
                f"({answer.media_type or 'no media type'}); does base_url lead to the API? {error}"
            ) from error
        count = len(page.models)
        more = " or more" if page.following else ""
        return f"{self._place}: {count}{more} model{'' if count == 1 else 's'}{key}"

    async def _get(self, url: str) -> Answer:
        self._connected = False

        def connected() -> None:
            self._connected = True

        answer = await get(self._client, self._source, url, on_connected=connected)
        if answer.status != 200:
            raise _Wrong(self._refused(url, answer))
        return answer

    def _refused(self, url: str, answer: Answer) -> str:
        status = answer.status
        match status:
            case 401 | 403 if self._source.secret is None:
                todo = "it wants a key; name the variable that holds it in api_key_env"
            case 401 | 403:
                todo = f"it refuses the key in {self._chosen.api_key_env}; put a valid one there"
            case 402:
                todo = "its account is out of credit; top it up"
            case 404:
                todo = f"there is nothing at {urlsplit(url).path}; base_url ends before that"
            case 429:
                after = retry_after_seconds(answer.headers.get("retry-after"))
                wait = f" in {after:g} s" if after else " later"
                todo = f"it asks for fewer requests; check again{wait}"
            case _ if 300 <= status < 400:
                todo = "it redirects, which is not followed; put where it leads into base_url"
            case _ if status >= 500:
                todo = "a fault of its own; check again later"
            case _:
                todo = "it refuses the request; does base_url lead to the API?"
        return f"{self._place}: {todo} (status {status}{self._said(answer)})"

    def _unreachable(self, error: ProviderError) -> str:
        return f"{self._place}: {reason_of(error) or str(error).rstrip('.')} ({error.code})"

    def _said(self, answer: Answer) -> str:
        """The provider's own words for its refusal, if it found any."""
        error = mapping(loads(answer.body)).get("error")
        words = error if isinstance(error, str) else mapping(error).get("message")
        if not (isinstance(words, str) and words):
            return ""
        # Before it is cut: half a key looks like none.
        return f": {presentable(words, secret=self._source.secret, limit=120)}"

    @property
    def _place(self) -> str:
        parts = urlsplit(self._source.base_url)
        return f"{parts.scheme}://{parts.netloc}"


def _credit(told: Mapping[str, object]) -> str:
    """What OpenRouter says of a key: the dollars that are left of its limit."""
    left = mapping(told.get("data")).get("limit_remaining")
    if isinstance(left, bool) or not isinstance(left, (int, float)):
        return ""  # a key without a limit has none
    if left <= 0:
        raise _Wrong("its key has used up its limit; raise the limit at OpenRouter")
    return f", {left:.2f} USD left of its limit"
