"""One provider's list of models over HTTP, bounded in bytes, pages and entries.

Only ever asked of the provider's own address: a further page is a query that the parser made, never
an address that the provider sent, so no key goes anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import trio

from service.errors import ProviderError
from service.providers.catalogue.kinds import Source
from service.providers.catalogue.lists import NotAList, Page
from service.providers.catalogue.models import ListedModel, Listing
from service.providers.faults import refusal
from service.redaction import presentable
from service.upstream import Reply

__all__ = ["FETCH_SECONDS", "Answer", "Getter", "fetch", "fetch_in_time", "get", "page_of"]

FETCH_SECONDS = 30.0
"""For a whole list. Nobody waits for it, so it may take long; but a task must have an end."""
MOST_BYTES = 4 * 1024 * 1024
"""Of one page; the longest, OpenRouter's with all its descriptions, has about one megabyte.
Parsing this much holds everybody up for some 50 ms."""
MOST_PAGES = 20
MOST_MODELS = 5000
"""Ten times the longest list there is."""


class Getter(Protocol):
    """What is needed of `service.upstream.Client`."""

    def get(
        self, url: str, *, headers: Mapping[str, str], on_connected: Callable[[], None] = ...
    ) -> AbstractAsyncContextManager[Reply]:
        """Ask for what is at this address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    media_type: str
    body: bytes


async def fetch(client: Getter, source: Source) -> Listing:
    """Everything that a provider lists.

    Raises `ProviderError`, whose words hold neither its key nor its address. It has no clock: the
    caller's scope is one. Every exit, cancellation included, leaves no request running.
    """
    models: dict[str, ListedModel] = {}
    ids: set[str] = set()
    complete = True
    url: str | None = source.url
    for _ in range(MOST_PAGES):
        if url is None:
            break
        page = page_of(await get(client, source, url), source)
        complete = complete and page.complete
        is_news = not page.ids <= ids
        ids |= page.ids
        models.update((model.id, model) for model in page.models if model.id not in models)
        url = source.page(page.following) if page.following else None
        if len(ids) > MOST_MODELS or not is_news:
            break
    if not ids and source.kind.never_empty:
        raise ProviderError("empty_response", "Its list was empty.", retryable=True)
    return Listing(
        models=tuple(models.values())[:MOST_MODELS],
        ids=frozenset(ids),
        complete=complete and url is None,
    )


async def get(
    client: Getter,
    source: Source,
    url: str,
    *,
    on_connected: Callable[[], None] = lambda: None,
) -> Answer:
    """What is at this address of the provider. Raises `ProviderError` for faults on the way."""
    async with client.get(url, headers=source.headers, on_connected=on_connected) as reply:
        body = await reply.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise ProviderError("frame_too_large", "Its list is longer than the service takes.")
        return Answer(
            status=reply.status, headers=reply.headers, media_type=reply.media_type, body=body
        )


def page_of(answer: Answer, source: Source) -> Page:
    """The page of models that this answer is. Raises `ProviderError` when it is none."""
    if answer.status == 404:
        raise ProviderError("protocol_error", "It lists no models at this address (status 404).")
    if answer.status != 200:
        raise _presentable(refusal(answer.status, answer.headers, answer.body), source)
    try:
        return source.kind.parse(answer.body)
    except NotAList:
        raise ProviderError(
            "protocol_error", f"It answered with {answer.media_type or 'something'}, no list."
        ) from None


def _presentable(error: ProviderError, source: Source) -> ProviderError:
    words = presentable(str(error), secret=source.secret, limit=200)
    return ProviderError(
        error.code, words, retryable=error.retryable, retry_after=error.retry_after
    )


async def fetch_in_time(client: Getter, source: Source) -> Listing:
    """The same within `FETCH_SECONDS`; raises `ProviderError` when they are over."""
    with trio.move_on_after(FETCH_SECONDS):
        return await fetch(client, source)
    raise ProviderError(
        "total_timeout", f"Its list was not there within {FETCH_SECONDS:g} s.", retryable=True
    )
