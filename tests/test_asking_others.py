"""`fallbacks` and `hedge_after` in a request: what is refused, and what comes of them over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
import trio

from service.application import create_app
from service.providers.faults import refusal
from service.question import parse_question
from service.refusal import Refusal
from service.settings import ProviderSettings, Retries, Settings, load
from service.testing import open_server, open_wire
from tests.calling import DONE, HEAD, LAST, STOP, chunk, chunked, response
from tests.grammar import check_stream, legacy_events

QUICK = Settings(providers={"sim": ProviderSettings(dialect="simulated", speed=50)})


def parsed(**fields: Any) -> Any:
    body = {"input_data": "Why?", "models": ["a", "b", "a"], **fields}
    return parse_question(json.dumps(body).encode(), max_models=9)


def fallbacks_of(question: Any) -> dict[str, tuple[str, ...]]:
    return {entry.name: entry.fallbacks for entry in question.entries}


def test_fallbacks_are_those_of_an_id_or_of_one_of_its_names() -> None:
    assert fallbacks_of(parsed(fallbacks={"a": ["x", "y"]})) == {
        "a": ("x", "y"),
        "b": (),
        "a#2": ("x", "y"),
    }
    assert fallbacks_of(parsed(fallbacks={"a": ["x"], "a#2": ["y"]})) == {
        "a": ("x",),
        "b": (),
        "a#2": ("y",),
    }
    assert set(fallbacks_of(parsed(fallbacks=None)).values()) == {()}
    assert set(fallbacks_of(parsed(fallbacks={})).values()) == {()}


@pytest.mark.parametrize(
    ("fields", "code", "detail"),
    [
        ({"fallbacks": {"c": ["x"]}}, "invalid_request", "fallbacks: 'c' is not in models."),
        (
            {"fallbacks": {"a": list("wxyz")}},
            "invalid_request",
            "fallbacks: a model may have 3 at most.",
        ),
        (
            {"fallbacks": {"a": [" "]}},
            "invalid_model",
            "fallbacks must hold model ids: printable text of 1 to 200 characters.",
        ),
        ({"fallbacks": {"a": "x"}}, "invalid_request", "fallbacks[]: expected array, got str."),
        ({"fallbacks": ["a"]}, "invalid_request", "fallbacks: expected object | null, got array."),
        ({"hedge_after": 0}, "invalid_request", "hedge_after: expected float > 0.0."),
        ({"hedge_after": 301}, "invalid_request", "hedge_after: expected float <= 300.0."),
        ({"hedge_after": "1"}, "invalid_request", "hedge_after: expected float | null, got str."),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    fields: dict[str, Any], code: str, detail: str
) -> None:
    with pytest.raises(Refusal) as caught:
        parsed(**fields)
    assert (caught.value.status, caught.value.code, caught.value.detail) == (400, code, detail)


async def test_a_fallback_that_nobody_has_is_refused_before_anybody_is_asked() -> None:
    body = {"input_data": "Why?", "models": ["sim:swift"]}
    async with open_server(create_app(QUICK)) as url, httpx.AsyncClient() as client:
        others = {"fallbacks": {"sim:swift": ["sim:terse", "sim:nobody"]}}
        reply = await client.post(f"{url}/compare-stream", json={**body, **others})
        stats = await client.get(f"{url}/model-stats")
    assert (reply.status_code, reply.json()["code"]) == (400, "model_not_found")
    assert "'sim:nobody'" in reply.json()["detail"]
    assert stats.json()["model_stats"] == {}


async def stream(url: str, **body: Any) -> bytes:
    async with httpx.AsyncClient(timeout=20) as client:
        reply = await client.post(f"{url}/compare-stream", json={"input_data": "Why?", **body})
        assert reply.status_code == 200
        return reply.content


def of_type(body: bytes, kind: str) -> Iterable[dict[str, Any]]:
    return [event for event in legacy_events(body) if event["type"] == kind]


async def test_the_simulator_s_swift_one_steps_in_for_one_that_refuses() -> None:
    models = ["sim:refuses", "sim:terse"]
    async with open_server(create_app(QUICK)) as url:
        body = await stream(url, models=models, fallbacks={"sim:refuses": ["sim:swift"]})
    texts = check_stream(body, models)
    assert all(texts.values())
    [stepped_in] = of_type(body, "fallback")
    assert stepped_in == {
        "model": "sim:refuses",
        "type": "fallback",
        "asked": "sim:swift",
        "provider": "sim",
        "parameters": {"max_tokens": 4000},
        "simulated": True,
        "code": "rate_limited",
    }
    dones = {done["model"]: done for done in of_type(body, "done")}
    assert dones["sim:refuses"]["answered_by"] == "sim:swift"
    assert "answered_by" not in dones["sim:terse"]


TOO_MANY = response(b"{}", status="429 Too Many Requests")
WHOLE = HEAD + chunked(chunk("whole"), STOP, DONE) + LAST


async def test_over_sockets_a_refusal_is_asked_again_and_a_slow_one_hedged() -> None:
    with trio.fail_after(20):
        async with (
            open_wire(answers=[[TOO_MANY], [WHOLE], [HEAD], [WHOLE]]) as wire,
            open_server(
                create_app(
                    Settings(
                        default_provider="wire",
                        retries=Retries(backoff=0.01),
                        providers={
                            "wire": ProviderSettings(dialect="openai", base_url=wire.base_url)
                        },
                    )
                )
            ) as url,
        ):
            again = await stream(url, models=["m"])
            hedged = await stream(url, models=["m"], hedge_after=0.05)
            assert wire.opened - wire.closed <= 1  # the loser's connection is closed
    for body in (again, hedged):
        assert check_stream(body, ["m"]) == {"m": "whole"}
        [done] = of_type(body, "done")
        assert done["attempts"] == 2
        assert not of_type(body, "fallback")


def test_a_refusal_that_is_passed_on_is_the_model_s_own() -> None:
    error: dict[str, Any] = {"message": "Provider returned error", "code": 429}
    own = refusal(429, {}, json.dumps({"error": error}).encode())
    passed_on = {"error": {**error, "metadata": {"provider_name": "Acme"}}}
    assert not own.of_model
    assert refusal(429, {}, json.dumps(passed_on).encode()).of_model


def test_every_provider_but_the_simulator_has_a_ceiling(tmp_path: Any) -> None:
    path = tmp_path / "compare.toml"
    table = 'dialect = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n'
    path.write_text(f"[providers.a]\n{table}[providers.b]\n{table}max_concurrency = 3\n")
    assert load(path, {}).ceilings() == {"a": 9, "b": 3}
    path.write_text('[providers.sim]\ndialect = "simulated"\nmax_concurrency = 2\n')
    assert load(path, {}).ceilings() == {"sim": 2}


def test_the_settings_of_further_attempts_are_those_that_are_used() -> None:
    persistence = Retries(attempts=5, backoff=1, most_backoff=2, longest_wait=3).persistence()
    assert (persistence.attempts, persistence.backoff) == (5, 1)
    assert (persistence.most_backoff, persistence.longest_wait) == (2, 3)
