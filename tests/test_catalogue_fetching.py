"""Lists of models over real sockets, and what the service makes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
import trio

from service.application import create_app
from service.errors import ProviderError
from service.providers.catalogue import Listing, Source, fetch, source_of
from service.providers.catalogue.fetching import MOST_BYTES, MOST_PAGES
from service.settings import CatalogueSettings, ProviderSettings, Settings
from service.testing import Close, Reset, Wire, open_app, open_exchange, open_wire
from service.upstream import open_client
from tests.calling import DONE, HEAD, KEY, LAST, STOP, all_closed, chunk, chunked, response
from tests.chaos.waiting import until
from tests.listings import ANTHROPIC, GEMINI, OLLAMA, OPENAI, OPENROUTER, sent

PATIENCE = 5


def source(base_url: str, *, kind: str = "openrouter", key: str | None = KEY) -> Source:
    flavour: Any = kind if kind in ("openrouter", "openai", "compatible") else None
    dialect: Any = "openai" if flavour else kind
    chosen = ProviderSettings(dialect=dialect, base_url=base_url, flavour=flavour)
    found = source_of("p", chosen, key)
    assert found is not None
    return found


async def fetched(asked: Source, *, transport: Any = "streams") -> Listing:
    async with open_client(transport=transport) as client:
        with trio.fail_after(PATIENCE):
            return await fetch(client, asked)


async def failure(wire: Wire, **chosen: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await fetched(source(wire.base_url, **chosen))
    await all_closed(wire)
    assert KEY not in str(caught.value)
    return caught.value


def listed(value: object) -> bytes:
    return response(sent(value), media_type="application/json")


def asked_for(request: tuple[h11.Request, bytes]) -> tuple[str, str, dict[str, str]]:
    head, body = request
    assert body == b""
    headers = {name.decode().lower(): value.decode() for name, value in head.headers}
    return head.method.decode(), head.target.decode(), headers


@pytest.mark.parametrize("transport", ["streams", "httpx"])
@pytest.mark.parametrize(
    ("kind", "recorded", "target", "header", "count"),
    [
        ("openrouter", OPENROUTER, "/v1/models", ("authorization", f"Bearer {KEY}"), 4),
        ("openai", OPENAI, "/v1/models", ("authorization", f"Bearer {KEY}"), 3),
        ("anthropic", ANTHROPIC, "/v1/models?limit=1000", ("x-api-key", KEY), 2),
        (
            "gemini",
            GEMINI | {"nextPageToken": None},
            "/v1/models?pageSize=1000",
            ("x-goog-api-key", KEY),
            1,
        ),
        ("ollama", OLLAMA, "/v1/api/tags", ("authorization", f"Bearer {KEY}"), 3),
    ],
)
async def test_each_provider_is_asked_at_its_place_with_its_key(
    kind: str,
    recorded: dict[str, Any],
    target: str,
    header: tuple[str, str],
    count: int,
    transport: str,
) -> None:
    async with open_wire(listed(recorded)) as wire:
        listing = await fetched(source(wire.base_url, kind=kind), transport=transport)
        await all_closed(wire)
        [request] = wire.requests
    method, where, headers = asked_for(request)
    assert (method, where) == ("GET", target)
    assert headers[header[0]] == header[1]
    assert "content-length" not in headers
    assert (len(listing.models), listing.complete) == (count, True)


async def test_without_a_key_none_is_sent() -> None:
    async with open_wire(listed(OPENAI)) as wire:
        await fetched(source(wire.base_url, kind="openai", key=None))
        [request] = wire.requests
    assert "authorization" not in asked_for(request)[2]


async def test_all_pages_are_fetched_from_the_provider_itself() -> None:
    def page(name: str, token: str | None) -> list[bytes]:
        return [listed({"models": [{"name": f"models/{name}"}], "nextPageToken": token})]

    async with open_wire(answers=[page("a", "t&1"), page("b", "t2"), page("c", None)]) as wire:
        listing = await fetched(source(wire.base_url, kind="gemini"))
        targets = [asked_for(request)[1] for request in wire.requests]
    assert [model.id for model in listing.models] == ["a", "b", "c"]
    assert listing.complete
    assert targets == [
        "/v1/models?pageSize=1000",
        "/v1/models?pageSize=1000&pageToken=t%261",
        "/v1/models?pageSize=1000&pageToken=t2",
    ]


async def test_a_list_without_an_end_has_one_and_is_not_complete() -> None:
    same = listed({"models": [{"name": "a"}], "nextPageToken": "t"})
    async with open_wire(same) as wire:
        listing = await fetched(source(wire.base_url, kind="gemini"))
        assert (len(listing.models), listing.complete) == (1, False)
        assert len(wire.requests) == 2  # the second brought no news
    answers = [[listed({"models": [{"name": f"m{n}"}], "nextPageToken": "t"})] for n in range(40)]
    async with open_wire(answers=answers) as wire:
        listing = await fetched(source(wire.base_url, kind="gemini"))
        assert (len(listing.models), listing.complete) == (MOST_PAGES, False)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (response(b'{"error":{"message":"No auth"}}', status="401 No"), "unauthorized", "No auth"),
        (response(f"bad {KEY}".encode(), status="403 No"), "unauthorized", "status 403"),
        (
            response(json.dumps({"error": {"message": f"bad {KEY}"}}).encode(), status="401 No"),
            "unauthorized",
            "bad [hidden]",
        ),
        (response(b"", status="404 No"), "protocol_error", "lists no models"),
        (response(b"", status="429 No", Retry_After="7"), "rate_limited", "429"),
        (response(b"<html>", status="503 No"), "overloaded", "503"),
        (response(b"", status="302 No", Location="http://e.example"), "protocol_error", "redirect"),
        (response(b"<html>", media_type="text/html"), "protocol_error", "text/html"),
        (response(b"{}", media_type="application/json"), "protocol_error", "no list"),
        (response(b""), "protocol_error", "no list"),
        (response(gzip.compress(sent(OPENROUTER))), "protocol_error", "no list"),
        (response(b'{"data":[]}'), "empty_response", "empty"),
        (response(b" " * (MOST_BYTES + 1)), "frame_too_large", "longer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_no_list_is_told_in_words_without_the_key(
    answer: bytes, code: str, words: str
) -> None:
    async with open_wire(answer) as wire:
        error = await failure(wire)
    assert error.code == code
    assert words in str(error)
    assert error.retry_after == (7 if code == "rate_limited" else None)


async def test_a_list_that_breaks_off_is_none() -> None:
    whole = listed(OPENROUTER)
    for step in (Close(), Reset()):
        async with open_wire(whole[:-40], step) as wire:
            assert (await failure(wire)).code == "upstream_disconnected"


async def test_a_fetch_that_is_cancelled_leaves_no_connection() -> None:
    async with open_wire(listed(OPENROUTER)[:-40]) as wire, open_client() as client:
        with trio.move_on_after(0.1):
            await fetch(client, source(wire.base_url))
        await all_closed(wire)


# --- the service ------------------------------------------------------------------------------

ANSWER = HEAD + chunked(chunk("x"), STOP, DONE) + LAST
USED = b'data: {"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":500}}\n\n'
WITH_USAGE = HEAD + chunked(chunk("x"), STOP, USED, DONE) + LAST


def settings(wire: Wire, **more: Any) -> Settings:
    provider = ProviderSettings(dialect="openai", base_url=wire.base_url, flavour="openrouter")
    return Settings(
        default_provider="openrouter",
        providers={"openrouter": provider, "sim": ProviderSettings(dialect="simulated")},
        keys={"openrouter": KEY},
        **more,
    )


KEPT = CatalogueSettings(refresh=3600)


async def call(app: Any, path: str, body: object = None) -> tuple[int | None, Any]:
    method = "GET" if body is None else "POST"
    async with open_exchange(app, path, method=method, json_body=body) as exchange:
        return exchange.status, json.loads(await exchange.read())


async def status_of(app: Any, *models: str) -> tuple[int | None, Any]:
    body = {"input_data": "Why?", "models": list(models)}
    async with open_exchange(app, "/compare", json_body=body) as exchange:
        answer = json.loads(await exchange.read())
        return exchange.status, answer


@asynccontextmanager
async def serving(wire: Wire, *, until: int = 1) -> AsyncIterator[Any]:
    """The application, once the list has been asked for and has come."""
    app = create_app(settings(wire, catalogue=KEPT))
    async with open_app(app):
        with trio.fail_after(PATIENCE):
            while True:
                _, answer = await call(app, "/models")
                state = answer["sources"][0]
                if state["age_seconds"] is not None or state["error"] is not None:
                    break
                await trio.sleep(0.01)
        yield app


async def test_models_are_those_of_the_provider_once_they_have_come() -> None:
    answers = [[listed(OPENROUTER)], [WITH_USAGE]]
    async with open_wire(answers=answers) as wire, serving(wire) as app:
        _, answer = await call(app, "/models")
        [state] = answer["sources"]
        age = state.pop("age_seconds")
        assert 0 <= age < PATIENCE
        assert state == {
            "provider": "openrouter",
            "models": 4,
            "complete": True,
            "error": None,
        }
        first = answer["models"][0]
        assert (first["id"], first["source"]) == ("anthropic/claude-sonnet-4", "provider")
        assert first["price"] == {"input": 3.0, "output": 15.0, "request": 0.0}
        assert answer["models_by_provider"]["Anthropic"] == [first]
        # What nobody has is refused, and nobody is asked for an answer.
        status, refusal = await status_of(app, "openai/gpt-4o-mini", "openai/gpt-4o-nimi")
        assert (status, refusal["code"]) == (400, "model_not_found")
        assert "'openai/gpt-4o-mini'" in refusal["detail"]
        assert len(wire.requests) == 1
        # What is there is asked, and its cost is the list price, with a request's own.
        status, compared = await status_of(app, "openai/gpt-4o-mini")
        assert (status, compared["results"]) == (200, {"openai/gpt-4o-mini": "x"})
        assert compared["metadata"]["cost_usd"] == 0.00145
        assert len(wire.requests) == 2


async def test_a_provider_that_hangs_makes_nothing_slow_and_refuses_nobody() -> None:
    async with open_wire(answers=[[], [ANSWER]]) as wire:
        app = create_app(settings(wire, catalogue=KEPT))
        async with open_app(app):
            await until(lambda: bool(wire.requests), within=PATIENCE, what="it was asked")
            with trio.fail_after(1):
                _, answer = await call(app, "/models")
            assert answer["models"][0]["source"] == "built-in"
            assert answer["sources"][0]["age_seconds"] is None
            status, _ = await status_of(app, "openai/gpt-4o-nimi")
            assert status == 200


async def test_a_provider_without_a_list_is_asked_all_the_same() -> None:
    answers = [[response(b"", status="404 No")], [ANSWER]]
    async with open_wire(answers=answers) as wire, serving(wire) as app:
        _, answer = await call(app, "/models")
        assert answer["sources"][0]["error"] == "It lists no models at this address (status 404)."
        assert (await status_of(app, "any/model"))[0] == 200


async def test_settings_that_a_program_makes_ask_nobody() -> None:
    async with open_wire(ANSWER) as wire, open_app(app := create_app(settings(wire))):
        assert (await status_of(app, "any/model"))[0] == 200
        assert len(wire.requests) == 1
